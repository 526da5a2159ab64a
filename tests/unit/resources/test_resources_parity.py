"""Every class, asked in four ways: the same request on the wire, and the same answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from answering import PREFIX, documented, ordered
from loopback import Loopback

import qianfan

MARKS = ("extra_parameters", {"request_source": f"qianfan_py_sdk_v{qianfan.VERSION}"})
ASK = [{"role": "user", "content": "你好"}]
WHOLE = ("stream", False)

# what: class, how it is made, arguments of do, path, members of the body in their order (without a stream)
WORKED = {
    "chat": ("ChatCompletion", {}, {"messages": ASK}, "/chat/eb-instant", [("messages", ASK), WHOLE, MARKS]),
    "chat of a model": (
        "ChatCompletion", {}, {"messages": ASK, "model": "ERNIE-Bot", "temperature": 0.5, "top_p": 0.8},
        "/chat/completions", [("temperature", 0.5), ("top_p", 0.8), ("messages", ASK), WHOLE, MARKS],
    ),
    "chat of an endpoint": (
        "ChatCompletion", {"model": "ERNIE-Bot"}, {"messages": ASK, "endpoint": "my ep"},
        "/chat/my%20ep", [("messages", ASK), WHOLE, MARKS],
    ),
    "chat, name in another case": (
        "ChatCompletion", {"model": "ernie-speed-8K"}, {"messages": ASK}, "/chat/ernie_speed", [("messages", ASK), WHOLE, MARKS],
    ),
    "chat, own marks": (
        "ChatCompletion", {}, {"messages": ASK, "model": "ChatLaw", "extra_parameters": {"use_keyword": True}}, "/chat/chatlaw",
        [("messages", ASK), WHOLE, ("extra_parameters", {**MARKS[1], "use_keyword": True})],
    ),
    "completion of an endpoint": (
        "Completion", {}, {"prompt": "你好", "endpoint": "my_ep"}, "/completions/my_ep", [("prompt", "你好"), WHOLE, MARKS],
    ),
    "completion of a chat model": (
        "Completion", {}, {"prompt": "你好"}, "/chat/eb-instant", [("messages", ASK), WHOLE, MARKS],
    ),
    "completion of its own model": (
        "Completion", {}, {"prompt": "x", "model": "SQLCoder-7B"}, "/completions/sqlcoder_7b", [("prompt", "x"), WHOLE, MARKS],
    ),
    "completion, endpoint of a chat model": (
        "Completion", {}, {"prompt": "你好", "model": "ERNIE-Bot", "endpoint": "e"}, "/chat/e", [("messages", ASK), WHOLE, MARKS],
    ),
    "embedding": (
        "Embedding", {}, {"texts": ["世界", "b"]}, "/embeddings/embedding-v1", [("input", ["世界", "b"]), WHOLE, MARKS],
    ),
    "plugin of an endpoint": (
        "Plugin", {}, {"query": "你好", "plugins": ["uuid-zhishiku"], "endpoint": "my_ep"}, "/plugin/my_ep/",
        [("plugins", ["uuid-zhishiku"]), WHOLE, MARKS, ("query", "你好")],
    ),
    "plugin by the older name": (
        "Plugin", {}, {"prompt": "你好", "endpoint": "my_ep"}, "/plugin/my_ep/", [WHOLE, MARKS, ("query", "你好")],
    ),
    "plugin of a model": (
        "Plugin", {}, {"query": "你好", "plugins": ["eChart"]}, "/erniebot/plugins",
        [("messages", ASK), ("plugins", ["eChart"]), WHOLE, MARKS],
    ),
    "image of a text": ("Text2Image", {}, {"prompt": "cat", "with_decode": "base64"}, "/text2image/sd_xl", [("prompt", "cat")]),
    "text of an image": (
        "Image2Text", {}, {"prompt": "what", "image": "QUJD", "endpoint": "my_ep"}, "/image2text/my_ep",
        [("prompt", "what"), ("image", "QUJD")],
    ),
    "text of an image, by model": (
        "Image2Text", {"model": "Fuyu-8B"}, {"prompt": "what", "image": "QUJD"}, "/image2text/fuyu_8b",
        [("prompt", "what"), ("image", "QUJD")],
    ),
    "ranking": (
        "Reranker", {}, {"query": "q", "documents": ["a", "b"], "top_n": 1}, "/reranker/bce_reranker_base",
        [("query", "q"), ("documents", ["a", "b"]), ("top_n", 1), WHOLE, MARKS],
    ),
    "function, without one": (
        "Function", {}, {"messages": ASK}, "/chat/ernie-func-8k", [("messages", ASK), WHOLE, MARKS],
    ),
}  # fmt: skip
V2 = {
    "chat": (
        "ChatCompletion", {}, {"messages": ASK, "temperature": 0.5}, "/v2/chat/completions",
        [("temperature", 0.5), ("model", "ernie-lite-8k"), ("messages", ASK), WHOLE, MARKS],
    ),
    "chat of an endpoint": (
        "ChatCompletion", {}, {"messages": ASK, "model": "x", "endpoint": "mine"}, "/v2/chat/completions",
        [("model", "mine"), ("messages", ASK), WHOLE, MARKS],
    ),
    "embedding": ("Embedding", {}, {"texts": ["a"]}, "/v2/embeddings", [("model", "embedding-v1"), ("input", ["a"])]),
    "ranking": (
        "Reranker", {"model": "other"}, {"query": "q", "documents": ["a", "b"]}, "/v2/rerankers",
        [("model", "other"), ("query", "q"), ("documents", ["a", "b"])],
    ),
}  # fmt: skip
STREAMS = {"ChatCompletion", "Completion", "Plugin", "Image2Text", "Function"}


def made(name: str, **members: Any) -> Any:
    return getattr(qianfan, name)(**members)


def asked_in_all_ways(client: Any, arguments: dict[str, Any], streams: bool) -> dict[str, list[Any]]:
    """The bodies of the answers of do, ado, and the two streams."""

    async def ado() -> list[Any]:
        return [(await client.ado(**arguments)).body]

    async def astream() -> list[Any]:
        return [piece.body async for piece in await client.ado(**arguments, stream=True)]

    got = {"do": [client.do(**arguments).body], "ado": asyncio.run(ado())}
    if streams:
        got["stream"] = [piece.body for piece in client.do(**arguments, stream=True)]
        got["astream"] = asyncio.run(astream())
    return got


@pytest.mark.parametrize("what", WORKED)
def test_the_four_ways_send_what_is_documented_and_answer_alike(
    what: str, server: Loopback, settings: Any
) -> None:
    """Sync and async, whole and as a stream: path, members and their order, and equal results."""
    name, members, arguments, path, body = WORKED[what]
    server.always = documented
    got = asked_in_all_ways(made(name, **members), arguments, name in STREAMS)
    assert got["do"] == got["ado"]
    assert got.get("stream") == got.get("astream")
    streamed = [("stream", True) if member == WHOLE else member for member in body]
    if name == "Image2Text":
        streamed = [*body, ("stream", True)]
    assert [ordered(seen) for seen in server.seen] == [body, body, streamed, streamed][: len(server.seen)]
    assert {seen.path for seen in server.seen} == {PREFIX + path}
    assert all(set(seen.query) == {"access_token"} for seen in server.seen)
    if name in STREAMS:
        assert "".join(piece["result"] for piece in got["stream"]) == got["do"][0]["result"]


@pytest.mark.parametrize("what", V2)
def test_version_2_answers_alike_in_all_ways(what: str, server: Loopback, settings: Any) -> None:
    """A bearer token and the app's id in the headers, the model in the body, nothing in the query."""
    name, members, arguments, path, body = V2[what]
    server.always = documented
    client = made(name, version="2", bearer_token="bce-v3/x", app_id="app-7", **members)
    got = asked_in_all_ways(client, arguments, name in STREAMS)
    assert got["do"] == got["ado"]
    assert got.get("stream") == got.get("astream")
    streamed = [("stream", True) if member == WHOLE else member for member in body]
    assert [ordered(seen) for seen in server.seen] == [body, body, streamed, streamed][: len(server.seen)]
    for seen in server.seen:
        assert (seen.path, seen.query) == (path, {})
        assert (seen.headers["authorization"], seen.headers["appid"]) == ("Bearer bce-v3/x", "app-7")


