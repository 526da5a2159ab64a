"""Conversations: going on, getting shorter, other clients' messages, answers as turns."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from answering import documented
from loopback import Answer, Loopback, stream

from qianfan import ChatCompletion, Messages
from qianfan.contract.models import PresetModel
from qianfan.errors import InvalidArgumentError
from qianfan.resources.llm.conversation import from_openai, shortened
from qianfan.resources.llm.counting import estimated_tokens
from qianfan.transport.response import QfResponse


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def v1(text: str, cut: bool, streamed: bool) -> Answer:
    body = {"result": text, "is_truncated": cut, "is_end": True, "usage": {"total_tokens": len(text)}}
    return stream(body) if streamed else Answer(body)


def v2(text: str, cut: bool, streamed: bool) -> Answer:
    said = {"role": "assistant", "content": text}
    choice = {
        "index": 0,
        "delta" if streamed else "message": said,
        "finish_reason": "length" if cut else "stop",
    }
    return stream({"choices": [choice]}, "[DONE]") if streamed else Answer({"choices": [choice]})


def text_of(piece: QfResponse) -> str:
    if "choices" not in piece.body:
        return piece["result"]
    choice = piece["choices"][0]
    return (choice.get("message") or choice["delta"])["content"]


def asked(chat: ChatCompletion, is_async: bool, messages: Any, **options: Any) -> list[QfResponse]:
    async def ask() -> list[QfResponse]:
        answer: Any = await chat.ado(messages, **options)
        return [piece async for piece in answer] if options.get("stream") else [answer]

    if is_async:
        return asyncio.run(ask())
    answer: Any = chat.do(messages, **options)
    return list(answer) if options.get("stream") else [answer]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("as_messages", [False, True], ids=["list", "Messages"])
def test_a_cut_answer_goes_on_in_every_way(
    server: Loopback, settings: Any, version: str, is_async: bool, streamed: bool, as_messages: bool
) -> None:
    """Messages and lists, both versions, own prompt: pieces joined, history odd, only the last end an end."""
    part = v1 if version == "1" else v2
    server.answers += [
        part("one ", True, streamed),
        part("two ", True, streamed),
        part("three", False, streamed),
    ]
    messages: Any = [user("go")]
    if as_messages:
        messages = Messages()
        messages.append("go")
    chat = ChatCompletion(version=version, access_token="t", bearer_token="b")
    got = asked(
        chat, is_async, messages, stream=streamed, auto_concat_truncate=True, truncated_continue_prompt="on"
    )
    assert "".join(text_of(piece) for piece in got) == "one two three"
    assert len(messages) == 1
    assert server.seen[2].json["messages"] == [
        user("go"), assistant("one "), user("on"), assistant("two "), user("on"),
    ]  # fmt: skip
    ends = [piece.body.get("is_end") or bool(_reason(piece)) for piece in got]
    assert ends == [False] * (len(got) - 1) + [True]


def _reason(piece: QfResponse) -> Any:
    choices = piece.body.get("choices")
    return choices[0]["finish_reason"] if choices else None


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_an_answer_that_is_whole_is_asked_once(
    server: Loopback, settings: Any, is_async: bool, streamed: bool
) -> None:
    """No request for more, and its usage is its own; a cut answer without text is not asked on for ever."""
    server.answers += [v1("all", False, streamed), v1("", True, streamed)]
    chat = ChatCompletion(access_token="t")
    options = {"stream": streamed, "auto_concat_truncate": True}
    (got,) = asked(chat, is_async, [user("go")], **options)
    assert (got["result"], got["usage"]) == ("all", {"total_tokens": 3})
    asked(chat, is_async, [user("go")], **options)
    assert len(server.seen) == 2


def test_the_default_prompt_to_go_on_is_chinese(server: Loopback, settings: Any) -> None:
    """As documented: 继续."""
    server.answers += [v1("a", True, False), v1("b", False, False)]
    ChatCompletion(access_token="t").do([user("go")], auto_concat_truncate=True)
    assert server.seen[1].json["messages"][-1] == user("继续")


SMALL = PresetModel("small", "small", chars=12, tokens=100)


@pytest.mark.parametrize(
    ("turns", "system", "left"),
    [
        ([user("abc")], "", 1),
        ([user("abcd"), assistant("efgh"), user("ijkl")], "", 3),
        ([user("abcd"), assistant("efgh"), user("ijklm")], "", 1),
        ([user("a"), assistant("b"), user("c"), assistant("d"), user("e" * 9)], "", 3),
        ([user("abcd"), assistant("ef"), user("gh")], "12345", 1),
        ([user("x" * 99)], "", 1),
        ([user("a" * 9), assistant("", function_call={"name": "f"}), {"role": "function", "name": "f", "content": "r"},
          assistant("b"), user("c" * 4)], "", 1),
    ],
)  # fmt: skip
def test_the_oldest_turns_go_first(turns: list[Any], system: str, left: int) -> None:
    """In pairs, so that a user begins; system counts; the last turn stays; no result without its call."""
    kept = shortened(turns, system, SMALL)
    assert kept == turns[len(turns) - left :]
    assert len(kept) % 2 == 1


def test_system_turns_of_v2_stay(server: Loopback, settings: Any) -> None:
    """What stands before the first user is no old turn; the limits are those of the model's V1 name."""
    system = {"role": "system", "content": "s" * 100}
    turns = [system, user("x" * 9000), assistant("y" * 9000), user("z")]
    ChatCompletion(version="2", bearer_token="b").do(turns, truncate_overlong_msgs=True)
    assert server.seen[0].json["messages"] == [system, user("z")]


