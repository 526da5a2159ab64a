"""The upstream engine against a loopback server that speaks as many servers do, well and badly."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Tool,
)
from qianfan_platform.engines.upstream.engine import UpstreamEngine

KEY = "sk-a-secret-key"
ASK = [{"role": "user", "content": "hi"}]
WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})

Use = Callable[[UpstreamEngine], Coroutine[Any, Any, Any]]


@dataclass
class Theirs:
    """A server that gives one answer to everything, and remembers what it was asked."""

    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    more: str = ""
    paths: dict[str, bytes] = field(default_factory=dict)  # answers of their own
    asked: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(x.split(": ")[1]) for x in head.splitlines() if x.startswith("content-length")), 0)
        sent = json.loads(await reader.readexactly(length)) if length else {}
        path = head.split()[1]
        self.asked.append((path, sent, head))
        body = self.paths.get(path, self.body)
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nContent-Type: {self.kind}\r\n{self.more}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()

    def use(self, use: Use, *kinds: str, tls: ssl.SSLContext | None = None, **options: Any) -> Any:
        """What `use` gives with an engine that asks this server."""

        async def body() -> Any:
            server = await asyncio.start_server(self.handle, "127.0.0.1", 0, ssl=tls)
            scheme = "https" if tls else "http"
            url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            every = {"url": url, "model": "m", "key_env": "THEIR_KEY", "kinds": kinds or ("chat",)}
            spec = EngineSpec("upstream", parallel=4, options={**every, **options})
            async with server, asyncio.timeout(10):
                engine = UpstreamEngine(spec)
                try:
                    return await use(engine)
                finally:
                    await engine.close()

        return asyncio.run(body())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", KEY)


def stream(*events: Any) -> Theirs:
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return Theirs(body="".join(f"data: {line}\n\n" for line in lines).encode(), kind="text/event-stream")


def delta(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": more, "finish_reason": None}]}


def end(reason: str, **usage: int) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "delta": {}, "finish_reason": reason}],
        **({"usage": usage} if usage else {}),
    }


def answer(sampling: Sampling | None = None, messages: Any = ASK) -> Use:
    async def use(engine: UpstreamEngine) -> list[Delta]:
        return [piece async for piece in engine.generate(messages, sampling or Sampling())]

    return use


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it() -> None:
    """One refusal is enough; from then on it is asked in its own words."""
    refusal = {"error": {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead."}}

    class Newer(Theirs):
        async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            older = self.status == 400
            await super().handle(reader, writer)
            if older:
                fine = stream(delta(content="ok"), end("stop"), "[DONE]")
                self.status, self.body, self.kind = 200, fine.body, fine.kind

    theirs = Newer(400, json.dumps(refusal).encode())

    async def twice(engine: UpstreamEngine) -> list[str]:
        found = [await answer(Sampling(max_tokens=5))(engine) for _ in range(2)]
        return ["".join(piece.text for piece in pieces) for pieces in found]

    assert theirs.use(twice) == ["ok", "ok"]
    limits = [{key: value for key, value in sent.items() if "max_" in key} for _, sent, _ in theirs.asked]
    assert limits == [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}]


def test_calls_come_together_from_their_pieces() -> None:
    """Two calls, their arguments bit by bit; thoughts apart from the answer."""
    theirs = stream(
        delta(role="assistant", content=None, reasoning_content="hm"),
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "weather", "arguments": '{"ci'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": 'ty": "Rome"}'}}]),
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "weather", "arguments": ""}}]),
        end("tool_calls", prompt_tokens=9, completion_tokens=5),
        "[DONE]",
    )
    found = theirs.use(answer(Sampling(tools=(WEATHER,), tool_choice="weather")))
    assert [piece.reasoning for piece in found if piece.reasoning] == ["hm"]
    last = found[-1]
    assert (last.finish_reason, last.prompt_tokens, last.completion_tokens) == ("tool_calls", 9, 5)
    assert [(call.id, call.arguments) for call in last.tool_calls] == [("a", '{"city": "Rome"}'), ("b", "{}")]
    path, sent, head = theirs.asked[0]
    assert path == "/v1/chat/completions"
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["tools"][0]["function"]["parameters"] == dict(WEATHER.parameters)
    assert f"authorization: Bearer {KEY}" in head


def test_what_is_asked_goes_along_and_nothing_else() -> None:
    """Every wish under its name; images and calls in messages as they are; nothing that was not wished for."""
    theirs = stream(delta(content="ok"), end("length"), "[DONE]")
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
    ]
    messages = [{"role": "user", "content": parts}]
    sampling = Sampling(
        temperature=0.5, top_p=0.9, penalty_score=1.2, stop=("x",), max_tokens=9, seed=3, json_schema={}, min_tokens=2,
        frequency_penalty=0.1, presence_penalty=0.2, top_k=4,
    )  # fmt: skip
    found = theirs.use(answer(sampling, messages), "image2text")
    assert found[-1] == Delta("", "length", 1, 1)
    sent = theirs.asked[0][1]
    assert sent.pop("messages") == messages
    assert sent == {
        "model": "m", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "top_p": 0.9,
        "top_k": 4, "repetition_penalty": 1.2, "repeat_penalty": 1.2, "frequency_penalty": 0.1, "seed": 3,
        "presence_penalty": 0.2, "stop": ["x"], "max_tokens": 9, "min_tokens": 2,
        "response_format": {"type": "json_object"},
    }  # fmt: skip
    theirs.use(answer())
    assert set(theirs.asked[1][1]) == {"model", "messages", "stream", "stream_options"}


@pytest.mark.parametrize(
    ("status", "body", "more", "kind", "said"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, "", EngineFailed, "refuses our key.*THEIR_KEY"),
        (429, {"error": {"message": "slow down"}}, "Retry-After: 7\r\n", EngineFailed, "rate limit.*wait 7 s"),
        (500, {"error": {"message": f"crashed with {KEY}"}}, "", EngineFailed, "HTTP 500: crashed with …"),
        (503, b"<html>busy</html>", "", EngineFailed, "HTTP 503: <html>busy"),
        (302, b"", "Location: http://127.0.0.1:1/\r\n", EngineFailed, "HTTP 302: it gives no reason"),
        (404, {"error": {"message": "model m not found"}}, "", RequestRefused, "does not know this.*model m not found"),
        (400, {"error": {"message": "temperature is odd"}}, "", RequestRefused, "refuses the request: temperature"),
        (422, {"detail": [{"loc": ["body"], "msg": "bad"}]}, "", RequestRefused, "refuses the request: .*bad"),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
            },
            "",
            PromptTooLong,
            "5000 tokens; at most 4096 fit",
        ),
    ],
)  # fmt: skip
def test_errors_are_told_in_plain_words_without_the_key(
    status: int, body: Any, more: str, kind: type[Exception], said: str
) -> None:
    """Whatever the server says; every way of asking says the same."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    for use in (answer(), lambda engine: engine.embed(["x"])):
        with pytest.raises(kind, match=said) as caught:
            Theirs(status, raw, more=more).use(use, "chat", "embeddings")
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (stream(delta(content="a")), "broke its answer off"),
        (stream(delta(content="a"), "{oops"), "an event that is no JSON"),
        (stream(delta(content="a"), "[1]"), "no JSON object"),
        (stream(delta(content="a"), {"error": {"message": "gone", "code": 500}}), "HTTP 500: gone"),
        (Theirs(body=b'{"choices": []}'), "HTTP 502"),
    ],
    ids=["cut", "garbage", "list", "error event", "no stream"],
)
def test_a_broken_stream_fails_after_what_came_before(theirs: Theirs, said: str) -> None:
    """Never an answer that looks whole."""

    async def use(engine: UpstreamEngine) -> list[str]:
        found: list[str] = []

        async def read() -> None:
            async for piece in engine.generate(ASK, Sampling()):
                found.append(piece.text)

        with pytest.raises(EngineFailed, match=said):
            await read()
        return found

    assert theirs.use(use) in (["a"], [])


