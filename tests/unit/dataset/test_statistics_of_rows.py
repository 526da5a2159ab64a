"""Figures of a dataset: counted right, drawn for terminals and notebooks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qianfan.dataset.overview import show_overview
from qianfan.dataset.statistics import Spread, statistics

ROWS: list[Any] = [
    [{"prompt": "What is the name of the river that we saw?", "response": [["the Yangtze"]]}],
    [
        {"prompt": "今天天气怎么样？", "response": [["很好，不冷也不热。"]]},
        {"prompt": "谢谢", "response": [["不客气"]]},
    ],
    [{"prompt": "What is the name of the river that we saw?", "response": [["the Yangtze"]]}],
    [{"prompt": "nobody has answered that question"}],
    [{"prompt": "   ", "response": [[""]]}],
]


def test_rows_turns_answers_duplicates_and_empty_members_are_counted() -> None:
    """Each figure of a small dataset, by hand."""
    found = statistics(ROWS).as_dict()
    assert found["rows"] == 5
    assert found["kinds"] == {"conversations": 5}
    assert found["annotated"] == 4
    assert found["duplicates"] == 1
    assert (found["turns"]["max"], found["turns"]["p50"]) == (2, 1)
    assert found["empty"] == {"prompt": 1, "response": 1}
    assert found["members"] == {"prompt": 5, "response": 4}
    assert found["languages"] == {"en": 3, "zh": 1, "": 1}
    assert found["longest"][0] == {"characters": 54, "line": 1}
    assert [one["line"] for one in found["longest"]] == [1, 3, 4, 2, 5]
    assert found["totalCharacters"] == 54 + 25 + 54 + 33 + 4
    assert sum(bin["rows"] for bin in found["characters"]["histogram"]) == 5
    json.dumps(found)


@pytest.mark.parametrize("rows", [[], ["a text", "another"], [{"a": 1, "b": None}], [None, 3]])
def test_any_rows_can_be_counted(rows: list[Any]) -> None:
    """None at all, texts, objects, and values that are no rows: figures and drawings, no error."""
    figures = statistics(iter(rows))
    assert figures.rows == len(rows)
    assert "rows" in str(figures)
    assert "<table>" in figures._repr_html_()


def test_percentiles_are_exact_and_bins_hold_everything() -> None:
    """Of 1 to 1000 and one far away."""
    spread = Spread()
    for number in [*range(1, 1001), 10**9]:
        spread.add(number)
    assert (spread.percentile(50), spread.percentile(99)) == (501, 991)
    bins = spread.histogram()
    assert sum(rows for _, _, rows in bins) == 1001
    assert bins[-1][1] == 10**9
    assert all(low <= high for low, high, _ in bins)


def test_members_in_another_order_are_the_same_row() -> None:
    """And a number is not its text."""
    rows = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": "1", "b": 2}]
    assert statistics(rows).duplicates == 1


def test_an_overview_draws_the_lengths_and_escapes_what_stands_in_the_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names of members come from the data, and a notebook must not run them."""
    figures = statistics([{"<script>": ""}, {"prompt": "hello"}])
    assert "<script>" not in figures._repr_html_()
    assert "&lt;script&gt;" in figures._repr_html_()
    show_overview(statistics(ROWS))
    assert "█" in capsys.readouterr().out
