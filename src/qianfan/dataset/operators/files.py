"""Operators over a file of texts, on several cores: the same result as one after another, in the same order.

python -m qianfan.dataset.operators.files SPEC   (SPEC: JSON of {source, target, stages, processes})

source and target: JSONL, a text as a JSON string in each line. Tells on standard output, as JSON lines,
{"done": texts} now and then, and at the end {"finished": {"entities", "remaining", "characters", "funnel"}}.
It ends, with its processes, when its standard input does: a killed starter leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from . import duplicates
from .pipeline import Pipeline, Stages, Work

X = TypeVar("X")
Y = TypeVar("Y")
CHUNK: Final = 256  # texts that go to a process at once
TOLD_EVERY: Final = 2048  # texts between two lines of progress


@dataclass
class _Part:
    """What a process made of some texts. `rows`: those that got past the filters, with what is left to decide."""

    rows: list[tuple[str, list[int], str, list[bool]]] = field(default_factory=list)
    before: list[tuple[int, int, int]] = field(default_factory=list)  # changed, dropped, remaining of each


def process(texts: list[str], stages: Stages) -> _Part:
    """Everything that can be done with a text alone: (text, simhashes, masked text, changed by each mask)."""
    works = Pipeline.of(stages).works
    alone = [work for work in works if work.operator.stage in ("clean", "filter")]
    masks = [work for work in works if work.operator.stage == "desensitization"]
    repeated = any(work.operator.stage == "deduplication" for work in works)
    part = _Part()
    for verdict in Pipeline(alone).run(texts):
        if verdict.dropped_by:
            continue
        numbers = [duplicates.simhash(verdict.text)] if repeated else []
        masked, changed = verdict.text, []
        for work in masks:
            after = work.do(masked) or ""
            changed.append(after != masked)
            masked = after
        part.rows.append((verdict.text, numbers, masked, changed))
    part.before = [(work.changed, work.dropped, work.remaining) for work in alone]
    return part


class Merge:
    """Puts the parts together in order: duplicates are decided here, where everything before is known."""

    def __init__(self, stages: Stages) -> None:
        self.pipeline = Pipeline.of(stages)
        self.alone = self._of("clean", "filter")
        self.dedup = self._of("deduplication")
        self.masks = self._of("desensitization")
        self.entities = self.remaining = self.characters = 0

    def _of(self, *stages: str) -> list[Work]:
        return [work for work in self.pipeline.works if work.operator.stage in stages]

    def take(self, part: _Part, size: int) -> Iterator[str]:
        """The texts of a part that are kept. size: how many texts went into it."""
        self.entities += size
        for work, (changed, dropped, remaining) in zip(self.alone, part.before, strict=True):
            work.changed += changed
            work.dropped += dropped
            work.remaining += remaining
        for _, numbers, masked, changed_by in part.rows:
            if any(self._again(work, numbers[0]) for work in self.dedup):
                continue
            for work, changed_it in zip(self.masks, changed_by, strict=True):
                work.changed += changed_it
                work.remaining += 1
            self.remaining += 1
            self.characters += len(masked)
            yield masked

    def _again(self, work: Work, number: int) -> bool:
        """Whether a text was there before, counted."""
        if work.is_new(number):
            work.remaining += 1
            return False
        work.dropped += 1
        return True


def run(
    source: Path,
    target: Path,
    stages: Stages,
    *,
    processes: int = 0,
    told: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Run the stages over a file. processes: 0 for a process on each core. Returns the figures of `finished`.

    Raises BadOperator, OSError, and ValueError for a line that is no JSON text."""
    merge = Merge(stages)
    processes = processes or cores()
    with target.open("wb") as out:
        for part, size in in_order(_chunks(source), process, stages, processes):
            before = merge.entities // TOLD_EVERY
            for text in merge.take(part, size):
                out.write(orjson.dumps(text) + b"\n")
            if told is not None and merge.entities // TOLD_EVERY != before:
                told(merge.entities)
        out.flush()
        os.fsync(out.fileno())
    return {
        "entities": merge.entities,
        "remaining": merge.remaining,
        "characters": merge.characters,
        "funnel": merge.pipeline.funnel(),
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(source: Path) -> Iterator[list[str]]:
    with source.open("rb") as lines:
        texts = (_text(line, number) for number, line in enumerate(lines, 1) if line.strip())
        while chunk := list(islice(texts, CHUNK)):
            yield chunk


def _text(line: bytes, number: int) -> str:
    text = orjson.loads(line)
    if not isinstance(text, str):
        raise ValueError(f"line {number} is no text")
    return text


def in_order(
    chunks: Iterable[list[X]], work: Callable[[list[X], Stages], Y], stages: Stages, processes: int
) -> Iterator[tuple[Y, int]]:
    """What `work` makes of every chunk, in order, and how large the chunk was; 1 process is this one.

    A few more chunks than processes are under way, so that memory stays bounded."""
    if processes == 1:
        for chunk in chunks:
            yield work(chunk, stages), len(chunk)
        return
    waiting: deque[tuple[Future[Y], int]] = deque()
    with ProcessPoolExecutor(processes, initializer=_leave_ctrl_c_to_the_starter) as pool:
        for chunk in chunks:
            waiting.append((pool.submit(work, chunk, stages), len(chunk)))
            if len(waiting) > 2 * processes:
                future, size = waiting.popleft()
                yield future.result(), size
        for future, size in waiting:
            yield future.result(), size


def _leave_ctrl_c_to_the_starter() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(spec: str) -> int:
    """0 when it finished; 1 when it could not, with {"failed": reason}."""

    def tell(what: dict[str, Any]) -> None:
        print(json.dumps(what, ensure_ascii=False), flush=True)

    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    given = json.loads(spec)
    try:
        done = run(
            Path(given["source"]),
            Path(given["target"]),
            given["stages"],
            processes=given.get("processes", 0),
            told=lambda count: tell({"done": count}),
        )
    except (OSError, ValueError) as error:
        tell({"failed": str(error)})
        return 1
    tell({"finished": done})
    return 0


def _end_with_the_starter() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would be copied into the processes of the pool
        pass
    os.killpg(0, signal.SIGKILL)  # it was started in a session of its own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