def test_scores_of_all_kinds_of_rankers_lie_between_0_and_1() -> None:
    """Sorted or not, under either name, logits or not; a missing one is an error."""

    async def use(engine: UpstreamEngine) -> Any:
        return await engine.rerank("q", ["a", "b"])

    jina = {
        "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
        "usage": {"total_tokens": 4},
    }
    assert Theirs(body=json.dumps(jina).encode()).use(use, "reranker").values == [0.1, 0.9]
    logits = [{"index": 0, "score": -3.0}, {"index": 1, "score": 5.0}]
    low, high = Theirs(body=json.dumps(logits).encode()).use(use, "reranker").values
    assert 0 < low < 0.5 < high < 1
    half = {"results": [{"index": 0, "relevance_score": 0.1}]}
    with pytest.raises(EngineFailed, match="scored only some of the 2"):
        Theirs(body=json.dumps(half).encode()).use(use, "reranker")


def test_images_come_as_bytes_and_addresses_are_not_followed() -> None:
    """b64_json, also from servers that refuse the word; a URL would be fetched by nobody."""

    async def use(engine: UpstreamEngine) -> Any:
        return await engine.paint(ImageWish("a fox", size=(64, 32), count=1, seed=3))

    theirs = Theirs(body=json.dumps({"data": [{"b64_json": base64.b64encode(b"png").decode()}]}).encode())
    assert theirs.use(use, "text2image") == [b"png"]
    assert theirs.asked[0][0] == "/v1/images/generations"
    assert theirs.asked[0][1] == {
        "model": "m", "prompt": "a fox", "n": 1, "size": "64x32", "response_format": "b64_json", "seed": 3,
    }  # fmt: skip
    with pytest.raises(EngineFailed, match="the address of an image, not the image"):
        Theirs(body=b'{"data": [{"url": "http://127.0.0.1/x.png"}]}').use(use, "text2image")
    with pytest.raises(EngineFailed, match="no base64"):
        Theirs(body=b'{"data": [{"b64_json": "%%"}]}').use(use, "text2image")
    with pytest.raises(RequestRefused, match="'text2image'"):
        theirs.use(use, "chat")


