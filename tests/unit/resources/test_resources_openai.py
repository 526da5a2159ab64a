"""The client shaped like OpenAI's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from answering import documented
from loopback import Answer, Loopback

from qianfan import Messages, Qianfan
from qianfan.errors import InvalidArgumentError, RequestError

ASK = [{"role": "user", "content": "你好"}]


@pytest.fixture
def client(server: Loopback, settings: Any) -> Qianfan:
    """A client with a key of its own, and a server that answers as documented."""
    server.always = documented
    return Qianfan(api_key="bce-v3/key", app_id="app-1")


def test_an_answer_is_read_by_attribute_and_by_key(client: Qianfan, server: Loopback) -> None:
    """Both ways name the same; what is missing is None, what does not exist an AttributeError."""
    answer = client.chat.completions.create(model="ernie-4.0-turbo-8k", messages=ASK, temperature=0.5)
    assert answer.choices[0].message.content == "你好, world"
    assert answer["choices"][0]["message"]["content"] == "你好, world"
    assert (answer.usage.total_tokens, answer["usage"]["total_tokens"]) == (3, 3)
    assert (answer.model, answer.choices[0].finish_reason) == ("ernie-4.0-turbo-8k", "stop")
    assert answer.choices[0].message.tool_calls is None
    assert not hasattr(answer, "nothing")
    assert json.loads(json.dumps(answer)) == answer.to_dict() == answer.model_dump()
    assert "choices" in dir(answer)
    (seen,) = server.seen
    assert (seen.path, seen.query) == ("/v2/chat/completions", {})
    assert (seen.headers["authorization"], seen.headers["appid"]) == ("Bearer bce-v3/key", "app-1")
    assert {"model": "ernie-4.0-turbo-8k", "messages": ASK, "temperature": 0.5}.items() <= seen.json.items()


def test_pieces_come_with_their_increments(client: Qianfan, server: Loopback) -> None:
    """Sync and async alike."""

    async def ask() -> list[Any]:
        async with await client.chat.completions.acreate(messages=ASK, stream=True) as stream:
            return [chunk async for chunk in stream]

    with client.chat.completions.create(messages=ASK, stream=True) as stream:
        got = list(stream)
    assert got == asyncio.run(ask())
    assert "".join(chunk.choices[0].delta.content for chunk in got) == "你好, world"
    assert [chunk.choices[0].finish_reason for chunk in got] == [None, None, "stop"]
    assert {seen.json["model"] for seen in server.seen} == {"ernie-lite-8k"}


def test_every_part_of_the_client_answers_alike_for_asyncio(client: Qianfan, server: Loopback) -> None:
    """Chats, vectors, rankings, names."""

    async def ask() -> list[Any]:
        return [
            await client.chat.completions.acreate(messages=ASK),
            await client.embeddings.acreate(input="a"),
            await client.rerankers.acreate(query="q", documents=["a", "b"], top_n=1),
            await client.models.alist(),
            await client.images.agenerate(prompt="cat", n=1),
        ]

    got = [
        client.chat.completions.create(messages=ASK),
        client.embeddings.create(input=["a"]),
        client.rerankers.create(query="q", documents=["a", "b"], top_n=1),
        client.models.list(),
        client.images.generate(prompt="cat", n=1),
    ]
    assert got == asyncio.run(ask())
    _, vectors, ranking, names, images = got
    assert vectors.data[0].embedding == [0.5]
    assert (ranking.results[0].document, len(ranking.results)) == ("a", 1)
    assert [model.id for model in names.data] == ["ernie-lite-8k"]
    assert images.data[0].b64_json == "UE5H"
    assert server.seen[3].method == "GET"
    assert server.seen[4].json == {"n": 1, "model": "Stable-Diffusion-XL", "prompt": "cat"}
    assert [seen.json for seen in server.seen[1:3]] == [
        {"model": "embedding-v1", "input": ["a"]},
        {"model": "bce-reranker-base_v1", "query": "q", "documents": ["a", "b"], "top_n": 1},
    ]


def test_tool_calls_are_shapes_too(client: Qianfan, server: Loopback) -> None:
    """Nested members are read by attribute as well."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    server.answers.append(Answer({"choices": [choice], "search_results": [{"url": "u"}]}))
    answer = client.chat.completions.create(messages=ASK)
    assert answer.choices[0].message.tool_calls[0].function.name == "f"
    assert answer.choices[0].message.content is None
    assert answer.search_results[0].url == "u"
    assert answer.usage is None


def test_keywords_of_openai_steer_the_call(client: Qianfan, server: Loopback) -> None:
    """timeout, extra_headers, extra_query and extra_body go where theirs go; Messages work, too."""
    messages = Messages()
    messages.append("你好")
    client.chat.completions.create(
        messages=messages,
        timeout=5,
        extra_headers={"X-A": "1"},
        extra_query={"q": "2"},
        extra_body={"seed": 3},
    )
    (seen,) = server.seen
    assert (seen.headers["x-a"], seen.query, seen.json["seed"]) == ("1", {"q": "2"}, 3)
    assert set(seen.json) == {"model", "messages", "stream", "seed", "extra_parameters"}
    with pytest.raises(InvalidArgumentError, match="extra_body"):
        client.chat.completions.create(messages=ASK, extra_body=[1])


def test_iam_keys_fetch_one_bearer_token_for_all_parts(server: Loopback, settings: Any) -> None:
    """And they win over a token of the settings, being given to the constructor."""
    settings.BEARER_TOKEN = "bce-v3/of-the-settings"
    server.answers.append(Answer({"token": "bce-v3/fresh", "expireTime": "2999-01-01T00:00:00.000Z"}))
    client = Qianfan(access_key=f"access-{server.port}", secret_key="secret")
    server.always = documented
    client.chat.completions.create(messages=ASK)
    client.embeddings.create(input="a")
    issue, *others = server.seen
    assert issue.path == "/v1/BCE-BEARER/token"
    assert {seen.headers["authorization"] for seen in others} == {"Bearer bce-v3/fresh"}


def test_no_credentials_are_noticed_at_once(settings: Any) -> None:
    """The text names the settings."""
    settings.ACCESS_KEY = None
    with pytest.raises(InvalidArgumentError, match="QIANFAN_BEARER_TOKEN"):
        Qianfan()


def test_an_error_of_v2_has_its_code(client: Qianfan, server: Loopback) -> None:
    """HTTP 4xx and the error object become an exception with code and text."""
    body = {"error": {"code": "invalid_model", "message": "no such model", "type": "x"}, "id": "as-9"}
    server.answers.append(Answer(body, status=404))
    with pytest.raises(RequestError) as caught:
        client.chat.completions.create(messages=ASK, model="none")
    assert (caught.value.error_code, caught.value.status_code, caught.value.req_id) == (
        "invalid_model",
        404,
        "as-9",
    )
