"""The ledger: what became of every sample. It is whole before step 1, and it sums to the dataset."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qianfan_platform.trainers.child.rows import Encoded, Encoder, Unusable, messages_of, read
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper

SHOWN = 100  # problems told in the event; the file has them all


@dataclass(frozen=True)
class Entry:
    """One sample. `sample` is its line in the file, from 1; `what` is kept, truncated or dropped."""

    sample: int
    what: str
    why: str = ""
    tokens: int = 0
    trained_tokens: int = 0
    end_token: bool = False  # the last answer's end token is there, and learned
    held_out: bool = False


@dataclass
class Ledger:
    """All entries, and the samples that came through."""

    entries: list[Entry] = field(default_factory=list)
    train: list[Encoded] = field(default_factory=list)
    held_out: list[Encoded] = field(default_factory=list)

    def count(self, what: str) -> int:
        return sum(entry.what == what for entry in self.entries)

    def event(self) -> dict[str, Any]:
        """The `ledger` event. kept + truncated + dropped = samples."""
        problems = [entry for entry in self.entries if entry.what != "kept"]
        counts = {"samples": len(self.entries)}
        counts |= {what: self.count(what) for what in ("kept", "truncated", "dropped")}
        if counts["kept"] + counts["truncated"] + counts["dropped"] != counts["samples"]:
            raise AssertionError(f"the ledger does not sum to the dataset: {counts}")
        return {
            **counts,
            "training": len(self.train),
            "held_out": len(self.held_out),
            "trained_tokens": sum(sample.trained for sample in self.train),
            "tokens": sum(len(sample.ids) for sample in self.train),
            "longest": max((len(sample.ids) for sample in self.train), default=0),
            "problems": [{"sample": p.sample, "what": p.what, "why": p.why} for p in problems[:SHOWN]],
            "problems_not_shown": max(0, len(problems) - SHOWN),
        }

    def write(self, path: Path) -> None:
        """Every entry as a JSON line."""
        path.write_bytes(b"".join(orjson.dumps(asdict(entry)) + b"\n" for entry in self.entries))


def open_ledger(rows: Path, encoder: Encoder, hyper: Hyper, held_out: float, seed: int, limit: int) -> Ledger:
    """Encode every row and account for it. limit: tokens that a sample may have.

    Raises Refused when nothing would be learned, or when a sample is too long and the policy is
    "refuse"."""
    ledger = Ledger()
    usable: list[tuple[int, Encoded]] = []
    for number, row in read(rows):
        try:
            entry, encoded = enter(number, row, encoder, hyper, limit)
        except Unusable as why:
            ledger.entries.append(Entry(number, "dropped", str(why)))
            continue
        usable.append((len(ledger.entries), encoded))
        ledger.entries.append(entry)
    if not ledger.entries:
        raise Refused("the dataset is empty: there is nothing to train on")
    if not usable:
        first = ledger.entries[0]
        raise Refused(
            f"nothing to train on: all {len(ledger.entries)} samples were dropped "
            f"(sample {first.sample}: {first.why})"
        )
    apart = chosen(len(usable), held_out, seed)
    for at, (line, encoded) in enumerate(usable):
        if at in apart:
            ledger.held_out.append(encoded)
            ledger.entries[line] = Entry(**{**asdict(ledger.entries[line]), "held_out": True})
        else:
            ledger.train.append(encoded)
    return ledger


def enter(number: int, row: Any, encoder: Encoder, hyper: Hyper, limit: int) -> tuple[Entry, Encoded]:
    """The entry of one usable sample. Raises Unusable, and Refused by the policy for long ones."""
    messages = messages_of(row)
    encoded = encoder.encode(messages)
    what, why, tokens = "kept", "", len(encoded.ids)
    if tokens > limit:
        if hyper.too_long == "refuse":
            raise Refused(
                f"sample {number} has {tokens} tokens and at most {limit} are allowed: raise max_seq_len, "
                'or set too_long to "drop" or "truncate"'
            )
        if hyper.too_long == "drop":
            raise Unusable(f"too long: {tokens} tokens, at most {limit}")
        encoded, why = encoder.shortened(messages, limit)
        what, why = "truncated", f"{why} ({tokens} tokens, at most {limit})"
    end = encoded.labels[-1] == encoded.ids[-1] and encoded.ids[-1] in encoder.special
    return Entry(number, what, why, len(encoded.ids), encoded.trained, end), encoded


def chosen(usable: int, share: float, seed: int) -> set[int]:
    """Which samples are held out: a seeded draw; at least one of five or more, never all."""
    wanted = round(usable * share)
    if share > 0 and usable >= 5:
        wanted = max(1, wanted)
    wanted = min(wanted, usable - 1)
    return set(random.Random(f"held out {seed}").sample(range(usable), wanted))