def test_tokens_are_a_limit_too_and_an_unknown_model_has_none() -> None:
    """Chinese text has few characters and many tokens."""
    turns = [user("你好" * 5), assistant("好"), user("你好")]
    assert shortened(turns, "", PresetModel("m", "m", tokens=6)) == turns[2:]
    assert shortened(turns, "", PresetModel("m", "m")) == shortened(turns, "", None) == turns


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_conversation_too_long_for_its_model_is_cut_when_asked(
    server: Loopback, settings: Any, is_async: bool, caplog: Any
) -> None:
    """By the limits of the model that is asked; an endpoint has none; a last turn too long is sent and told."""
    turns = [user("x" * 3000), assistant("y" * 3000), user("z")]
    chat = ChatCompletion(access_token="t")
    asked(chat, is_async, turns, model="BLOOMZ-7B", truncate_overlong_msgs=True)
    asked(chat, is_async, turns, model="BLOOMZ-7B")
    asked(chat, is_async, turns, endpoint="mine", truncate_overlong_msgs=True)
    asked(chat, is_async, turns, truncate_overlong_msgs=True)
    with caplog.at_level(logging.WARNING, "qianfan"):
        asked(chat, is_async, [user("x" * 5000)], model="BLOOMZ-7B", truncate_overlong_msgs=True)
    assert [len(seen.json["messages"]) for seen in server.seen] == [1, 3, 3, 3, 1]
    assert "the last message alone is longer" in caplog.text
    assert "truncate_overlong_msgs" not in server.seen[0].json


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"北京"}'}}
OTHER = {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}}
CALLED = {"name": "weather", "arguments": '{"city":"北京"}'}


