"""python -m qianfan_platform.trainers.sinks

One sink of one run. stdin is JSON lines: first {name, target, run, facts, folder}, then the run's events, at
last {"kind": "end", "status"}. stdout is one line, {"failed": reason}, if it fails; what libraries print is
thrown away. The target is not on the command line: it may hold a password. A sink whose server is gone has half a
minute to write what it still holds, so that one that hangs is no orphan for ever."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from qianfan_platform.trainers.sinks.protocol import RunFacts, figures, make

PASSWORD = re.compile(r"//[^/@\s]*@")
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)  # in names of variables
SHORTEST = 6  # characters of a secret: less is found in any text
ORPHANED_FOR = 30.0  # seconds


def main() -> int:
    """0 when the figures are where they belong, 1 when the reason has been told."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    threading.Thread(target=end_after, args=(os.getppid(),), daemon=True).start()
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
        answers.write(json.dumps({"failed": reason(error, given["target"], os.environ)}) + "\n")
        answers.flush()
        return 1
    return 0


def end_after(parent: int) -> None:
    """End this process, whatever it does, some time after its parent did."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(ORPHANED_FOR)
    os._exit(1)


def reason(error: Exception, target: str, environment: Mapping[str, str]) -> str:
    """What was raised, in a line, without the target, any password, and what secret variables hold."""
    if isinstance(error, ModuleNotFoundError):
        return f"it needs {error.name}: pip install {error.name}"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    secrets = {v for name, v in environment.items() if SECRET.search(name) and len(v) >= SHORTEST}
    for secret in sorted({target, *secrets} - {""}, key=len, reverse=True):
        text = text.replace(secret, "…")
    return PASSWORD.sub("//…@", text)[:300]


if __name__ == "__main__":
    code = main()
    os._exit(code)  # a library's threads may not keep the process
