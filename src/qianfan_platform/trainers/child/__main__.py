"""python -m qianfan_platform.trainers.child SPEC EVENTS ORDERS

SPEC: a TrainSpec as JSON. EVENTS, ORDERS: numbers of the open pipes to and from the server."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path

from qianfan_platform.trainers.child.wire import Events, Orders, Refused, Stopped

NICENESS = 10  # the server and its engines go first
# As torch, CUDA and the system say it.
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc")


def main(spec_file: str, events_to: str, orders_from: str) -> int:
    """0 when the run finished or was stopped, 1 when it failed; the reason has been told."""
    events = Events(int(events_to))
    orders = Orders(int(orders_from), events)
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
    run = None
    try:
        from qianfan_platform.trainers.child.loop import Run  # torch: seconds
        from qianfan_platform.trainers.protocol import TrainSpec

        run = Run(TrainSpec.from_json(json.loads(Path(spec_file).read_bytes())), events, orders)
        run.do()
    except Stopped:
        events.send("stopped", step=run.progress.step if run else 0)
    except Exception as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
        events.send("failed", reason=reason(error))
        return 1
    return 0


def reason(error: Exception) -> str:
    """In words, what went wrong and what to do."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError):
        from qianfan_platform.trainers.child.checkpoint import no_space

        if no_space(error):
            return (
                f"the disk is full ({error.strerror}): free some space and resume; "
                "the last checkpoint before is whole"
            )
    if isinstance(error, MemoryError) or any(said in str(error) for said in NO_MEMORY):
        return "out of memory: lower batch_size or max_seq_len, or train a smaller model"
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: unloading torch takes a second and has nothing left to do