def test_a_setting_changes_the_next_call_of_the_same_object(server: Loopback, settings: Any) -> None:
    """Address, prefix and routes are those of the settings at the time of the call."""
    server.always = documented
    chat = qianfan.ChatCompletion(access_token="t")
    second = qianfan.ChatCompletion(version="2", bearer_token="b")
    chat.do(ASK)
    settings.BASE_URL = f"{server.url}/behind"
    settings.MODEL_API_PREFIX = "/models/"
    settings.CHAT_V2_API_ROUTE = "/v2/other"
    settings.APP_ID = "app-8"
    chat.do(ASK)
    second.do(ASK)
    paths = [seen.path for seen in server.seen]
    assert paths == [f"{PREFIX}/chat/eb-instant", "/behind/models/chat/eb-instant", "/v2/other"]
    assert server.seen[2].headers["appid"] == "app-8"


def test_an_endpoint_may_be_a_path_of_its_own(server: Loopback, settings: Any) -> None:
    """use_custom_endpoint, of the object or of the settings: nothing is put before it but the prefix."""
    qianfan.ChatCompletion(use_custom_endpoint=True).do(ASK, endpoint="/models/a/chat")
    settings.USE_CUSTOM_ENDPOINT = True
    qianfan.Completion(endpoint="b/c").do("x")
    qianfan.ChatCompletion(use_custom_endpoint=False, endpoint="d").do(ASK)
    qianfan.Completion().do("x")  # a preset is no endpoint
    assert [seen.path.removeprefix(PREFIX) for seen in server.seen] == [
        "/models/a/chat", "/b/c", "/chat/d", "/chat/eb-instant",
    ]  # fmt: skip


def test_a_token_count_is_asked_for_in_both_ways(server: Loopback, settings: Any) -> None:
    """Remotely one request of two members, and no id; locally none."""
    server.always = documented
    counter = qianfan.Tokenizer

    async def count() -> list[int]:
        return [await counter.acount_tokens("你好", "remote"), await counter.acount_tokens("你好, x")]

    assert counter.count_tokens("你好", mode="remote", request_timeout=5) == 9
    assert asyncio.run(count()) == [9, 3]
    assert [ordered(seen) for seen in server.seen] == [[("prompt", "你好"), ("model", "ERNIE-Bot")]] * 2
    assert server.seen[0].path == f"{PREFIX}/tokenizer/erniebot"
    assert "request_id" not in server.seen[0].headers
