"""The ledger: what became of every sample. It is whole before step 1, and it sums to the dataset."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from qianfan_platform.trainers.child.readers import Reader, TooLong
from qianfan_platform.trainers.child.rows import read
from qianfan_platform.trainers.child.samples import Sample, Unusable
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec

SHOWN = 100  # problems told in the event; the file has them all
OUTCOMES = ("kept", "truncated", "split", "dropped")
REFUSED = "refused"  # the run is, for this sample: it is too long, and the policy says so


class Unfit(Refused):
    """The run is refused for its data; `ledger` tells what became of every sample."""

    def __init__(self, why: str, ledger: Ledger) -> None:
        super().__init__(why)
        self.ledger = ledger


@dataclass(frozen=True)
class Entry:
    """One sample. `sample` is its line in the file, from 1; `what` is kept, truncated, split, dropped, or refused."""

    sample: int
    what: str
    why: str = ""
    tokens: int = 0  # that the model reads
    trained_tokens: int = 0
    parts: int = 0  # how many samples the trainer makes of it
    end_token: bool = False  # the last end token is there, and learned
    held_out: bool = False


@dataclass
class Ledger:
    """All entries, and the samples that came through."""

    entries: list[Entry] = field(default_factory=list)
    train: list[Sample] = field(default_factory=list)
    held_out: list[Sample] = field(default_factory=list)

    def count(self, what: str) -> int:
        return sum(entry.what == what for entry in self.entries)

    def event(self) -> dict[str, Any]:
        """The `ledger` event. kept + truncated + split + dropped = samples; + refused, in a run that is refused."""
        problems = [entry for entry in self.entries if entry.what != "kept"]
        counts = {"samples": len(self.entries)}
        counts |= {what: self.count(what) for what in OUTCOMES}
        if refused := self.count(REFUSED):
            counts[REFUSED] = refused
        if sum(count for what, count in counts.items() if what != "samples") != counts["samples"]:
            raise AssertionError(f"the ledger does not sum to the dataset: {counts}")
        return {
            **counts,
            "training": len(self.train),
            "held_out": len(self.held_out),
            "trained_tokens": sum(sample.trained for sample in self.train),
            "tokens": sum(sample.tokens for sample in self.train),
            "longest": max((len(one.ids) for sample in self.train for one in sample.sequences), default=0),
            "problems": [{"sample": p.sample, "what": p.what, "why": p.why} for p in problems[:SHOWN]],
            "problems_not_shown": max(0, len(problems) - SHOWN),
        }

    def write(self, path: Path) -> None:
        """Every entry as a JSON line."""
        path.write_bytes(b"".join(orjson.dumps(asdict(entry)) + b"\n" for entry in self.entries))


def open_ledger(spec: TrainSpec, reader: Reader, limit: int) -> Ledger:
    """Read every row and account for it. limit: tokens that a sequence may have.

    Raises Unfit when nothing, or less than was asked for, would be learned, or when samples are too long and the
    policy is "refuse"."""
    ledger = Ledger()
    usable: list[tuple[int, list[Sample]]] = []
    for number, row in read(spec.rows):
        try:
            entry, samples = enter(number, row, reader, limit)
        except Unusable as why:
            ledger.entries.append(Entry(number, "dropped", str(why)))
            continue
        except TooLong as long:
            why_long = f"too long: {long.tokens} tokens, at most {limit}"
            ledger.entries.append(Entry(number, REFUSED, why_long, tokens=long.tokens))
            continue
        usable.append((len(ledger.entries), samples))
        ledger.entries.append(entry)
    if not ledger.entries:
        raise Unfit("the dataset is empty: there is nothing to train on", ledger)
    if too_long := [entry for entry in ledger.entries if entry.what == REFUSED]:
        raise Unfit(in_words(too_long, limit, spec), ledger)
    if not usable:
        first = ledger.entries[0]
        raise Unfit(
            f"nothing to train on: all {len(ledger.entries)} samples were dropped "
            f"(sample {first.sample}: {first.why})",
            ledger,
        )
    if (dropped := ledger.count("dropped")) > spec.hyper.most_dropped * len(ledger.entries):
        first = next(entry for entry in ledger.entries if entry.what == "dropped")
        raise Unfit(
            f"{dropped} of {len(ledger.entries)} samples would be dropped (sample {first.sample}: {first.why}), more "
            f"than {spec.hyper.most_dropped:.0%}: see in the ledger which, mend them, or allow it with most_dropped",
            ledger,
        )
    apart = chosen(len(usable), spec.held_out, spec.seed)
    for at, (line, samples) in enumerate(usable):
        if at in apart:
            ledger.held_out += samples
            ledger.entries[line] = replace(ledger.entries[line], held_out=True)
        else:
            ledger.train += samples
    trained = sum(sample.trained for sample in ledger.train)
    if trained < spec.least_trained_tokens:
        raise Unfit(
            f"too little to train on: {trained} tokens would be learned and at least "
            f"{spec.least_trained_tokens} are wanted; add samples, or see in the ledger what was dropped",
            ledger,
        )
    return ledger


def in_words(too_long: list[Entry], limit: int, spec: TrainSpec) -> str:
    """Why samples that are too long refuse the run, and what can be chosen."""
    first, most = too_long[0], max(entry.tokens for entry in too_long)
    others = f" ({len(too_long)} samples have more, the longest {most})" if len(too_long) > 1 else ""
    longer = f"raise max_seq_len to {most}, or " if limit == spec.hyper.max_seq_len else ""
    policies = '"drop" or "truncate"' if spec.mode == "DPO" else '"drop", "truncate" or "split"'
    return (
        f"sample {first.sample} has {first.tokens} tokens and at most {limit} are allowed{others}: "
        f"{longer}set too_long to {policies}"
    )


def enter(number: int, row: Any, reader: Reader, limit: int) -> tuple[Entry, list[Sample]]:
    """The entry of one usable sample. Raises Unusable, and TooLong by the policy."""
    reading = reader.read(row, limit)
    samples = reading.samples
    entry = Entry(
        number,
        reading.what,
        reading.why,
        tokens=sum(sample.tokens for sample in samples),
        trained_tokens=sum(sample.trained for sample in samples),
        parts=len(samples),
        end_token=all(
            one.labels[-1] == one.ids[-1] in reader.encoder.special for one in samples[-1].sequences
        ),
    )
    return entry, samples


def chosen(usable: int, share: float, seed: int) -> set[int]:
    """Which samples are held out: a seeded draw; at least one of five or more, never all."""
    wanted = round(usable * share)
    if share > 0 and usable >= 5:
        wanted = max(1, wanted)
    wanted = min(wanted, usable - 1)
    return set(random.Random(f"held out {seed}").sample(range(usable), wanted))
