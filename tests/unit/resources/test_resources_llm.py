"""Asking models: paths, bodies, choice of model, credentials."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

import qianfan
from qianfan import ChatCompletion, Completion, Embedding, Messages, Plugin, Text2Image, Tokenizer
from qianfan.errors import ArgumentNotFoundError, InvalidArgumentError
from qianfan.transport.call import Request
from qianfan.transport.response import QfResponse, SentRequest

PREFIX = "/rpc/2.0/ai_custom/v1/wenxinworkshop"
ASK = [{"role": "user", "content": "你好"}]


def without_marks(body: dict[str, Any]) -> dict[str, Any]:
    assert body.pop("extra_parameters")["request_source"].startswith("qianfan_py_sdk_v")
    return body


@pytest.mark.parametrize(
    ("make", "path", "body"),
    [
        (lambda: ChatCompletion().do(ASK), "/chat/eb-instant", {"messages": ASK, "stream": False}),
        (lambda: ChatCompletion().do(model="ERNIE-Bot", messages=ASK, top_p=0.8, stop=None), "/chat/completions",
         {"top_p": 0.8, "messages": ASK, "stream": False}),
        (lambda: ChatCompletion(model="ERNIE-Bot").do(ASK, endpoint="my_ep"), "/chat/my_ep", {"messages": ASK, "stream": False}),
        (lambda: ChatCompletion(endpoint="mine").do(ASK), "/chat/mine", {"messages": ASK, "stream": False}),
        (lambda: ChatCompletion(endpoint="mine").do(ASK, model="ERNIE-Bot-4"), "/chat/completions_pro", {"messages": ASK, "stream": False}),
        (lambda: ChatCompletion().do(ASK, model="ERNIE-Bot", endpoint="both"), "/chat/both", {"messages": ASK, "stream": False}),
        (lambda: Completion().do("你好"), "/chat/eb-instant", {"messages": ASK, "stream": False}),
        (lambda: Completion().do("x", model="SQLCoder-7B"), "/completions/sqlcoder_7b", {"prompt": "x", "stream": False}),
        (lambda: Completion().do("x", endpoint="my"), "/completions/my", {"prompt": "x", "stream": False}),
        (lambda: Completion().do("你好", endpoint="my", model="ERNIE-Bot"), "/chat/my", {"messages": ASK, "stream": False}),
        (lambda: Embedding().do(["a", "b"]), "/embeddings/embedding-v1", {"input": ["a", "b"], "stream": False}),
        (lambda: Embedding().do(texts=["a"], model="bge-large-zh"), "/embeddings/bge_large_zh", {"input": ["a"], "stream": False}),
        (lambda: Plugin().do(endpoint="my", prompt="q"), "/plugin/my/", {"stream": False, "query": "q"}),
        (lambda: Plugin().do("q", ["uuid-zhishiku"], endpoint="my"), "/plugin/my/", {"plugins": ["uuid-zhishiku"], "stream": False, "query": "q"}),
        (lambda: Plugin().do("你好", plugins=["eChart"]), "/erniebot/plugins", {"messages": ASK, "plugins": ["eChart"], "stream": False}),
    ],
)  # fmt: skip
def test_a_call_goes_where_the_documents_say(
    make: Any, path: str, body: dict, server: Loopback, settings: Any
) -> None:
    """Model and endpoint choose the path; own keywords and the text make the body."""
    assert make()["result"] == "ok"
    (seen,) = server.seen
    assert seen.path == PREFIX + path
    assert without_marks(seen.json) == body
    assert seen.query == {"access_token": "token-1"} or "access_token" in seen.query


def test_images_take_no_marks_and_are_decoded_when_asked(server: Loopback, settings: Any) -> None:
    """`stream` and `extra_parameters` are not sent; the bytes stand beside their base64 text."""
    server.always = Answer({"data": [{"b64_image": base64.b64encode(b"PNG").decode(), "index": 1}]})
    image = Text2Image().do("cat", with_decode="base64", n=1)["data"][0]
    assert (image["image"], image["b64_image"]) == (b"PNG", "UE5H")
    assert server.seen[0].json == {"n": 1, "prompt": "cat"}


def test_headers_query_and_request_id_go_where_they_belong(server: Loopback, settings: Any) -> None:
    """None of the three is in the body; a request id is made when none is given."""
    ChatCompletion().do(ASK, headers={"X-Mine": "1"}, query={"备注": "a b"}, request_id="id-1")
    ChatCompletion().do(ASK)
    first, second = server.seen
    assert (first.headers["x-mine"], first.query["备注"], first.headers["request_id"]) == ("1", "a b", "id-1")
    assert set(first.json) == {"messages", "stream", "extra_parameters"}
    assert second.headers["request_id"].startswith(f"sdk-py-{qianfan.VERSION}-")


def test_keys_of_the_object_are_in_no_body(server: Loopback, settings: Any) -> None:
    """A key given to a call by mistake is not sent on."""
    ChatCompletion(ak="a1", sk="s1").do(ASK, ak="a2", sk="s2", access_token="t2", retry_count=1)
    assert set(server.seen[0].json) == {"messages", "stream", "extra_parameters"}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_conversation_grows_turn_by_turn(server: Loopback, settings: Any, is_async: bool) -> None:
    """The documented loop: append a text, ask, append the answer."""
    chat, messages = ChatCompletion(), Messages()
    for text in ("one", "two"):
        messages.append(text)
        messages.append(asyncio.run(chat.ado(messages)) if is_async else chat.do(messages=messages))
    assert [turn["role"] for turn in server.seen[1].json["messages"]] == ["user", "assistant", "user"]
    assert messages[3] == {"role": "assistant", "content": "ok"}


def answer(body: dict[str, Any]) -> QfResponse:
    return QfResponse(200, {"a": "b"}, body)


def test_a_function_call_is_followed_by_its_result() -> None:
    """The call is kept, and the next text is the function's, by name."""
    messages = Messages()
    messages.append("weather?")
    messages.append(answer({"result": "", "function_call": {"name": "weather", "arguments": "{}"}}))
    messages.append('{"t": 20}')
    messages.append("as user", role=qianfan.Role.User)
    assert messages.to_list()[1:3] == [
        {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "content": '{"t": 20}', "name": "weather"},
    ]
    assert messages[3]["role"] == "user"


