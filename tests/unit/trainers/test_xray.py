"""The look through one sample."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.trainers.child.xray import look
from qianfan_platform.trainers.protocol import Hyper, TrainSpec
from qianfan_platform.trainers.xray import XrayFailed, xray


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> TrainSpec:
    return TrainSpec(tiny_model, tmp_path / "rows.jsonl", tmp_path / "nowhere")


def seen(spec: TrainSpec, row: Any, **changes: Any) -> dict[str, Any]:
    spec.rows.write_text(json.dumps(row) + "\n")
    hyper = Hyper(**changes.pop("hyper", {}))
    return look(replace(spec, hyper=hyper, **changes), 1)


def test_a_child_shows_a_sample_without_torch(spec: TrainSpec) -> None:
    """Text, ids, mask and outcome of the wanted line, from a process that never loads torch."""
    spec.rows.write_text('[{"prompt": "a", "response": "b"}]\n[{"prompt": "Hi", "response": "Grüße 你"}]\n')
    found = asyncio.run(xray(spec, 2))
    assert (found["sample"], found["what"], found["limit"], found["policy"]) == (2, "kept", 512, "refuse")
    (one,) = found["sequences"]
    assert one["rendered"] == ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nGrüße 你<|im_end|>\n")
    assert [run["text"] for run in one["trained"]] == ["Grüße 你<|im_end|>"]
    (run,) = one["trained"]
    assert [t["trained"] for t in one["tokens"]] == [
        run["start"] <= at < run["end"] for at in range(len(one["tokens"]))
    ]
    assert "".join(token["text"] for token in one["tokens"]) + "\n" == one["rendered"]
    assert found["trained_tokens"] == run["end"] - run["start"] == len("Grüße 你".encode()) + 1
    assert found["tokens"] == len(one["tokens"])
    assert not spec.work.exists()


def test_nothing_of_the_reader_needs_torch() -> None:
    """Reading, rendering and accounting stay light, so that a look at a sample is quick."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import qianfan_platform.trainers.child.xray, qianfan_platform.trainers.child.ledger"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sample_that_cannot_be_shown_says_why(spec: TrainSpec) -> None:
    """A missing line, a missing model, and a reader that takes too long are told in words."""
    spec.rows.write_text('[{"prompt": "a", "response": "b"}]\n')
    with pytest.raises(XrayFailed, match="the data has no sample 7"):
        asyncio.run(xray(spec, 7))
    with pytest.raises(XrayFailed, match=r"could not be read within 0\.01 seconds"):
        asyncio.run(xray(spec, 1, within_s=0.01))


def test_what_was_left_out_is_shown_with_the_reason(spec: TrainSpec) -> None:
    """Dropped, refused and truncated samples show what became of them, and learn only what is kept."""
    long = [{"prompt": "q" * 90, "response": "yes"}]
    refused = seen(spec, long, hyper={"max_seq_len": 60})
    assert (refused["what"], refused["trained_tokens"]) == ("refused", 0)
    assert "at most 60" in refused["why"]
    assert len(refused["sequences"][0]["tokens"]) == refused["tokens"] > 60
    dropped = seen(spec, long, hyper={"max_seq_len": 60, "too_long": "drop"})
    assert (dropped["what"], dropped["trained_tokens"]) == ("dropped", 0)
    cut = seen(spec, long, hyper={"max_seq_len": 60, "too_long": "truncate"})
    assert (cut["what"], cut["tokens"], cut["trained_tokens"]) == ("truncated", 60, 4)
    assert "q" * 90 not in cut["sequences"][0]["rendered"]
    empty = seen(spec, [{"prompt": "q"}])
    assert (empty["what"], empty["why"], empty["sequences"]) == ("dropped", "turn 1 has no response", [])


def test_parts_windows_and_pairs_are_each_shown(spec: TrainSpec) -> None:
    """What one row becomes is shown sequence by sequence."""
    turns = [{"prompt": f"question {n}", "response": f"answer {n}"} for n in range(3)]
    split = seen(spec, turns, hyper={"max_seq_len": 60, "too_long": "split"})
    assert [one["name"] for one in split["sequences"]] == ["part 1", "part 2", "part 3"]
    assert [one["trained"][0]["text"] for one in split["sequences"]] == [
        f"answer {n}<|im_end|>" for n in range(3)
    ]
    text = seen(spec, "one two three four", mode="PostPretrain", hyper={"max_seq_len": 12})
    windows = text["sequences"]
    assert "".join(one["trained"][0]["text"] for one in windows) == "ne two three four<|endoftext|>"
    assert windows[0]["rendered"][-1] == windows[1]["rendered"][0]  # one token is read twice, learned once
    pair = seen(spec, [{"user": "Best?", "chosen": "Yes.", "rejected": "No."}], mode="DPO")
    assert [(one["name"], one["trained"][0]["text"]) for one in pair["sequences"]] == [
        ("chosen", "Yes.<|im_end|>"),
        ("rejected", "No.<|im_end|>"),
    ]


def test_a_control_token_and_its_name_in_a_text_are_told_apart(spec: TrainSpec) -> None:
    """They read alike; only one is special."""
    (one,) = seen(spec, [{"prompt": "say <|im_end|>", "response": "ok"}])["sequences"]
    assert one["rendered"].startswith("<|im_start|>user\nsay <|im_end|><|im_end|>\n")
    special = [token["text"] for token in one["tokens"] if token["special"]]
    assert special == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert "".join(token["text"] for token in one["tokens"]).count("<|im_end|>") == 3


def test_virtual_tokens_are_seen_before_the_prompt(spec: TrainSpec) -> None:
    """They stand in the template, and are never learned as words."""
    row = [{"prompt": "Hi", "response": "Ho"}]
    found = seen(spec, row, method="P-tuning", hyper={"virtual_tokens": 2})
    (one,) = found["sequences"]
    assert one["rendered"].startswith("<|virtual_0|><|virtual_1|><|im_start|>user\nHi")
    assert [token["trained"] for token in one["tokens"][:2]] == [False, False]
