"""What the model says to a few of its own samples, before the first step and after the last."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import embeddings, parity
from qianfan_platform.trainers.child.checkpoint import write_file
from qianfan_platform.trainers.child.finishing import Final
from qianfan_platform.trainers.child.ledger import Ledger
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.readers import Reader
from qianfan_platform.trainers.child.rows import read
from qianfan_platform.trainers.child.samples import Unusable
from qianfan_platform.trainers.protocol import TrainSpec

COUNT = 5
TOKENS = 32  # of an answer at most
STUCK = 8  # times the same token: more of it tells nothing
SECONDS = 5.0  # or a twentieth of the run: who answers slower is asked fewer questions
SHOWN = 1000  # characters of a question and of a wanted answer
KEPT = "before.json"  # in a run's folder


@dataclass(frozen=True)
class Example:
    """A sample that the model is asked. wanted: the beginning of the answer that it has."""

    sample: int
    held_out: bool
    ids: list[int]
    question: str
    wanted: str


def chosen(spec: TrainSpec, ledger: Ledger, reader: Reader) -> list[Example]:
    """Up to five samples that came through whole, those that are held out first."""
    whole = [entry for entry in ledger.entries if entry.what in ("kept", "split")]
    first = sorted(whole, key=lambda entry: not entry.held_out)[: 2 * COUNT]  # some cannot be asked
    held_out = {entry.sample: entry.held_out for entry in first}
    found = []
    last = max(held_out, default=0)
    for number, row in read(spec.rows):
        if number > last:
            break
        if number in held_out:
            try:
                messages, ids = reader.question(row)
            except Unusable:
                continue
            question, wanted = messages[-1]["content"][:SHOWN], reader.wanted(row)[:SHOWN]
            found.append(Example(number, held_out[number], ids, question, wanted))
    return sorted(found, key=lambda one: not one.held_out)[:COUNT]


def before(
    trainee: Trainee, reader: Reader, examples: list[Example], seconds: float, check: Callable[[], None]
) -> list[str]:
    """What the starting weights answer; fewer answers where they take long. seconds: of the run, estimated.

    A run that goes on finds them in its folder."""
    kept: Path = trainee.spec.work / KEPT
    with contextlib.suppress(OSError, ValueError):  # not there, or its writer was killed in the middle
        return list(json.loads(kept.read_bytes()))
    fresh = trainee.spec.method == "P-tuning" and not getattr(trainee.causal.config, embeddings.MARK, 0)
    unknown = len(reader.encoder.prefix) if fresh else 0  # virtual tokens that mean nothing yet
    until = time.monotonic() + max(SECONDS, seconds / 20)
    said: list[str] = []
    trainee.model.eval()
    try:
        for one in examples:
            if time.monotonic() > until:
                break
            check()
            said.append(answer(trainee, reader, one.ids[unknown:]))
    finally:
        trainee.model.train()
    part = kept.with_suffix(".part")
    write_file(part, json.dumps(said).encode())
    part.replace(kept)
    return said


def after(
    final: Final, reader: Reader, examples: list[Example], said: list[str], check: Callable[[], None]
) -> list[dict[str, Any]]:
    """[{sample, held_out, question, wanted, before, after}] of those that were asked before."""
    found = []
    for one, earlier in zip(examples, said, strict=False):
        check()
        found.append(
            {
                "sample": one.sample,
                "held_out": one.held_out,
                "question": one.question,
                "wanted": one.wanted,
                "before": earlier,
                "after": answer(final, reader, one.ids),
            }
        )
    return found


def answer(speaker: Trainee | Final, reader: Reader, prompt: list[int]) -> str:
    """The greedy answer without its end token."""
    stops = parity.end_tokens(speaker)
    ids, _ = parity.greedy(speaker, prompt, stops, TOKENS, STUCK)
    return reader.encoder.decode([token for token in ids if token not in stops])
