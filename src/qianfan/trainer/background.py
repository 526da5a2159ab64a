"""The process of `trainer.start()`: it runs a trainer that is kept on this machine.

    python -m qianfan.trainer.background KIND ID

It says `running` on standard output once it holds the trainer, and ends with 0 when the training did. SIGTERM
stops the training, on the platform too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from qianfan.trainer import kept, loads
from qianfan.trainer.running import PipelineTrainer
from qianfan.utils.logging import logger


def main(kind: str, id: str) -> int:
    """Run the trainer; the exit code."""
    trainer = loads(kept.read(id, None), PipelineTrainer)
    assert trainer.kind == kind
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_stop, args=(trainer,)).start())

    def seen(*_: Any) -> None:
        pipeline._observers.remove(seen)  # the first event: the lock is held
        kept.say_pid(id)
        print("running", flush=True)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)  # whoever started it may be gone, and its pipe with it

    pipeline = trainer._only_pipeline()
    pipeline._observers.append(seen)
    try:
        trainer.resume()
    except Exception:
        logger.exception("trainer %s failed", id)
        return 1
    return 0


def _stop(trainer: PipelineTrainer) -> None:
    trainer._only_pipeline().stop()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
