"""python -m qianfan_platform.trainers.sinks

One sink of one run. stdin is JSON lines: first {name, target, run, facts, folder}, then the run's events, at
last {"kind": "end", "status"}. stdout is one line, {"failed": reason}, if it fails; what libraries print is
thrown away. The target is not on the command line: it may hold a password."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from qianfan_platform.trainers.sinks.protocol import RunFacts, figures, make

PASSWORD = re.compile(r"//[^/@\s]*@")


def main() -> int:
    """0 when the figures are where they belong, 1 when the reason has been told."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    given = json.loads(sys.stdin.readline())
    try:
        sink = make(given["name"], given["target"])
        folder = Path(given["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        sink.start(RunFacts(given["run"], given["facts"], folder))
        for line in sys.stdin:
            event = json.loads(line)
            if event["kind"] == "end":
                sink.finish(event["status"])
            elif found := figures(event):
                sink.step(event["step"], found)
    except Exception as error:  # a library of others raises what it likes
        answers.write(json.dumps({"failed": reason(error, given["target"])}) + "\n")
        answers.flush()
        return 1
    return 0


def reason(error: Exception, target: str) -> str:
    """What was raised, in a line, without the target and without any password."""
    if isinstance(error, ModuleNotFoundError):
        return f"it needs {error.name}: pip install {error.name}"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if target:
        text = text.replace(target, "…")
    return PASSWORD.sub("//…@", text)[:300]


if __name__ == "__main__":
    code = main()
    os._exit(code)  # a library's threads may not keep the process