@pytest.mark.parametrize(
    ("turns", "system", "spoken"),
    [
        ([{"role": "system", "content": "be kind"}, user("hi")], "be kind", [user("hi")]),
        ([{"role": "developer", "content": "a"}, user("hi"), {"role": "system", "content": "b"}], "a\nb", [user("hi")]),
        ([user("a"), user("b"), assistant("c"), assistant("d"), user("e")], "", [user("a\nb"), assistant("c\nd"), user("e")]),
        ([user([{"type": "text", "text": "x"}, {"type": "text", "text": "y"}])], "", [user("xy")]),
        (
            [user("weather?"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
             {"role": "tool", "tool_call_id": "c1", "content": "20"}],
            "",
            [user("weather?"), assistant("", function_call=CALLED), {"role": "function", "name": "weather", "content": "20"}],
        ),
        (
            [user("both?"), assistant("well", tool_calls=[CALL, OTHER]),
             {"role": "tool", "tool_call_id": "c2", "content": "noon"}, {"role": "tool", "tool_call_id": "c1", "content": "20"}],
            "",
            [user("both?"), assistant("", function_call={"name": "time", "arguments": "{}"}),
             {"role": "function", "name": "time", "content": "noon"}, assistant("well", function_call=CALLED),
             {"role": "function", "name": "weather", "content": "20"}],
        ),
        ([user("x"), assistant("", tool_calls=[CALL])], "", [user("x"), assistant("", function_call=CALLED)]),
        ([user("hi"), assistant("", function_call=CALLED), {"role": "function", "name": "weather", "content": "1"}], "",
         [user("hi"), assistant("", function_call=CALLED), {"role": "function", "name": "weather", "content": "1"}]),
    ],
)  # fmt: skip
def test_openai_messages_become_turns_of_v1(turns: list[Any], system: str, spoken: list[Any]) -> None:
    """System apart, tools as functions, each call before its result, neighbours joined, sides in turn."""
    assert from_openai(turns) == (system, spoken)


def test_a_picture_is_refused_where_only_texts_go() -> None:
    """The error says what to do."""
    with pytest.raises(InvalidArgumentError, match=r"image_url.*version"):
        from_openai([user([{"type": "image_url", "image_url": {"url": "data:"}}])])


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_openai_messages_are_adapted_when_asked(server: Loopback, settings: Any, is_async: bool) -> None:
    """The system text joins the caller's own; on V2 the messages stay as they are."""
    turns = [{"role": "system", "content": "kind"}, user("a"), user("b")]
    asked(ChatCompletion(access_token="t"), is_async, turns, adapt_openai_message_format=True, system="be")
    server.answers.append(documented)
    asked(ChatCompletion(version="2", bearer_token="b"), is_async, turns, adapt_openai_message_format=True)
    first, second = server.seen
    assert (first.json["system"], first.json["messages"]) == ("be\nkind", [user("a\nb")])
    assert second.json["messages"] == turns


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_v2_is_asked_through_v1_where_the_settings_say_so(
    server: Loopback, settings: Any, is_async: bool, streamed: bool
) -> None:
    """Path and body are those of V1, the answer is shaped like V2's, with the token of V1."""
    settings.V2_INFER_API_DOWNGRADE = True
    server.always = documented
    chat = ChatCompletion(version="2", model="ernie-speed-8k", access_token="t")
    tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {}}}]
    got = asked(
        chat, is_async, [{"role": "system", "content": "s"}, user("a")], stream=streamed,
        max_completion_tokens=5, user="u", stop="x", response_format={"type": "json_object"}, tools=tools,
    )  # fmt: skip
    seen = server.seen[0]
    assert (seen.path.rpartition("/")[2], seen.query) == ("ernie_speed", {"access_token": "t"})
    assert seen.json["functions"] == [tools[0]["function"]]
    expected = {"messages": [user("a")], "system": "s", "max_output_tokens": 5, "user_id": "u", "stop": ["x"]}
    assert expected.items() <= seen.json.items()
    assert seen.json["response_format"] == "json_object"
    assert "tools" not in seen.json
    assert "".join(text_of(piece) for piece in got) == "你好, world"
    assert got[-1]["choices"][0]["finish_reason"] == "stop"
    assert {(piece["model"], piece["object"]) for piece in got} == {
        ("ernie-speed-8k", "chat.completion.chunk" if streamed else "chat.completion")
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_function_call_of_v1_is_a_tool_call_of_v2(server: Loopback, settings: Any, streamed: bool) -> None:
    """Through V1, too; and a model without a preset is an endpoint of that name."""
    settings.V2_INFER_API_DOWNGRADE = True
    body = {"id": "as-1", "result": "", "function_call": CALLED}
    server.answers.append(stream(body, {"result": "", "is_end": True}) if streamed else Answer(body))
    got = asked(
        ChatCompletion(version="2", access_token="t"), False, [user("a")], model="mine", stream=streamed
    )
    choice = got[0]["choices"][0]
    (call,) = (choice.get("message") or choice["delta"])["tool_calls"]
    assert call["function"] == CALLED
    assert got[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert server.seen[0].path.endswith("/chat/mine")


def test_an_answer_of_v2_can_be_appended() -> None:
    """Text, or tool calls; an answer that says nothing cannot."""
    messages = Messages()
    messages.append(QfResponse(200, {}, {"choices": [{"message": {"role": "assistant", "content": "hi"}}]}))
    messages.append(QfResponse(200, {}, {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}))
    assert messages.to_list() == [assistant("hi"), assistant("", tool_calls=[CALL])]
    with pytest.raises(InvalidArgumentError):
        messages.append(QfResponse(200, {}, {"choices": []}))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("你好", 2),
        ("hello", 1),
        ("a b c d", 5),
        ("你a好b", 4),
        ("don't-stop，go", 5),
        ("😀 ok", 2),
        ("a\nb", 2),
    ],
)
def test_tokens_are_estimated_by_the_documented_formula(text: str, tokens: int) -> None:
    """Chinese characters plus 1.3 a word, words between spaces and punctuation."""
    assert estimated_tokens(text) == tokens
