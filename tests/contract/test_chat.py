"""Chat against the platform: sync and async, whole and streamed, V1 and V2; errors of the documented kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import qianfan
from qianfan.errors import APIError

pytestmark = pytest.mark.usefixtures("configured")

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
SHORT = {"max_output_tokens": 8, "temperature": 0.01}


def test_a_chat_answers_the_same_in_all_four_ways() -> None:
    """do and ado, whole and in pieces: at the lowest temperature they say the same."""
    chat = qianfan.ChatCompletion()
    whole = chat.do(messages=HI, **SHORT)
    assert whole["result"] == whole["body"]["result"]
    assert (
        whole["usage"]["total_tokens"]
        == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    )
    pieces = list(chat.do(messages=HI, stream=True, **SHORT))
    assert "".join(piece["result"] for piece in pieces) == whole["result"]
    assert [piece["sentence_id"] for piece in pieces] == list(range(len(pieces)))
    assert [piece["is_end"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1]["usage"]["total_tokens"] > 0

    async def both() -> tuple[str, str]:
        answer = await chat.ado(messages=HI, **SHORT)
        stream = await chat.ado(messages=HI, stream=True, **SHORT)
        return answer["result"], "".join([piece["result"] async for piece in stream])

    assert asyncio.run(both()) == (whole["result"], whole["result"])


def test_names_and_endpoints_of_the_guide_answer() -> None:
    """A model by name, a model by endpoint, completion; a stand-in says so in a header."""
    named = qianfan.ChatCompletion().do(model="ERNIE-Bot", messages=HI, **SHORT)
    assert "stand-in" in named.headers["x-qianfan-served-by"]
    qianfan.ChatCompletion().do(endpoint="eb-instant", messages=HI, **SHORT)
    completed = qianfan.Completion().do(prompt="hi", **SHORT)
    assert completed["body"]["object"] == "completion"
    honest = qianfan.ChatCompletion().do(endpoint="tiny", messages=HI, **SHORT)
    assert honest.headers["x-qianfan-served-by"] == "tiny"


def test_messages_keep_a_conversation_going() -> None:
    """The loop of the README."""
    chat, messages = qianfan.ChatCompletion(), qianfan.Messages()
    for text in ("one", "two"):
        messages.append(text)
        answer = chat.do(messages=messages, **SHORT)
        if not answer["result"].strip():
            answer.body["result"] = "…"  # an untrained model may say nothing, and the next turn needs words
        messages.append(answer)
    assert len(list(messages)) == 4


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": []}, 336006),
        ({"messages": [*HI, {"role": "assistant", "content": "x"}]}, 336006),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 336006),
        ({"messages": [{"role": "user", "content": ""}]}, 336006),
        ({"messages": HI, "temperature": 0}, 336003),
        ({"messages": HI, "top_p": 7}, 336003),
        ({"messages": HI, "stop": [1]}, 336003),
        ({"messages": HI, "system": 7}, 336104),
        ({"messages": [{"role": "user", "content": "word " * 4000}]}, 336007),
        ({"messages": [{"role": "user", "content": "word " * 1000}]}, 336103),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_is_not_one_is_refused(body: dict[str, Any], code: int, stream: bool) -> None:
    """The documented codes, as JSON even when a stream was asked for."""
    with pytest.raises(APIError) as refused:
        list(qianfan.ChatCompletion().do(**body, stream=True)) if stream else qianfan.ChatCompletion().do(
            **body
        )
    assert refused.value.error_code == code


def test_an_unknown_endpoint_is_refused() -> None:
    """Code 3, as the cloud answers it; the name is in the text."""
    with pytest.raises(APIError, match="no_such_service") as refused:
        qianfan.ChatCompletion().do(endpoint="no_such_service", messages=HI)
    assert refused.value.error_code == 3


def test_what_nothing_serves_says_how_to_add_it() -> None:
    """There is no image model here; the error names the lines of the catalogue and the guide."""
    with pytest.raises(
        APIError, match=r"Stable-Diffusion-XL.*kinds = \[.text2image.\].*docs/guides/catalogue\.md"
    ):
        qianfan.Text2Image().do(prompt="a cat")


def test_v2_answers_in_its_own_shape() -> None:
    """The OpenAI-shaped interface, whole and streamed."""
    chat = qianfan.ChatCompletion(version="2")
    whole = chat.do(model="ernie-speed-8k", messages=HI, max_completion_tokens=8, temperature=0)
    text = whole["choices"][0]["message"]["content"]
    pieces = list(
        chat.do(model="ernie-speed-8k", messages=HI, stream=True, max_completion_tokens=8, temperature=0)
    )
    assert (
        "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces if piece["choices"])
        == text
    )


def test_forty_conversations_at_once_all_answer() -> None:
    """More than the engine has places for: they wait their turn, none fails."""

    async def many() -> list[int]:
        chat = qianfan.ChatCompletion()
        answers = await asyncio.gather(*(chat.ado(messages=HI, **SHORT) for _ in range(40)))
        return [answer["usage"]["completion_tokens"] for answer in answers]

    tokens = asyncio.run(many())
    assert len(tokens) == 40
    assert all(0 < count <= 8 for count in tokens)
