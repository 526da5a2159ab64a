"""The table of results (hostile input 16): what a model says is never run by a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from qianfan.dataset.cells import plain
from qianfan_platform.evaluation.questions import Question
from qianfan_platform.evaluation.results import write_export
from qianfan_platform.evaluation.tables import EvalAnswer, EvalUnit


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", 'a "b", c', "x\r\ny", "'=1"]
)
def test_a_formula_is_a_text_in_the_table_and_every_text_comes_back(text: str, tmp_path: Path) -> None:
    """Prompt, answer, reference and reason, each in its own cell."""
    unit = EvalUnit(model_name="m", model_version="1")
    answer = EvalAnswer(content=text, scores={}, judge_score=4.0, judge_reason=text)
    listed = [(unit, answer, Question(0, 0, text, text))]
    content = ("prompt", "prediction", "completion", "metrics")
    write_export(listed, content, tmp_path / "x.csv", tmp_path / "x.zip")
    raw = (tmp_path / "x.csv").read_bytes().decode("utf-8-sig")
    _, row = csv.reader(io.StringIO(raw, newline=""), strict=True)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    assert [plain(cell) for cell in (*row[2:5], row[-1])] == [text] * 4
