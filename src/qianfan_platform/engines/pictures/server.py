"""The child process that makes pictures, or reads them.

    python -m qianfan_platform.engines.pictures.server

It reads one JSON line from stdin ({"use", "folder", "context", "threads"}), loads the model and prints one JSON
line, {"device": …}. Then frames (engines/frames.py), all of them JSON but for pictures. It is told

    {"id": n, "ask": {…}}      n grows; questions are answered one after another; {"ping": true} at once
    {"stop": n}                give question n up at its next step

and says, each with the id: {"step": k} as a sign of life, {"text": …} for a piece of an answer, and one end:
{"end": …} (then `pictures` frames of PNG), {"refused": …}, {"too_long": tokens}, {"failed": …}, {"stopped": true}.
It ends when stdin closes, in the middle of its work too.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from qianfan_platform.engines.frames import read, write
from qianfan_platform.engines.orphans import die_with_parent

from .work import Model, Refused, Stopped, TooLong, Work


class Server:
    """The frames of one process. A thread listens, so that a question can be given up while it is worked on."""

    def __init__(self, heard: IO[bytes], out: IO[bytes]) -> None:
        self._heard, self._out = heard, out
        self._asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped = 0  # every question up to this one is given up

    def listen(self) -> None:
        """Hear until the parent goes."""
        while (frame := read(self._heard)) is not None:
            told = json.loads(frame)
            if "stop" in told:
                self.stopped = max(self.stopped, int(told["stop"]))
            else:
                self._asked.put(told)
        os._exit(0)  # nobody is left to answer; the main thread may be deep in a computation

    def say(self, ident: int, what: Mapping[str, Any], *pictures: bytes) -> None:
        write(self._out, json.dumps({"id": ident, **what}).encode(), *pictures)

    def _work(self, ident: int) -> Work:
        return Work(lambda: self.stopped >= ident, lambda what: self.say(ident, what))

    def serve(self, model: Model) -> None:
        """Answer one question after another, for ever."""
        while True:
            told = self._asked.get()
            ident = int(told["id"])
            try:
                ping = "ping" in told["ask"]
                end, pictures = ({}, []) if ping else model.answer(told["ask"], self._work(ident))
            except Stopped:
                self.say(ident, {"stopped": True})
            except Refused as refused:
                self.say(ident, {"refused": str(refused)})
            except TooLong as long:
                self.say(ident, {"too_long": long.tokens})
            except Exception as problem:
                print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
                self.say(ident, {"failed": f"{type(problem).__name__}: {problem}"})
            else:
                self.say(ident, {"end": end, "pictures": len(pictures)}, *pictures)


def load(use: str, folder: Path, context: int) -> Model:
    """The model, in memory."""
    if use == "text2image":
        from qianfan_platform.engines.pictures.painter import Painter

        return Painter(folder)
    from qianfan_platform.engines.pictures.looker import Looker

    return Looker(folder, context)


def main() -> None:
    """Load, then answer until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it decides when we end
    die_with_parent()
    told = json.loads(sys.stdin.buffer.readline())
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between our frames
    server = Server(sys.stdin.buffer, out)
    threading.Thread(target=server.listen, name="listen", daemon=True).start()
    import torch

    torch.set_num_threads(int(told["threads"]))
    model = load(told["use"], Path(told["folder"]), int(told["context"]))
    out.write(json.dumps({"device": model.device}).encode() + b"\n")
    out.flush()
    server.serve(model)


if __name__ == "__main__":
    main()