def test_vectors_are_put_in_order_and_made_of_length_one() -> None:
    """A vector too few is an error."""

    async def use(engine: UpstreamEngine) -> Any:
        return await engine.embed(["a b", "世界"])

    rows = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 0]}]
    found = Theirs(body=json.dumps({"data": rows}).encode()).use(use, "embeddings")
    assert found.rows == [[1, 0], [0.6, 0.8]]
    assert found.tokens == 4  # our estimate: the server does not say
    with pytest.raises(EngineFailed, match="1 vectors for 2 texts"):
        Theirs(body=json.dumps({"data": rows[:1]}).encode()).use(use, "embeddings")


def test_a_server_without_a_tokenizer_refuses_to_count() -> None:
    """vLLM says count; where there is no such route, the text says so."""

    async def use(engine: UpstreamEngine) -> int:
        return await engine.count_tokens("x")

    assert Theirs(paths={"/tokenize": b'{"count": 5, "tokens": [1]}'}).use(use) == 5
    with pytest.raises(RequestRefused, match="how many tokens"):
        Theirs(status=404).use(use)


def test_a_server_that_lists_no_models_is_healthy_all_the_same() -> None:
    """It answered. One that refuses the key, or is broken, is not."""

    async def use(engine: UpstreamEngine) -> None:
        await engine.health()

    Theirs(body=b'{"data": []}').use(use)
    Theirs(status=404).use(use)
    for status in (401, 500):
        with pytest.raises(EngineFailed):
            Theirs(status=status).use(use)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A certificate for 127.0.0.1 that signed itself: the server's side of it, and its file."""
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "theirs")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "theirs.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file


def test_over_tls_the_server_must_prove_who_it_is(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown: no key is sent. Named by SSL_CERT_FILE: streams and whole answers come as over plain HTTP."""
    context, file = tls
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    theirs = stream(
        delta(content="a"), delta(content="b"), end("stop", prompt_tokens=1, completion_tokens=2), "[DONE]"
    )
    with pytest.raises(EngineFailed, match="its certificate is not trusted here"):
        theirs.use(answer(), tls=context)
    assert theirs.asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    found = theirs.use(answer(), tls=context)
    assert [piece.text for piece in found] == ["a", "b", ""]
    assert found[-1].completion_tokens == 2

    async def use(engine: UpstreamEngine) -> int:
        return await engine.count_tokens("x")

    assert Theirs(paths={"/tokenize": b'{"count": 5}'}).use(use, tls=context) == 5
    with pytest.raises(EngineFailed, match="broke its answer off"):
        stream(delta(content="a")).use(answer(), tls=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(file.with_name("none.pem")))
    with pytest.raises(EngineFailed, match=r"none\.pem cannot be read"):
        theirs.use(answer(), tls=context)
