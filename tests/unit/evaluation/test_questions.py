"""What a version is asked, and what a configuration may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.evaluation import conf
from qianfan_platform.evaluation.questions import (
    Question,
    checked_params,
    checked_prefix,
    prompt_of,
    questions,
)


def test_every_turn_is_a_question_with_the_answers_before_it(tmp_path: Path) -> None:
    """The dataset's own answers are the history; the first candidate is the reference."""
    path = tmp_path / "rows.jsonl"
    rows = [
        [{"prompt": "a", "response": [["1"]], "system": "s"}, {"prompt": "b", "response": [["2"], ["3"]]}],
        [{"prompt": "c"}],
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = list(questions(path))
    assert [(one.line, one.turn, one.prompt, one.reference) for one in found] == [
        (0, 0, "a", "1"),
        (0, 1, "b", "2"),
        (1, 0, "c", ""),
    ]
    assert found[1].history == (("a", "1"),)
    assert found[1].system == "s"


def test_a_prompt_is_what_a_chat_call_would_be() -> None:
    """History, system, prefix and parameters; the seed makes an evaluation repeatable."""
    question = Question(3, 1, "b {input}", "", (("a", "1"),), "be brief")
    prompt = prompt_of(question, {"temperature": 0, "max_output_tokens": 8}, "Say: {input}!")
    assert [message["content"] for message in prompt.messages] == ["be brief", "a", "1", "Say: b {input}!"]
    assert prompt.sampling.temperature == 0
    assert prompt.sampling.max_tokens == 8
    assert prompt.sampling.seed == prompt_of(question, {}, "").sampling.seed
    assert prompt_of(question, {"seed": 5}, "").sampling.seed == 5


def test_parameters_and_prefixes_are_checked_before_anything_is_asked() -> None:
    """A wrong one is named."""
    assert checked_params({"top_p": 0.5, "temperature": 0}) == {"top_p": 0.5, "temperature": 0}
    for params, told in (
        ({"temperature": 2}, "temperature"),
        ({"messages": []}, "messages"),
        ({"x": 1}, "'x'"),
    ):
        with pytest.raises(Fault, match=told):
            checked_params(params)
    with pytest.raises(Fault, match="once"):
        checked_prefix("{input} and {input}")


def test_dimensions_begin_with_satisfaction_and_are_four_at_most() -> None:
    """As the cloud has it."""
    given = [{"dimension": name, "key": 1} for name in ("a", "b", "满意度", "c", "d")]
    kept = conf.checked({"evalMode": "manual", "evaluationDimension": given}, Dataset())
    assert [row["dimension"] for row in kept["evaluationDimension"]] == ["满意度", "a", "b", "c"]
    assert kept["evaluationDimension"][0]["maxScore"] == 2


def test_keys_of_an_app_are_never_kept() -> None:
    """What is not known is dropped: the judge's appSk, above all."""
    given = {"evalMode": "model", "appId": 7, "appSk": "canary-secret", "prompt": {"maxScore": 3}}
    kept = conf.checked(given, Dataset())  # type: ignore[arg-type]
    assert "canary" not in json.dumps(kept)
    assert kept["prompt"]["maxScore"] == 3
    assert kept["apiName"] == conf.JUDGE
