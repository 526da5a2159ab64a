from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.trainers.child.ledger import Ledger, chosen, open_ledger
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper


def turn(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"prompt": question, "response": [[answer]]}]


def ledger_of(
    folder: Path, encoder, rows: list[Any], limit: int = 512, held_out: float = 0.0, **hyper
) -> Ledger:
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return open_ledger(file, encoder, Hyper(**hyper), held_out, 7, limit)


def test_every_sample_is_accounted_for(tmp_path: Path, encoder) -> None:
    """Kept, truncated and dropped samples sum to the dataset, and each odd one says why."""
    rows = [turn("Hi", "Hello"), turn("long " * 60, "Yes"), "{broken", turn("?", ""), turn("a", "b" * 400)]
    ledger = ledger_of(tmp_path, encoder, rows, limit=200, too_long="truncate")
    event = ledger.event()
    assert (event["samples"], event["kept"], event["truncated"], event["dropped"]) == (5, 1, 1, 3)
    assert [(p["sample"], p["what"]) for p in event["problems"]] == [
        (2, "truncated"),
        (3, "dropped"),
        (4, "dropped"),
        (5, "dropped"),
    ]
    assert "first " in event["problems"][0]["why"]
    assert "not JSON" in event["problems"][1]["why"]
    assert event["trained_tokens"] == len("Hello") + len("Yes") + 2
    assert all(e.end_token for e in ledger.entries if e.what != "dropped")
    ledger.write(tmp_path / "ledger.jsonl")
    written = [orjson.loads(line) for line in (tmp_path / "ledger.jsonl").read_bytes().splitlines()]
    assert [entry["sample"] for entry in written] == [1, 2, 3, 4, 5]


@given(
    st.lists(
        st.one_of(st.just("{"), st.just([]), st.text(max_size=90).map(lambda q: turn(q, "yes"))), min_size=1
    ),
    st.sampled_from(["drop", "truncate"]),
    st.sampled_from([0.0, 0.2, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_the_ledger_sums_whatever_comes(tmp_path_factory, encoder, rows, policy, share) -> None:
    """No dataset makes a sample vanish from the sum."""
    folder = tmp_path_factory.mktemp("ledger")
    try:
        ledger = ledger_of(folder, encoder, rows, limit=60, held_out=share, too_long=policy)
    except Refused:
        with pytest.raises(Refused, match="nothing to train on"):
            ledger_of(folder, encoder, rows, limit=60, held_out=share, too_long=policy)
        return
    event = ledger.event()
    assert event["kept"] + event["truncated"] + event["dropped"] == event["samples"] == len(rows)
    assert len(ledger.train) + len(ledger.held_out) == event["kept"] + event["truncated"]
    assert len(ledger.train) >= 1


def test_a_sample_that_is_too_long_is_refused_by_number(tmp_path: Path, encoder) -> None:
    """The message names the sample, its tokens, the limit, and what to do."""
    rows = [turn("Hi", "Hello"), turn("x" * 300, "ok")]
    with pytest.raises(Refused, match=r"sample 2 has 322 tokens and at most 256 .* max_seq_len.*truncate"):
        ledger_of(tmp_path, encoder, rows, limit=256)


def test_an_empty_dataset_is_refused(tmp_path: Path, encoder) -> None:
    """Training on nothing is an error before step 1."""
    with pytest.raises(Refused, match="the dataset is empty"):
        ledger_of(tmp_path, encoder, [])


def test_a_dataset_of_unusable_samples_is_refused(tmp_path: Path, encoder) -> None:
    """So is training on what was all dropped, with the first reason."""
    with pytest.raises(Refused, match=r"all 2 samples were dropped \(sample 1: turn 1 has no response\)"):
        ledger_of(tmp_path, encoder, [turn("a", ""), turn("b", "")])


def test_held_out_samples_are_drawn_by_the_seed_and_never_all() -> None:
    """The draw is the same each time, other for another seed, and leaves something to learn."""
    assert chosen(100, 0.2, 7) == chosen(100, 0.2, 7)
    assert chosen(100, 0.2, 7) != chosen(100, 0.2, 8)
    assert len(chosen(100, 0.2, 7)) == 20
    assert len(chosen(5, 0.1, 7)) == 1
    assert chosen(1, 0.5, 7) == set()
