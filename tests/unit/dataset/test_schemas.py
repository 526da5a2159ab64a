"""What is wrong with a record, and what is advised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.contract.enums import DataTemplateType as Template
from qianfan.dataset import schemas
from qianfan.dataset.schemas import Problem, check_row, is_annotated, is_plain

GOOD = [{"prompt": "2+2?", "response": [["4"]]}, {"prompt": "times 3?", "response": [["12"]]}]


def problem(row: Any, template: Template = Template.NonSortedConversation) -> Problem:
    found = check_row(row, template, 7, "data.jsonl")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("row", "template"),
    [
        (GOOD, Template.NonSortedConversation),
        ([{"prompt": "a"}], Template.NonSortedConversation),
        ([{"system": "Be brief.", "prompt": "a", "response": [["b"]]}], Template.NonSortedConversation),
        ([{"prompt": "a", "response": [["b"], ["c"]]}], Template.SortedConversation),
        ("a text", Template.GenericText),
        ([{"prompt": "a"}], Template.QuerySet),
    ],
)
def test_a_good_record_has_no_problem(row: Any, template: Template) -> None:
    """Records as the platform documents them pass."""
    assert check_row(row, template, 1) is None


def test_a_problem_says_where_what_and_how_to_mend_it() -> None:
    """The text of a problem names file, line, field and fix."""
    text = str(problem([GOOD[0], {"prompt": "b", "response": "c"}]))
    assert text.startswith("data.jsonl line 7, field [1].response: response is a plain text — fix: ")
    assert '[["c"]]' in text


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        ({"prompt": "a", "response": [["b"]]}, "", "not in an array"),
        ([], "", "no turn"),
        (["a"], "[0]", "a turn is an object"),
        ([{"response": [["b"]]}], "[0]", "no prompt"),
        ([{"prompt": " ", "response": [["b"]]}], "[0].prompt", "empty"),
        ([{"prompt": 3, "response": [["b"]]}], "[0].prompt", "a number"),
        ([{"prompt": "a", "response": ["b"]}], "[0].response", "list of texts"),
        ([{"prompt": "a", "response": [["b"], ["c"]]}], "[0].response", "2 candidates"),
        ([{"prompt": "a", "response": [["b", "c"]]}], "[0].response[0]", "list of 2"),
        ([{"prompt": "a", "response": [[""]]}], "[0].response[0][0]", "empty"),
        ([{"prompt": "a", "response": [[None]]}], "[0].response[0][0]", "null"),
        ([{"prompt": "a", "response": [["b"]], "answer": 1}], "[0]", "'answer'"),
        ([GOOD[0], {"prompt": "a", "system": "x", "response": [["b"]]}], "[1].system", "first turn"),
        ([GOOD[0], {"prompt": "a"}], "[1].response", "no answer"),
        ("text", "", "a text"),
        (None, "", "null"),
    ],
)
def test_each_mistake_is_named(row: Any, field: str, words: str) -> None:
    """Every kind of mistake has its own words and points at its field."""
    found = problem(row)
    assert found.field == field
    assert words in found.what
    assert found.fix


def test_openai_records_are_recognised_and_rewritten() -> None:
    """The fix for OpenAI's format is the record as it should be."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
    ]
    for row in ({"messages": messages}, messages):
        found = problem(row)
        assert "OpenAI" in found.what
        assert '[{"system": "Be brief.", "prompt": "hi", "response": [["hello"]]}]' in found.fix


def test_openai_roles_out_of_order_are_pointed_at() -> None:
    """Two questions in a row, or an end without an answer, are told apart."""
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    assert problem({"messages": twice}).field == "messages[1].role"
    assert "does not end" in problem({"messages": twice[:1]}).what


def test_instruction_records_are_rewritten() -> None:
    """The fix for instruction, input and output is the record as it should be."""
    found = problem({"instruction": "Add", "input": "1 2", "output": "3"})
    assert '[{"prompt": "Add\\n1 2", "response": [["3"]]}]' in found.fix


