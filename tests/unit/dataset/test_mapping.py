"""Records of other formats become rows, and rows those records; what does not fit is named with its place."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import mapping
from qianfan.dataset.formats import FormatError
from qianfan.dataset.schemas import check_row

CONVERSATION, SORTED, PREFERENCE, TEXT, QUERY = 2000, 2001, 2002, 40100, 40200


def said(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


KNOWN = [
    (
        "alpaca",
        CONVERSATION,
        {
            "instruction": "Add.",
            "input": "2 and 3",
            "output": "5",
            "history": [["Hi", "Hello"]],
            "system": "Count.",
        },
        [
            {"system": "Count.", "prompt": "Hi", "response": [["Hello"]]},
            {"prompt": "Add.\n2 and 3", "response": [["5"]]},
        ],
    ),
    ("alpaca", QUERY, {"instruction": "Add.", "input": "", "output": ""}, [{"prompt": "Add."}]),
    (
        "alpaca",
        PREFERENCE,
        {"instruction": "Add.", "chosen": "5", "rejected": "6"},
        [{"user": "Add.", "chosen": "5", "rejected": "6"}],
    ),
    (
        "sharegpt",
        CONVERSATION,
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
            "system": "Be kind.",
        },
        [{"system": "Be kind.", "prompt": "Hi", "response": [["Hello"]]}],
    ),
    (
        "sharegpt",
        PREFERENCE,
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "No"},
        },
        [{"user": "Hi", "chosen": "Hello", "rejected": "No"}],
    ),
    (
        "openai",
        CONVERSATION,
        said(
            ("system", "Be kind."),
            ("user", "Hi"),
            ("assistant", "Hello"),
            ("user", "Bye"),
            ("assistant", "So long"),
        ),
        [
            {"system": "Be kind.", "prompt": "Hi", "response": [["Hello"]]},
            {"prompt": "Bye", "response": [["So long"]]},
        ],
    ),
    (
        "openai",
        PREFERENCE,
        {
            "input": said(("user", "Hi")),
            "preferred_output": [{"role": "assistant", "content": "Hello"}],
            "non_preferred_output": [{"role": "assistant", "content": "No"}],
        },
        [{"user": "Hi", "chosen": "Hello", "rejected": "No"}],
    ),
    (
        "openai",
        SORTED,
        said(("user", "Hi"), ("assistant", "Hello")),
        [{"prompt": "Hi", "response": [["Hello"]]}],
    ),
    (
        "columns",
        CONVERSATION,
        {"prompt": "Hi", "response": "Hello"},
        [{"prompt": "Hi", "response": [["Hello"]]}],
    ),
    ("columns", QUERY, {"prompt": "Hi"}, [{"prompt": "Hi"}]),
    ("text", TEXT, {"text": "A line."}, "A line."),
]


@pytest.mark.parametrize(("name", "template", "record", "row"), KNOWN)
def test_a_record_becomes_a_row_and_a_record_again(name: str, template: int, record: Any, row: Any) -> None:
    """It is recognised by its members, fits the template, and nothing is lost on the way back."""
    found = mapping.of(record)
    assert found is not None
    assert found.name == name
    assert found.explained
    assert found.to_row(record, template) == row
    assert check_row(row, template, 1) is None
    again = found.from_row(row)
    assert found.to_row(again, template) == row


@pytest.mark.parametrize(
    "row",
    [
        [{"prompt": "Hi", "response": [["Hello"]]}],
        [{"user": "Hi", "chosen": "a", "rejected": "b"}],
        "a text",
        7,
        [],
        {},
        {"unknown": 1},
    ],
)
def test_rows_of_ours_and_unknown_ones_are_not_mapped(row: Any) -> None:
    """They are checked as they are."""
    assert mapping.of(row) is None


def test_the_format_of_a_file_is_what_most_of_its_first_rows_have() -> None:
    """One odd record changes nothing."""
    alpaca = {"instruction": "a", "output": "b"}
    found = mapping.detect([alpaca, alpaca, [{"prompt": "x"}]])
    assert found is not None
    assert found.name == "alpaca"
    assert mapping.detect([[{"prompt": "x"}], alpaca, [{"prompt": "y"}]]) is None
    assert mapping.detect([]) is None


@pytest.mark.parametrize(
    ("record", "says", "field"),
    [
        (said(("assistant", "Hi")), "role assistant comes first", "messages[0]"),
        (
            said(("user", "a"), ("assistant", "b"), ("assistant", "c")),
            "role assistant follows assistant",
            "messages[2]",
        ),
        (said(("user", "a"), ("user", "b")), "role user follows user", "messages[1]"),
        (
            said(("user", "a"), ("assistant", "b"), ("system", "c")),
            "the system message is last",
            "messages[2]",
        ),
        (
            said(("user", "a"), ("system", "c"), ("assistant", "b")),
            "the system message is number 2",
            "messages[1]",
        ),
        (said(("system", "c")), "the system message is last", "messages"),
        (said(("user", "a"), ("assistant", "  ")), "empty content", "messages[1].content"),
        (said(("user", "a"), ("assistant", None)), "content is missing", "messages[1].content"),
        (
            said(("user", "a"), ("tool", "7")),
            "a message of role tool without a call before it",
            "messages[1].role",
        ),
        (said(("user", "a"), ("alien", "7")), "the role 'alien' is not known", "messages[1].role"),
        (said(("user", 7)), "content is not a text", "messages[0].content"),
        (
            said(("user", [{"type": "image_url", "image_url": {"url": "x"}}])),
            "a part of content is of type 'image_url'",
            "messages[0].content[0]",
        ),
        (
            said(("user", "a"), ("assistant", "b"), ("user", "c")),
            "the conversation does not end with the assistant's answer",
            "messages[2]",
        ),
        (
            {**said(("user", "a")), "tools": [{"type": "function", "function": {"name": "weather"}}]},
            "weather",
            "tools",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
                ]
            },
            "the message calls f",
            "messages[1].tool_calls",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": "b", "weight": 0},
                ]
            },
            "not to be learnt",
            "messages[1].weight",
        ),
        ({"messages": []}, "no list of messages", "messages"),
        ({"messages": ["a"]}, "a message is an object", "messages[0]"),
        (
            {"conversations": [{"from": "function_call", "value": "{}"}]},
            "role function_call",
            "conversations[0].from",
        ),
        ({"conversations": [{"value": "a"}]}, "has no", "conversations[0]"),
        ({"instruction": "", "output": "b"}, "empty instruction", "instruction"),
        ({"instruction": "a", "output": ["b"]}, "output is not a text", "output"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "a question and its answer", "history[0]"),
        ({"instruction": "a", "chosen": "b", "rejected": "c"}, "this is a preference", ""),
        ({"prompt": "a", "response": {"x": 1}}, "response is not a text", "response"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(record: Any, says: str, field: str) -> None:
    """Line, source and field are in the error, and what to do."""
    found = mapping.of(record)
    assert found is not None
    with pytest.raises(FormatError) as refused:
        found.to_row(record, CONVERSATION, line=12, source="chat.jsonl")
    problem = refused.value.problem
    assert says in problem.what
    assert problem.field.startswith(field)
    assert (problem.line, problem.source) == (12, "chat.jsonl")
    assert problem.fix


@pytest.mark.parametrize(
    ("record", "template", "says"),
    [
        (said(("user", "a"), ("assistant", "b")), TEXT, "the dataset holds texts"),
        (said(("user", "a"), ("assistant", "b")), PREFERENCE, "no chosen and rejected"),
        (said(("system", "s"), ("user", "a")), QUERY, "a query set holds questions alone"),
    ],
)
def test_what_a_template_cannot_hold_is_refused_by_name(record: Any, template: int, says: str) -> None:
    """The advice names the template that can."""
    found = mapping.of(record)
    assert found is not None
    with pytest.raises(FormatError, match=says):
        found.to_row(record, template)


def test_what_is_left_out_or_joined_is_told() -> None:
    """Nothing is lost in silence."""
    record = said(
        ("user", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]), ("assistant", "Hi")
    )
    record["id"] = "7"
    told: list[str] = []
    row = mapping.OPENAI.to_row(record, CONVERSATION, note=told.append)
    assert row == [{"prompt": "Hello", "response": [["Hi"]]}]
    assert told == ["'id' is left out", "content is a list of text parts: joined"]


def test_several_candidates_become_a_sorted_conversation_and_fit_no_other_format() -> None:
    """Going out, a format that holds one answer says so."""
    row = mapping.COLUMNS.to_row(
        {"prompt": "a", "response": [["b"], ["c"]]}, DataTemplateType.SortedConversation
    )
    assert row == [{"prompt": "a", "response": [["b"], ["c"]]}]
    with pytest.raises(FormatError, match="2 answers"):
        mapping.OPENAI.from_row(row)
    with pytest.raises(FormatError, match="several turns"):
        mapping.COLUMNS.from_row([{"prompt": "a"}, {"prompt": "b"}])
    with pytest.raises(FormatError, match="no conversation"):
        mapping.ALPACA.from_row("a text")


def test_no_record_of_any_shape_raises_anything_else() -> None:
    """Members of the wrong kind in every place: a row, or an error with a place."""
    draw = random.Random(11)
    keys = ["messages", "role", "content", "conversations", "from", "value", "instruction", "output", "history",
            "prompt", "response", "text", "chosen", "rejected", "system", "tools", "input", "preferred_output",
            "tool_calls", "weight", "type"]  # fmt: skip
    words = ["user", "assistant", "system", "human", "gpt", "text", "", "x", None, 0, 1.5, True]

    def thing(depth: int) -> Any:
        kind = draw.randrange(4 if depth else 1)
        if kind <= 1:
            return draw.choice(words)
        if kind == 2:
            return [thing(depth - 1) for _ in range(draw.randrange(4))]
        return {draw.choice(keys): thing(depth - 1) for _ in range(draw.randrange(5))}

    rows = 0
    for _ in range(20_000):
        record = thing(4)
        found = mapping.of(record)
        if found is None:
            continue
        for template in (CONVERSATION, PREFERENCE, TEXT, QUERY):
            with contextlib.suppress(FormatError):
                check_row(found.to_row(record, template), template, 1)
                rows += 1
    assert rows > 100