@pytest.mark.parametrize("wrong", [7, None, iter(()), answer({"data": []})])
def test_other_things_cannot_be_appended(wrong: Any) -> None:
    """A stream, a number, an answer without text."""
    with pytest.raises(InvalidArgumentError):
        Messages().append(wrong)


def test_a_role_that_does_not_exist_is_refused() -> None:
    """V1 knows three roles."""
    with pytest.raises(InvalidArgumentError, match="system"):
        Messages().append("x", role="system")


def test_an_answer_is_read_by_attribute_first_then_by_body() -> None:
    """`resp["body"]["result"]` and `resp["result"]` are the same; iteration sees the body alone."""
    resp = answer({"result": "x", "code": "hidden"})
    assert resp["body"]["result"] == resp["result"] == resp.body["result"] == "x"
    assert (resp["code"], resp.code, resp["headers"]) == (200, 200, {"a": "b"})
    assert (list(resp), len(resp), dict(resp.items())["code"]) == (["result", "code"], 2, "hidden")
    assert "statistic" in resp
    assert (resp.get("none", 1), resp.get("result")) == (1, "x")
    with pytest.raises(KeyError):
        resp["none"]


def test_an_answer_shows_no_secret() -> None:
    """Tokens, signatures and cookies are in neither text."""
    request = Request(
        "POST",
        "http://h",
        "/x",
        (("access_token", "TOK"), ("a", "1")),
        {"Authorization": "bce-auth-v1/A/B"},
        b"{}",
        1,
    )
    resp = QfResponse(200, {"set-cookie": "COOK"}, {}, SentRequest(request))
    shown = f"{resp!r} {resp.request.url} {resp.request.query} {resp.request.headers} {request!r}"
    for secret in ("TOK", "bce-auth-v1/A", "COOK"):
        assert secret not in shown
    assert resp.request.query["a"] == "1"


def test_no_credentials_are_noticed_at_construction(settings: Any) -> None:
    """The text names the settings; half a pair is no pair."""
    for name in ("AK", "SECRET_KEY"):
        setattr(settings, name, None)
    for kind in (ChatCompletion, Completion, Embedding, Plugin, Text2Image):
        with pytest.raises(InvalidArgumentError, match="QIANFAN_AK and QIANFAN_SK"):
            kind()
    ChatCompletion(access_token="t")
    ChatCompletion(access_key="a", secret_key="b")


