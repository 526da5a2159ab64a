"""A process that has loaded torch and gives birth to training processes: a hundred of them cost seconds each.

python nursery.py FOLDER: each line on stdin is a spec.json; {"pid"} is answered at once, {"code"} when that process is
gone. Its events go to events.jsonl beside the spec. A child is a fork that does what a started one does. FOLDER
only tells whose it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import peft  # noqa: F401 — here, so that no child needs to load it
import transformers.models.llama.modeling_llama  # noqa: F401

from qianfan_platform.trainers.child import __main__ as child
from qianfan_platform.trainers.child import loop  # noqa: F401


def say(**facts: int) -> None:
    print(json.dumps(facts), flush=True)


def bear(spec_file: Path, answers: int) -> int:
    """The child's whole life."""
    orders_from, _ = os.pipe()
    events = os.open(spec_file.parent / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    said = os.open(spec_file.parent / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(answers)
    os.chdir(spec_file.parent)
    return child.main(str(spec_file), str(events), str(orders_from))


def main() -> None:
    answers = os.dup(1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(bear(Path(line.strip()), answers))
        say(pid=pid)
        _, status = os.waitpid(pid, 0)
        say(code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
