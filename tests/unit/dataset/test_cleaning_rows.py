"""Operators over rows of any shape."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from qianfan.dataset.operators import BadOperator
from qianfan.dataset.operators.rows import Cleaning

STAGES: dict[str, list[dict[str, Any]]] = {
    "clean": [{"name": "remove_emoji"}],
    "filter": [{"name": "filter_check_number_words", "args": {"number_words_max_cutoff": 10}}],
    "deduplication": [{"name": "deduplication_simhash", "args": {"distance": 4}}],
    "desensitization": [{"name": "replace_emails"}],
}
LONG = "one two three four five six seven eight nine ten eleven"


def cleaned(rows: list[Any], stages: dict[str, Any] = STAGES, **options: Any) -> tuple[list[Any], Cleaning]:
    work = Cleaning(stages, **options)
    return [row for _, row in work.run(enumerate(rows, 1))], work


def test_each_text_of_a_conversation_is_cleaned_and_its_shape_stays() -> None:
    """Also numbers and null, which are no texts."""
    row = [{"prompt": "hi 😀 a@b.com", "response": [["ok 😀"], ["fine"]], "score": 3, "note": None}]
    (found,), work = cleaned([row])
    assert found == [{"prompt": "hi  <EMAIL>", "response": [["ok "], ["fine"]], "score": 3, "note": None}]
    assert [(one.name, one.changed) for one in work.funnel if one.changed] == [
        ("remove_emoji", 1),
        ("replace_emails", 1),
    ]
    assert row[0]["prompt"] == "hi 😀 a@b.com"


def test_a_dropped_text_takes_its_row_with_it_and_the_funnel_says_where() -> None:
    """A long answer, a text of emoji alone, a row that was there before; the counts add up."""
    rows: list[Any] = [
        [{"prompt": "hi", "response": [["there"]]}],
        [{"prompt": "hi", "response": [[LONG]]}],
        [{"prompt": "😀", "response": [["there"]]}],
        [{"prompt": "hi", "response": [["there 😀"]]}],
        [{"prompt": "other words", "response": [[""]]}],
        None,
    ]
    found, work = cleaned(rows)
    assert found == [rows[0], rows[4], rows[5]]
    assert [(one.stage, one.dropped, one.remaining) for one in work.funnel] == [
        ("clean", 1, 5),
        ("filter", 1, 4),
        ("deduplication", 1, 3),
        ("desensitization", 0, 3),
    ]
    assert (work.rows, work.kept) == (6, 3)
    samples = {one.name: [(s.line, s.before, s.after) for s in one.samples] for one in work.funnel}
    assert samples["filter_check_number_words"] == [(2, LONG, None)]
    assert samples["remove_emoji"] == [(3, "😀", None), (4, "there 😀", "there ")]


def test_only_the_columns_that_were_named_are_touched() -> None:
    """Of an object, and of each turn."""
    rows = [{"prompt": "a 😀", "id": "😀"}, [{"prompt": "b 😀", "response": [["😀"]]}]]
    found, _ = cleaned(rows, {"clean": [{"name": "remove_emoji"}]}, columns=["prompt"])
    assert found == [{"prompt": "a ", "id": "😀"}, [{"prompt": "b ", "response": [["😀"]]}]]


def test_who_speaks_is_no_text() -> None:
    """In messages of OpenAI and of ShareGPT; elsewhere `role` and `from` are members like others."""
    rows = [
        {"messages": [{"role": "user", "content": "two words"}]},
        {"conversations": [{"from": "human", "value": "two words"}]},
    ]
    long = {"filter": [{"name": "filter_check_number_words", "args": {"number_words_min_cutoff": 2}}]}
    assert cleaned(rows, long)[0] == rows
    assert cleaned([{"role": "cook"}, {"from": "Rome"}], long)[0] == []


def test_several_processes_give_what_one_gives() -> None:
    """Rows, order, funnel and samples, over the borders of chunks."""
    rows = [f"text number {number % 600} with a smile 😀 and words {number % 7}" for number in range(1300)]
    alone, one = cleaned(rows, processes=1)
    together, two = cleaned(rows, processes=2)
    assert alone == together
    assert one.funnel == two.funnel
    assert one.rows == two.rows == 1300


def test_what_json_has_not_stays_as_it_is() -> None:
    """Half of a pair of code units, dates, numbers beyond 64 bits: also on several processes."""
    row = {"text": "a 😀 \ud800", "at": datetime.date(2026, 1, 2), "many": 2**80}
    found, _ = cleaned([row] * 600, {"clean": [{"name": "remove_emoji"}]}, processes=2)
    assert found == [{**row, "text": "a  \ud800"}] * 600


def test_an_unknown_operator_is_refused_before_anything_is_read() -> None:
    """With what is known."""
    with pytest.raises(BadOperator, match="no operator"):
        Cleaning({"clean": [{"name": "remove_everything"}]})
