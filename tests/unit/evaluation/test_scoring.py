"""Scores of an answer by rule, and what they come to for a version."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianfan_platform.evaluation import scoring
from qianfan_platform.evaluation.questions import Question
from qianfan_platform.evaluation.tables import EvalAnswer


def answer(line: int, content: str, reference: str, **more: object) -> EvalAnswer:
    """A scored answer."""
    scores = scoring.score(content, reference, ("accuracy", "similarity"))
    given = {"error": "", "latency_s": 0.5, "prompt_tokens": 3, "completion_tokens": 2, "judge_score": None}
    return EvalAnswer(line=line, turn=0, content=content, scores=scores, **{**given, **more})


def test_only_what_needs_no_reference_is_scored_without_one() -> None:
    """A question without an answer in the dataset."""
    assert scoring.score("[1]", "", ("accuracy", "similarity")) == {"jsonValid": 1}
    assert set(scoring.score("a", "a", ("accuracy",))) >= {"exactMatch", "accuracy", "f1Score"}
    assert "bleu4" not in scoring.score("a", "a", ("accuracy",))


def test_stop_words_do_not_count(tmp_path: Path) -> None:
    """A word a line, in any case."""
    path = tmp_path / "words.txt"
    path.write_text("The\n\n的\n", encoding="utf-8")
    words = scoring.stop_words(path)
    assert words == {"the", "的"}
    assert scoring.score("the cat", "cat", ("accuracy",), words)["f1Score"] == 1


def test_a_missing_answer_counts_nothing_and_the_judge_is_summed_up() -> None:
    """Means over all rows; -1 stands for what was not scored; costs are of what was answered."""
    asked = {(line, 0): Question(line, 0, "q", "yes") for line in range(4)}
    rows = [
        answer(0, "yes", "yes", judge_score=5.0),
        answer(1, "no", "yes", judge_score=2.0),
        answer(2, "", "yes", error="too long", judge_score=-1.0),
        answer(3, "yes", "yes", judge_score=None, latency_s=1.5),
    ]
    found = scoring.effect(rows, asked, (0, 5))
    assert found["accuracy"] == 0.5
    assert found["confidenceInterval"]["accuracy"][0] <= 0.5 <= found["confidenceInterval"]["accuracy"][1]
    assert found["avgJudgeScore"] == 3.5
    assert found["stdJudgeScore"] == 1.5
    assert found["scoreDistribution"] == {"-1": 2, "0": 0, "1": 0, "2": 1, "3": 0, "4": 0, "5": 1}
    assert (found["answered"], found["notAnswered"]) == (3, 1)
    assert found["completionTokens"] == 6
    assert found["avgLatency"] == pytest.approx(0.8333)
    assert found["p50Latency"] == 0.5
