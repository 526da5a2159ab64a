"""Bodies of chats, in the words of the engines."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.inference import conversations

HI = [{"role": "user", "content": "hi"}]
CALL = {"name": "weather", "arguments": '{"city": "北京"}', "thoughts": "look it up"}
WEATHER = {
    "name": "weather",
    "description": "the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def test_system_goes_first_and_the_older_user_setting_does_the_same() -> None:
    """On V1 the system text is a member of its own; engines take a message."""
    for name in ("system", "user_setting"):
        prompt = conversations.of_v1({"messages": HI, name: "be brief"})
        assert prompt.messages[0] == {"role": "system", "content": "be brief"}
        assert prompt.chars == len("be brief") + len("hi")


def test_a_call_and_its_result_are_tied_together() -> None:
    """V1 has no ids; engines match the result of a function with its call by one."""
    turns = [
        *HI,
        {"role": "assistant", "content": "", "function_call": CALL},
        {"role": "function", "name": "weather", "content": '{"temperature": 20}'},
    ]
    prompt = conversations.of_v1({"messages": turns, "functions": [WEATHER]})
    call, result = prompt.messages[1:]
    assert call["tool_calls"][0]["function"] == {"name": "weather", "arguments": CALL["arguments"]}
    assert (result["role"], result["tool_call_id"]) == ("tool", call["tool_calls"][0]["id"])
    assert [tool.name for tool in prompt.sampling.tools] == ["weather"]


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None),
        ("text", None),
        ("json_object", {}),
        ({"type": "json_object"}, {}),
        ({"type": "json_schema", "json_schema": {"type": "object"}}, {"type": "object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
            {"type": "array"},
        ),
    ],
)
def test_every_form_of_response_format_is_read(form: Any, schema: Any) -> None:
    """A word, as V1 documents it, or an object, as OpenAI does."""
    assert conversations.of_v1({"messages": HI, "response_format": form}).sampling.json_schema == schema


def test_both_interfaces_hand_on_what_they_are_told() -> None:
    """Each documented parameter arrives at the engine."""
    v1 = conversations.of_v1(
        {
            "messages": HI, "temperature": 0.5, "top_p": 0.9, "penalty_score": 1.5, "stop": ["."],
            "max_output_tokens": 7, "min_output_tokens": 2, "frequency_penalty": -1, "presence_penalty": 2,
            "top_k": 4, "user_id": "u", "disable_search": True, "enable_citation": True, "enable_trace": False,
        }
    ).sampling  # fmt: skip
    assert (v1.temperature, v1.top_p, v1.top_k, v1.penalty_score) == (0.5, 0.9, 4, 1.5)
    assert (v1.stop, v1.max_tokens, v1.min_tokens) == ((".",), 7, 2)
    assert (v1.frequency_penalty, v1.presence_penalty) == (-1, 2)
    v2 = conversations.of_v2(
        {
            "messages": HI,
            "temperature": 0,
            "max_completion_tokens": 5,
            "max_tokens": 9,
            "seed": 3,
            "stop": "x",
        }
    ).sampling
    assert (v2.temperature, v2.max_tokens, v2.seed, v2.stop) == (0, 5, 3, ("x",))


@pytest.mark.parametrize(
    ("body", "row", "says"),
    [
        ({"system": "s", "functions": [WEATHER]}, errors.SYSTEM_INVALID, "functions"),
        ({"system": 7}, errors.SYSTEM_INVALID, "system"),
        ({"user_setting": []}, errors.USER_SETTING_INVALID, "user_setting"),
        ({"temperature": 0}, errors.PARAMETER, "temperature"),
        ({"temperature": math.nan}, errors.PARAMETER, "temperature"),
        ({"temperature": True}, errors.PARAMETER, "temperature"),
        ({"top_p": math.inf}, errors.PARAMETER, "top_p"),
        ({"max_output_tokens": -1}, errors.PARAMETER, "max_output_tokens"),
        ({"max_output_tokens": 0}, errors.PARAMETER, "max_output_tokens"),
        ({"max_output_tokens": 2**31}, errors.PARAMETER, "max_output_tokens"),
        ({"max_output_tokens": 2.5}, errors.PARAMETER, "whole"),
        ({"max_output_tokens": 4, "min_output_tokens": 5}, errors.PARAMETER, "min_output_tokens"),
        ({"stop": ["x"] * 10_000}, errors.PARAMETER, "stop"),
        ({"stop": [""]}, errors.PARAMETER, "stop"),
        ({"stop": {"a": 1}}, errors.PARAMETER, "stop"),
        ({"n": 1_000_000}, errors.PARAMETER, "n must be 1"),
        ({"response_format": "xml"}, errors.PARAMETER, "response_format"),
        ({"functions": {}}, errors.PARAMETER, "functions"),
        ({"functions": [{"name": " "}]}, errors.PARAMETER, "blank"),
        ({"functions": [WEATHER] * 200}, errors.PARAMETER, "functions"),
        ({"functions": [{**WEATHER, "parameters": 3}]}, errors.PARAMETER, "schema"),
        ({"tool_choice": "always"}, errors.PARAMETER, "tool_choice"),
        ({"functions": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
         errors.PARAMETER, "tool_choice"),
        ({"tools": [{"type": "function"}]}, errors.PARAMETER, "tools[0].function"),
    ],
)  # fmt: skip
def test_a_member_that_cannot_be_is_named(body: dict[str, Any], row: errors.ErrorRow, says: str) -> None:
    """Values that no engine should ever see end here."""
    with pytest.raises(Fault) as refused:
        conversations.of_v1({"messages": HI, **body})
    assert refused.value.row is row
    assert says in refused.value.text


def test_web_search_tools_of_the_cloud_are_left_out() -> None:
    """They are no functions of the caller's; the chat goes on without them."""
    body = {
        "messages": HI,
        "tools": [{"type": "web_search", "web_search": {"enable": True}}],
        "tool_choice": {"type": "web_search"},
    }
    sampling = conversations.of_v1(body).sampling
    assert (sampling.tools, sampling.tool_choice) == ((), "auto")