def test_an_api_key_pair_beats_an_iam_pair(server: Loopback, settings: Any) -> None:
    """OAuth when AK and SK are there, even beside an IAM pair; else a signature and no token."""
    ChatCompletion(access_key="a", secret_key="b").do(ASK)
    settings.AK = settings.SK = None
    ChatCompletion(access_key="a", secret_key="b").do(ASK)
    by_token, by_iam = server.seen
    assert "authorization" not in by_token.headers
    assert by_iam.query == {}
    assert by_iam.headers["authorization"].startswith("bce-auth-v1/a/")


def test_a_given_token_is_used_first_and_replaced_when_refused(server: Loopback, settings: Any) -> None:
    """With keys beside it, a refused token is no error."""
    chat = ChatCompletion(access_token=f"given-{server.port}")
    chat.do(ASK)
    assert server.tokens == []
    server.answers.append(Answer({"error_code": 111, "error_msg": "expired"}))
    chat.do(ASK)
    chat.do(ASK)
    used = [seen.query["access_token"] for seen in server.seen]
    assert used == [f"given-{server.port}"] * 2 + ["token-1"] * 2
    assert chat.access_token() == "token-1"


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: ChatCompletion().do(ASK, model="ERNIE-Bot-9"), InvalidArgumentError, "ERNIE-Bot-9.*endpoint=.*ERNIE-Bot-turbo"),
        (lambda: ChatCompletion().do("hi"), InvalidArgumentError, "list of turns"),
        (lambda: ChatCompletion().do(ASK, retry_count=0), InvalidArgumentError, "retry_count"),
        (lambda: ChatCompletion().do(ASK, request_timeout=0), InvalidArgumentError, "request_timeout"),
        (lambda: ChatCompletion().do(ASK, stop={1, 2}), InvalidArgumentError, "JSON"),
        (lambda: Embedding().do(["a"], stream=True), InvalidArgumentError, "stream"),
        (lambda: Embedding().do("a"), InvalidArgumentError, "list of texts"),
        (lambda: Plugin().do("q"), ArgumentNotFoundError, "plugins"),
        (lambda: Plugin().do(endpoint="e"), ArgumentNotFoundError, "query"),
        (lambda: Text2Image().do("x", with_decode="png"), InvalidArgumentError, "base64"),
        (lambda: Tokenizer.count_tokens("x", mode="far"), InvalidArgumentError, "local or remote"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_not_sent(
    call: Any, kind: type, says: str, server: Loopback, settings: Any
) -> None:
    """Nothing reaches the server, and the error says what would be right."""
    with pytest.raises(kind, match=f"(?s){says}"):
        call()
    assert server.seen == []


def test_a_completion_by_a_chat_model_is_called_a_completion(server: Loopback, settings: Any) -> None:
    """The answer's `object` follows what was asked, also piece by piece."""
    piece = {"object": "chat.completion", "result": "x", "is_end": True}
    server.answers += [Answer(piece), stream(piece)]
    assert Completion().do("x")["object"] == "completion"
    assert [part["object"] for part in Completion().do("x", stream=True)] == ["completion"]


def test_calls_are_spaced_by_query_per_second(server: Loopback, settings: Any) -> None:
    """Ten a second: three calls leave at 0, 0.1 and 0.2 s."""
    chat = ChatCompletion(query_per_second=10)
    for _ in range(3):
        chat.do(ASK)
    first, _, last = (seen.at for seen in server.seen)
    assert 0.18 < last - first < 0.4


def test_retries_follow_the_settings_and_the_argument_wins(server: Loopback, settings: Any) -> None:
    """QIANFAN_LLM_API_RETRY_COUNT counts where no argument is given, and retry_count=1 overrides it."""
    settings.LLM_API_RETRY_COUNT, settings.LLM_API_RETRY_BACKOFF_FACTOR, settings.LLM_API_RETRY_JITTER = (
        3,
        0,
        0,
    )
    busy = Answer({"error_code": 336100, "error_msg": "busy"})
    server.answers += [busy, busy]
    assert ChatCompletion().do(ASK)["result"] == "ok"
    server.answers.append(busy)
    with pytest.raises(qianfan.errors.APIError):
        ChatCompletion().do(ASK, retry_count=1)


def test_models_are_known_by_name() -> None:
    """The names of the documents are there, each class with its own."""
    assert {
        "ERNIE-Bot-turbo",
        "ERNIE-Bot",
        "ERNIE-Bot-4",
        "BLOOMZ-7B",
        "AquilaChat-7B",
    } <= ChatCompletion.models()
    assert Completion.models() == ChatCompletion.models() | {"SQLCoder-7B", "CodeLlama-7b-Instruct"}
    assert Embedding.models() == {"Embedding-V1", "bge-large-en", "bge-large-zh", "tao-8k"}
    assert ChatCompletion.get_model_info("ERNIE-Bot").tokens == 5120


def test_tokens_are_counted_here_or_there(server: Loopback, settings: Any) -> None:
    """Locally Chinese characters and 1.3 a word, at once; remotely what the platform says."""
    assert Tokenizer.count_tokens("你好, hello big world!") == 2 + 3
    assert Tokenizer.count_tokens("") == 0
    server.always = Answer({"usage": {"total_tokens": 9}})
    assert Tokenizer.count_tokens("你好", mode="remote") == 9
    assert (server.seen[0].path, server.seen[0].json) == (
        f"{PREFIX}/tokenizer/erniebot",
        {"prompt": "你好", "model": "ERNIE-Bot"},
    )


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_cut_answer_is_asked_on(server: Loopback, settings: Any, is_async: bool, is_stream: bool) -> None:
    """Only while it is cut; the history grows, the caller's list does not, and the texts are joined."""

    def part(text: str, is_truncated: bool) -> Answer:
        body = {"result": text, "is_truncated": is_truncated, "is_end": True}
        return stream(body) if is_stream else Answer(body)

    server.answers += [part("one ", True), part("two ", True), part("three", False)]
    asked = list(ASK)
    options = {"auto_concat_truncate": True, "truncated_continue_prompt": "go on", "stream": is_stream}

    async def ask() -> list[QfResponse]:
        answer: Any = await ChatCompletion().ado(asked, **options)
        return [piece async for piece in answer] if is_stream else [answer]

    if is_async:
        got = asyncio.run(ask())
    else:
        answer: Any = ChatCompletion().do(asked, **options)
        got = list(answer) if is_stream else [answer]
    assert "".join(piece["result"] for piece in got) == "one two three"
    assert [piece["is_end"] for piece in got] == [False] * (len(got) - 1) + [True]
    assert asked == ASK
    assert [turn["content"] for turn in server.seen[2].json["messages"]] == [
        "你好", "one ", "go on", "two ", "go on",
    ]  # fmt: skip
    assert "auto_concat_truncate" not in server.seen[0].json


def test_version_2_speaks_the_openai_shape(server: Loopback, settings: Any) -> None:
    """A bearer token is fetched with the IAM keys and sent in the header; `[DONE]` ends the stream."""
    server.answers.append(Answer({"token": "bce-v3/one", "expireTime": "2999-01-01T00:00:00.000Z"}))
    server.answers.append(Answer({"choices": [{"message": {"content": "hi"}}]}))
    chat = ChatCompletion(version="2", model="ernie-speed-8k")
    assert chat.do(ASK)["choices"][0]["message"]["content"] == "hi"
    server.answers.append(stream({"choices": [{"delta": {"content": "hi"}}]}, "[DONE]"))
    assert len(list(chat.do(ASK, stream=True))) == 1
    issue, whole, streamed = server.seen
    assert (issue.method, issue.path, issue.query) == (
        "GET",
        "/v1/BCE-BEARER/token",
        {"expireInSeconds": "43200"},
    )
    assert issue.headers["authorization"].startswith("bce-auth-v1/access-key-1/")
    assert (whole.path, whole.json["model"]) == ("/v2/chat/completions", "ernie-speed-8k")
    assert whole.headers["authorization"] == streamed.headers["authorization"] == "Bearer bce-v3/one"
    assert whole.query == {}


def test_a_given_bearer_token_is_used_as_it_is(server: Loopback, settings: Any) -> None:
    """With or without the word Bearer."""
    settings.ACCESS_KEY = settings.AK = None
    for token in ("bce-v3/x", "Bearer bce-v3/x"):
        ChatCompletion(version="2", bearer_token=token).do(ASK)
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer bce-v3/x"}
