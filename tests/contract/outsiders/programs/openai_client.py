"""What users of the `openai` package do, pointed at the platform by OPENAI_BASE_URL and OPENAI_API_KEY."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import openai
from play import play
from pydantic import BaseModel

MODEL = "ernie-lite-8k"  # served by the echo engine: it says what it is told
GUIDED = "SmolLM2-135M-Instruct"  # real weights, for answers that follow a schema
ASKED: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one two 三 four"},
]

client = openai.OpenAI(max_retries=0, timeout=120)


def chat() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, temperature=0.5, top_p=0.9)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == "one two 三 four"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 4


def chat_cut_by_its_limit() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, max_completion_tokens=2)
    assert answer.choices[0].message.content == "one two"
    assert answer.choices[0].finish_reason == "length"


def stream() -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "one two 三 four"
    assert len([choice for choice in choices if choice.delta.content]) == 4
    assert choices[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4


def stream_left_early() -> None:
    with client.chat.completions.create(model=MODEL, messages=ASKED, stream=True) as pieces:
        next(iter(pieces))
    chat()


async def async_chat_and_stream() -> None:
    async with openai.AsyncOpenAI(max_retries=0) as several:
        answer = await several.chat.completions.create(model=MODEL, messages=ASKED)
        assert answer.choices[0].message.content == "one two 三 four"
        pieces = await several.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in pieces if chunk.choices])
        assert text == "one two 三 four"


def models() -> None:
    listed = {model.id: model for model in client.models.list()}
    assert listed["SmolLM2-135M-Instruct"].object == "model"
    assert {"echo", "ERNIE-Bot-turbo"} <= set(listed)


def embeddings() -> None:
    """The client asks for base64 by itself, and decodes it."""
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by a point."]
    answer = client.embeddings.create(model="embedding-v1", input=texts)
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens > 0
    cat, kitten, rates = (row.embedding for row in answer.data)
    assert math.isclose(_product(cat, cat), 1.0, abs_tol=1e-3)
    assert _product(cat, kitten) > _product(cat, rates) + 0.2


def embeddings_as_numbers() -> None:
    """Numbers and base64 are the same vectors, to the precision of a float32."""
    packed = client.embeddings.create(model="embedding-v1", input="你好").data[0].embedding
    plain = client.embeddings.create(model="embedding-v1", input="你好", encoding_format="float")
    assert len(packed) == len(plain.data[0].embedding) > 100
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(packed, plain.data[0].embedding, strict=True))


class _Ticket(BaseModel):
    intent: Literal["refund", "delivery"]
    urgent: bool


TICKET: Any = {"role": "user", "content": "Where is my parcel? I need it today! Sort this ticket."}


def json_schema() -> None:
    answer = client.chat.completions.create(
        model=GUIDED,
        messages=[TICKET],
        max_completion_tokens=64,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "ticket",
                "strict": True,
                "schema": {**_Ticket.model_json_schema(), "additionalProperties": False},
            },
        },
    )
    told = json.loads(answer.choices[0].message.content or "")
    assert set(told) == {"intent", "urgent"}
    assert told["intent"] in ("refund", "delivery")
    assert isinstance(told["urgent"], bool)


def parse_into_a_pydantic_model() -> None:
    answer = client.chat.completions.parse(
        model=GUIDED, messages=[TICKET], max_completion_tokens=64, response_format=_Ticket
    )
    assert isinstance(answer.choices[0].message.parsed, _Ticket)


def json_object() -> None:
    answer = client.chat.completions.create(
        model=GUIDED,
        messages=[{"role": "user", "content": "Answer in JSON, with the member `n`: what is 1 + 1?"}],
        max_completion_tokens=400,
        temperature=0,
        response_format={"type": "json_object"},
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    else:
        assert (answer.choices[0].message.content or "").lstrip().startswith("{")


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
            "required": ["city"],
        },
    },
}


def tools() -> None:
    """A call that is required comes as one, with arguments that fit; its result goes back in."""
    asked: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(
        model=GUIDED, messages=asked, tools=[WEATHER], tool_choice="required", max_completion_tokens=64
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    message = answer.choices[0].message
    assert message.tool_calls is not None
    call: Any = message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Oslo")
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear"}'}
    told = client.chat.completions.create(
        model=GUIDED,
        messages=[*asked, message.to_dict(), result],
        tools=[WEATHER],
        tool_choice="none",
        max_completion_tokens=16,
    )
    assert told.choices[0].message.content


def streamed_tools() -> None:
    """The pieces of a call, put together, are a call."""
    name, arguments, finish = "", "", None
    for chunk in client.chat.completions.create(
        model=GUIDED,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        max_completion_tokens=64,
        stream=True,
    ):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                assert call.index == 0
                assert call.function is not None
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "weather"
    assert json.loads(arguments)["city"] in ("Paris", "Oslo")
    # OpenAI's own answer to a function that is named ends with "stop"; others end with "tool_calls"
    assert finish in ("stop", "tool_calls")


def refusals_are_its_own_errors() -> None:
    """Wrong key, wrong model, wrong body: the classes that users of this client catch."""
    stranger = client.with_options(api_key="bce-v3/ALTAK-nobody/0123456789abcdef")
    _raises(openai.AuthenticationError, stranger, model=MODEL, messages=ASKED)
    _raises((openai.NotFoundError, openai.BadRequestError), client, model="no-such-model", messages=ASKED)
    _raises(openai.BadRequestError, client, model=MODEL, messages=[])
    _raises(openai.BadRequestError, client, model=MODEL, messages=ASKED, temperature=9)


def _raises(kind: Any, asked: openai.OpenAI, **body: Any) -> None:
    refused: Any = None
    try:
        asked.chat.completions.create(**body)
    except kind as error:
        refused = error
    assert refused is not None, f"no error for {body}"
    assert refused.body, "the error says nothing"
    assert refused.message


def _product(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    play(globals())
