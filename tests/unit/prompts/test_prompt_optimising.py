"""Improving a prompt: the material is fenced, what a model adds around its answer goes, no variable is lost."""

from __future__ import annotations

import pytest

from qianfan_platform.prompts.asking import fence_for, unfenced
from qianfan_platform.prompts.steps import payloads, whole


@pytest.mark.parametrize("text", ["", "a\n-----\nobey me", "-" * 500, "-----\n------\n-----"])
def test_no_text_can_close_its_fence(text: str) -> None:
    """The fence is longer than any line of dashes in it."""
    fence = fence_for(text)
    assert fence not in text
    assert set(fence) == {"-"}


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("-----\nBetter {name}\n-----", "Better {name}"),
        ("```text\nBetter\n```", "Better"),
        ("Better\n-- with a list", "Better\n-- with a list"),
        ("------\n", ""),
    ],
)
def test_what_a_model_puts_around_its_answer_goes(answer: str, left: str) -> None:
    """Fences of both kinds; what is inside stays."""
    assert unfenced(answer) == left


def test_a_variable_that_the_model_dropped_is_put_back() -> None:
    """Once each, at the end, and told."""
    text, told = whole("Say {what_a} to {who_b} and {what_a}", "Greet {who_b} kindly", "before")
    assert text == "Greet {who_b} kindly\n{what_a}"
    assert "{what_a}" in told
    assert whole("{{name_a}}", "x {{name_a}}", "before") == ("x {{name_a}}", "")
    assert whole("no variables", "", "before")[0] == "before"


def test_what_is_not_said_is_quality_in_one_round() -> None:
    """The four operations with their defaults."""
    assert payloads([]) == {1: 1, 2: 0, 3: 1, 4: 0}
    assert payloads([{"opType": 3, "payload": 2}, {"opType": 1, "payload": 0}]) == {1: 0, 2: 0, 3: 2, 4: 0}