def test_query_sets_and_texts_have_their_own_rules() -> None:
    """A query set has one question without an answer; a text is a text."""
    assert problem([{"prompt": "a"}, {"prompt": "b"}], Template.QuerySet).what.endswith("this has 2")
    assert problem([{"prompt": "a", "response": [["b"]]}], Template.QuerySet).field == "[0].response"
    assert problem("  ", Template.GenericText).what == "the text is empty"


def test_only_answered_conversations_are_annotated() -> None:
    """Every turn needs an answer."""
    assert is_annotated(GOOD)
    assert not is_annotated([GOOD[0], {"prompt": "b", "response": []}])
    assert not is_annotated("text")


PAIR = {"user": "A joke?", "chosen": "One …", "rejected": "No."}


@pytest.mark.parametrize(
    "row",
    [
        [PAIR],
        [{"system": "Be brief.", "user": "Hello", "assistant": "Hi."}, PAIR],
        [{"prompt": "A joke?", "chosen": "One …", "rejected": "No."}],
    ],
)
def test_a_good_preference_has_no_problem_and_is_annotated(row: Any) -> None:
    """Turns of user and assistant, the last with chosen and rejected."""
    assert check_row(row, Template.PromptChosenRejected, 1) is None
    assert is_annotated(row)


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (PAIR, "", "an array of turns"),
        ([], "", "no turn"),
        ([PAIR, PAIR], "[0]", "no assistant"),
        ([{"user": "a", "assistant": "b"}], "[0]", "no chosen"),
        ([{**PAIR, "rejected": ""}], "[0].rejected", "empty"),
        ([{**PAIR, "chosen": ["x"]}], "[0].chosen", "a list"),
        ([{**PAIR, "rejected": PAIR["chosen"]}], "[0].rejected", "nothing is preferred"),
        ([{**PAIR, "response": [["c"]]}], "[0]", "'response'"),
        ([{**PAIR, "user": "q", "assistant": "b"}], "[0]", "'assistant'"),
        ([{"user": "a", "assistant": "b"}, {**PAIR, "system": "x"}], "[1].system", "first turn"),
    ],
)
def test_each_mistake_of_a_preference_is_named(row: Any, field: str, words: str) -> None:
    """What is missing, double, empty or equal is told with its place."""
    found = problem(row, Template.PromptChosenRejected)
    assert found.field == field
    assert words in found.what


PARTS = st.sampled_from([None, "", " ", "\u3000", "a", 1, True, [], {}, ["a"], [["a"]]])
ANSWERS = st.one_of(PARTS, st.lists(st.one_of(PARTS, st.lists(PARTS, max_size=2)), max_size=2))
TURNS = st.one_of(
    PARTS,
    st.fixed_dictionaries({"prompt": PARTS, "response": ANSWERS}),
    st.dictionaries(
        st.sampled_from(["prompt", "response", "system", "role", "x"]), st.one_of(PARTS, ANSWERS), max_size=3
    ),
)


@given(st.one_of(TURNS, st.lists(TURNS, max_size=3)), st.sampled_from([2000, 2001]))
def test_the_short_way_says_what_the_long_way_says(row: Any, template: int) -> None:
    """A conversation of the usual form has no problem and is annotated; all others are looked at in full."""
    kind = Template(template)
    plain = is_plain(row, several=kind is Template.SortedConversation)
    try:
        schemas._conversation(row, several=kind is Template.SortedConversation)
        problem = None
    except schemas._Bad as bad:
        problem = bad.what
    found = check_row(row, kind, 1)
    assert (None if found is None else found.what) == problem
    assert not plain or (problem is None and is_annotated(row))


def test_the_short_way_is_taken_by_usual_conversations() -> None:
    """Turns of prompt and response alone, one answer each unless several are allowed."""
    assert is_plain(GOOD)
    several = [{"prompt": "a", "response": [["b"], ["c"]]}]
    assert is_plain(several, several=True)
    assert not is_plain(several)


def test_a_preference_among_conversations_is_told_its_template() -> None:
    """Taking the answers away would lose what they are for."""
    problem = check_row([{"prompt": "a", "chosen": "b", "rejected": "c"}], Template.NonSortedConversation, 1)
    assert problem is not None
    assert "PromptChosenRejected" in problem.fix
