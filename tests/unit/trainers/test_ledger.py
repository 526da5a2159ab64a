from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.trainers.child import readers
from qianfan_platform.trainers.child.ledger import Ledger, Unfit, chosen, open_ledger
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, Mode, TrainSpec


def turn(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"prompt": question, "response": [[answer]]}]


def ledger_of(
    folder: Path,
    encoder,
    rows: list[Any],
    limit: int = 512,
    held_out: float = 0.0,
    mode: Mode = "SFT",
    **hyper,
) -> Ledger:
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    spec = TrainSpec(folder, file, folder, mode=mode, hyper=Hyper(**hyper), held_out=held_out)
    return open_ledger(spec, readers.of(mode, encoder, spec.hyper), limit)


def test_every_sample_is_accounted_for(tmp_path: Path, encoder) -> None:
    """Kept, truncated and dropped samples sum to the dataset, and each odd one says why."""
    rows = [turn("Hi", "Hello"), turn("long " * 60, "Yes"), "{broken", turn("?", ""), turn("a", "b" * 400)]
    ledger = ledger_of(tmp_path, encoder, rows, limit=200, too_long="truncate", most_dropped=1.0)
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


def of_mode(mode: Mode, text: str) -> Any:
    """A row of a mode that holds `text`."""
    if mode == "PostPretrain":
        return text
    if mode == "DPO":
        return [{"prompt": text, "chosen": "yes", "rejected": "no"}]
    return [*turn(text, "yes"), *turn("And?", "no")]


@pytest.mark.parametrize("mode", ["SFT", "PostPretrain", "DPO"])
@given(
    st.lists(
        st.one_of(st.just("{"), st.just([]), st.text(max_size=90).map(lambda text: (text,))), min_size=1
    ),
    st.sampled_from(["drop", "truncate", "split"]),
    st.sampled_from([0.0, 0.2, 0.5]),
)
@settings(max_examples=30, deadline=None)
def test_the_ledger_sums_whatever_comes(tmp_path_factory, encoder, mode, rows, policy, share) -> None:
    """No dataset makes a sample vanish from the sum, and every token that is learned is in it."""
    folder = tmp_path_factory.mktemp("ledger")
    rows = [of_mode(mode, row[0]) if isinstance(row, tuple) else row for row in rows]
    rows = [json.dumps(row) if isinstance(row, str) and mode == "PostPretrain" else row for row in rows]
    policy = "drop" if mode == "DPO" and policy == "split" else policy
    given_ = {"limit": 60, "held_out": share, "mode": mode, "too_long": policy, "most_dropped": 1.0}
    try:
        ledger = ledger_of(folder, encoder, rows, **given_)
    except Refused:
        with pytest.raises(Refused, match="nothing to train on"):
            ledger_of(folder, encoder, rows, **given_)
        return
    event = ledger.event()
    used = event["kept"] + event["truncated"] + event["split"]
    assert used + event["dropped"] == event["samples"] == len(rows)
    assert len(ledger.train) + len(ledger.held_out) == sum(entry.parts for entry in ledger.entries) >= used
    assert len(ledger.train) >= 1
    assert event["longest"] <= 60
    trained = [entry for entry in ledger.entries if not entry.held_out]
    assert event["trained_tokens"] == sum(entry.trained_tokens for entry in trained) > 0
    assert event["tokens"] == sum(entry.tokens for entry in trained)
    assert all(entry.end_token for entry in ledger.entries if entry.what != "dropped")


def test_a_long_text_is_read_in_windows_and_nothing_is_dropped(tmp_path: Path, encoder) -> None:
    """Each token of each text is learned once, but the first, which nothing stands before."""
    texts = ["a" * 10, "b" * 100, "c" * 59]
    rows = [json.dumps(text) for text in texts]
    ledger = ledger_of(tmp_path, encoder, rows, limit=60, mode="PostPretrain")
    assert [(entry.what, entry.parts) for entry in ledger.entries] == [("kept", 1), ("split", 2), ("kept", 1)]
    assert [entry.trained_tokens for entry in ledger.entries] == [10, 100, 59]
    assert ledger.entries[1].why == "into 2 windows"
    learned = [
        "".join(encoder.decode([one for one in sample.labels if one != -100]) for sample in part)
        for part in (ledger.train[:1], ledger.train[1:3], ledger.train[3:])
    ]
    assert learned == [text[1:] + "<|endoftext|>" for text in texts]


def test_a_policy_that_a_mode_cannot_follow_is_refused(tmp_path: Path, encoder) -> None:
    """Two answers to one question cannot be split."""
    with pytest.raises(Refused, match="a preference cannot be split"):
        ledger_of(tmp_path, encoder, [of_mode("DPO", "Hi")], mode="DPO", too_long="split")


@pytest.mark.parametrize(
    ("mode", "row", "why"),
    [
        ("PostPretrain", '{"text": "a"}', "not a text: expected a JSON string"),
        ("PostPretrain", '"  "', "the text is empty"),
        ("DPO", turn("a", "b"), "turn 1 has no chosen answer"),
        ("DPO", [{"prompt": "a", "chosen": "b", "rejected": ""}], "turn 1 has no rejected answer"),
        ("DPO", [{"prompt": "a", "chosen": "b", "rejected": [["b"]]}], "there is nothing to prefer"),
        ("DPO", [{"prompt": "a"}, *of_mode("DPO", "b")], "turn 1 has no response"),
    ],
)
def test_a_row_of_another_shape_is_dropped_with_the_reason(tmp_path: Path, encoder, mode, row, why) -> None:
    """Each mode says what it expects."""
    with pytest.raises(Refused, match=rf"all 1 samples were dropped \(sample 1: .*{why}"):
        ledger_of(tmp_path, encoder, [row], mode=mode)


def test_a_sample_that_is_too_long_is_refused_by_number(tmp_path: Path, encoder) -> None:
    """The message names the first one, its tokens, the limit, how many there are, and what to do; the ledger names
    them all, with what the others would be."""
    rows = [turn("Hi", "Hello"), turn("x" * 300, "ok"), turn("?", ""), turn("x" * 500, "ok")]
    with pytest.raises(Unfit) as refused:
        ledger_of(tmp_path, encoder, rows, limit=256, max_seq_len=256)
    assert str(refused.value) == (
        "sample 2 has 322 tokens and at most 256 are allowed (2 samples have more, the longest 522): "
        'raise max_seq_len to 522, or set too_long to "drop", "truncate" or "split"'
    )
    event = refused.value.ledger.event()
    assert [event[what] for what in ("samples", "kept", "dropped", "refused")] == [4, 1, 1, 2]
    assert event["problems"][2] == {
        "sample": 4,
        "what": "refused",
        "why": "too long: 522 tokens, at most 256",
    }


def test_a_run_that_drops_more_than_allowed_is_refused(tmp_path: Path, encoder) -> None:
    """The message has a number and a reason; the ledger has them all; what is allowed is obeyed."""
    rows = [turn("a", "b"), turn("a", ""), turn("c", ""), turn("d", "")]
    with pytest.raises(
        Unfit, match=r"^3 of 4 samples would be dropped \(sample 2: turn 1 has no response\), more"
    ) as it:
        ledger_of(tmp_path, encoder, rows)
    assert it.value.ledger.event()["dropped"] == 3
    assert len(ledger_of(tmp_path, encoder, rows, most_dropped=0.75).train) == 1
    assert len(ledger_of(tmp_path, encoder, rows[:2]).train) == 1


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
