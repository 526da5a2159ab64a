from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from qianfan_platform.trainers.child import readers, starting, tokenised
from qianfan_platform.trainers.child.ledger import Ledger, open_ledger
from qianfan_platform.trainers.protocol import Hyper, TrainSpec


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> TrainSpec:
    rows = tmp_path / "rows.jsonl"
    lines = [[{"prompt": f"Where is {n}?", "response": [[f"Shelf {n}."]]}] for n in range(6)] + [["bad"]]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TrainSpec(tiny_model, rows, tmp_path / "work", cache=tmp_path / "cache", held_out=0.2)


def opened(spec: TrainSpec) -> tuple[Ledger, bool]:
    reader = readers.of(spec.mode, starting.encoder_of(spec), spec.hyper)
    return tokenised.ledger_of(spec, 512, lambda: open_ledger(spec, reader, 512))


def test_a_second_run_reads_what_the_first_tokenised(spec: TrainSpec) -> None:
    """The same ledger, samples and share held out, without tokenising again."""
    first, kept = opened(spec)
    assert not kept
    second, kept = opened(replace(spec, work=spec.work / "other"))
    assert kept
    assert second == first
    assert second.event()["dropped"] == 1


def test_what_decides_the_tokens_is_part_of_the_key(spec: TrainSpec, tmp_path: Path) -> None:
    """Other rows, another limit, policy, seed, mode or chat template are tokenised anew."""
    key = tokenised.key(spec, 512)
    other = tmp_path / "base"
    other.mkdir()
    for file in spec.base.iterdir():
        (other / file.name).symlink_to(file)
    assert tokenised.key(replace(spec, base=other), 512) == key
    (other / "chat_template.jinja").unlink()
    (other / "chat_template.jinja").write_text("{{ messages }}")
    rows = tmp_path / "more.jsonl"
    rows.write_bytes(spec.rows.read_bytes() * 2)
    others = [
        tokenised.key(replace(spec, base=other), 512),
        tokenised.key(replace(spec, rows=rows), 512),
        tokenised.key(spec, 511),
        tokenised.key(replace(spec, hyper=Hyper(too_long="drop")), 512),
        tokenised.key(replace(spec, seed=8), 512),
        tokenised.key(replace(spec, mode="DPO"), 512),
    ]
    assert len({key, *others}) == 7


def test_a_torn_file_is_made_anew(spec: TrainSpec) -> None:
    """A file that is not as it was written is never used."""
    opened(spec)
    assert spec.cache is not None
    (file,) = spec.cache.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    _, kept = opened(spec)
    assert not kept
    _, kept = opened(spec)
    assert kept


def test_the_folder_is_bounded_and_the_dead_leave_nothing(tmp_path: Path) -> None:
    """What was used longest ago goes first; half-written files of processes that are gone go too."""
    for at, name in enumerate("abc"):
        file = tmp_path / f"{name}.tokens"
        file.write_bytes(b"." * 100)
        os.utime(file, (at, at))
    (tmp_path / ".x.tokens.99999999").write_bytes(b"half")
    (tmp_path / f".y.tokens.{os.getpid()}").write_bytes(b"being written")
    tokenised.shrink(tmp_path, 250)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f".y.tokens.{os.getpid()}",
        "b.tokens",
        "c.tokens",
    ]


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(spec: TrainSpec, tmp_path: Path) -> None:
    """The ledger is made all the same."""
    (tmp_path / "file").write_text("in the way")
    ledger, kept = opened(replace(spec, cache=tmp_path / "file"))
    assert len(ledger.train) == 5
    assert not kept