def test_what_only_the_cloud_has_is_named_when_it_is_asked_for() -> None:
    """Switched off, or not there at all, it is no loss."""
    assert conversations.ignored({"web_search": {"enable": True}, "enable_trace": True}) == [
        "enable_trace", "web_search",
    ]  # fmt: skip
    assert (
        conversations.ignored({"web_search": {"enable": False}, "enable_citation": False, "tools": 7}) == []
    )
    assert conversations.ignored({"tools": [{"type": "web_search"}, {"type": "function"}]}) == ["web_search"]


@pytest.mark.parametrize(
    "turn",
    [
        "hi",
        {"role": "robot", "content": "hi"},
        {"role": "user", "content": ""},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "audio"}]},
        {"role": "tool", "content": "20"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
        {"role": "user", "content": "x", "tool_calls": [{"function": CALL}]},
    ],
)
def test_a_v2_message_that_cannot_be_is_named(turn: Any) -> None:
    """The error tells which of the messages it is."""
    with pytest.raises(Fault, match="message 1") as refused:
        conversations.of_v2({"messages": [*HI, turn]})
    assert refused.value.row is errors.MESSAGES


def test_text_parts_become_one_text_and_the_newer_role_the_older() -> None:
    """Only a message with an image needs parts."""
    prompt = conversations.of_v2(
        {
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ]
        }
    )
    assert prompt.messages == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "ab"}]
    assert not prompt.sees


def test_log_probabilities_are_refused_aloud() -> None:
    """Better than an answer without them."""
    with pytest.raises(Fault, match="logprobs"):
        conversations.of_v2({"messages": HI, "logprobs": True})


def test_the_estimate_grows_with_the_text() -> None:
    """English about four letters a token, Chinese a character or less."""
    assert conversations.estimate("word " * 100) == pytest.approx(125, abs=2)
    assert conversations.estimate("你好" * 100) == pytest.approx(150, abs=2)
