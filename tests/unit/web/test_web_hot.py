"""Event streams and answers of hot routes, through a real server and plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette

from qianfan.contract import sse
from qianfan.contract.errors import MESSAGES, QPS_LIMIT, Fault
from qianfan_platform.web import hot
from qianfan_platform.web.front import Front
from qianfan_platform.web.hot import Exchange, HotRoute, Reply

pytestmark = pytest.mark.anyio


class Endpoint:
    """Streams numbers; knows whether its generator was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.gap_s = 0.0
        self.fault_at: int | None = None
        self.crash_at: int | None = None

    async def frames(self, count: int) -> AsyncGenerator[bytes]:
        try:
            for number in range(count):
                if number == self.fault_at:
                    raise Fault(QPS_LIMIT, "too fast", "wait")
                if number == self.crash_at:
                    raise RuntimeError("inner secret")
                yield sse.encode(orjson.dumps({"n": number}))
                await asyncio.sleep(self.gap_s)
        finally:
            await asyncio.sleep(0)  # closing may need the loop: an engine is told to stop
            self.closed.set()

    async def stream(self, exchange: Exchange) -> Reply:
        body = await hot.read_object(exchange)
        tail = b"data: [DONE]\n\n" if body.get("done") else b""
        frames = self.frames(body.get("count", 3))
        await hot.stream(exchange, frames, headers={"X-Extra": "1"}, tail=tail)
        return None

    async def plain(self, exchange: Exchange) -> Reply:
        body = await hot.read_object(exchange)
        if body.get("bad"):
            raise Fault(MESSAGES)
        return hot.Json({"ok": await hot.unless_left(exchange, self.work(body.get("seconds", 0)))})

    async def work(self, seconds: float) -> bool:
        try:
            await asyncio.sleep(seconds)
            return True
        finally:
            self.closed.set()


@pytest.fixture
async def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def app(endpoint: Endpoint) -> Any:
    routes = [
        HotRoute("/stream", endpoint.stream),
        HotRoute("/plain/inference", endpoint.plain),
        HotRoute("/plain/openai", endpoint.plain, family="openai"),
    ]
    return Front(Starlette(), routes)


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def talk(port: int, path: str, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    raw = orjson.dumps(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n"
    writer.write(head.encode() + raw)
    await writer.drain()
    return reader, writer


async def test_frames_come_as_chunks_of_an_event_stream(app: Any, serve: Any) -> None:
    """Each frame is `data: ` and JSON; the content type is spelt as Java needs it; the tail comes last."""
    async with serve(app) as client:
        answer = await client.ask("/stream", {"count": 3, "done": True})
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["x-extra"] == "1"
        assert answer.raw == b'data: {"n":0}\n\ndata: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'
        reader, writer = await talk(client.port, "/stream", {"count": 1})
        assert b"\r\nContent-Type: text/event-stream\r\n" in await reader.readuntil(b"\r\n\r\n")
        await leave(writer)


async def test_each_frame_is_sent_at_once(app: Any, endpoint: Endpoint, serve: Any) -> None:
    """The first frame arrives while the second is still being made."""
    endpoint.gap_s = 0.5
    async with serve(app) as client:
        started = time.monotonic()
        reader, writer = await talk(client.port, "/stream", {"count": 3})
        await reader.readuntil(b'data: {"n":0}\n\n')
        assert time.monotonic() - started < 0.4
        await leave(writer)


async def test_a_reader_that_leaves_closes_the_generator_within_a_second(
    app: Any, endpoint: Endpoint, serve: Any
) -> None:
    """Also in the middle of a long wait for the next frame."""
    endpoint.gap_s = 60
    async with serve(app) as client:
        reader, writer = await talk(client.port, "/stream", {"count": 3})
        await reader.readuntil(b'data: {"n":0}\n\n')
        await leave(writer)
        async with asyncio.timeout(1):
            await endpoint.closed.wait()


async def test_work_for_a_client_that_left_is_cancelled(app: Any, endpoint: Endpoint, serve: Any) -> None:
    """A plain answer is not made for nobody."""
    async with serve(app) as client:
        _, writer = await talk(client.port, "/plain/inference", {"seconds": 60})
        await asyncio.sleep(0.1)
        assert not endpoint.closed.is_set()
        await leave(writer)
        async with asyncio.timeout(1):
            await endpoint.closed.wait()


async def test_an_error_before_the_first_frame_is_plain_json(
    app: Any, endpoint: Endpoint, serve: Any
) -> None:
    """One line with HTTP 200, as published clients read it."""
    endpoint.fault_at = 0
    async with serve(app) as client:
        answer = await client.ask("/stream", {})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == {"error_code": 18, "error_msg": "too fast. wait"}
        assert b"\n" not in answer.raw


async def test_an_error_in_mid_stream_is_the_last_frame(app: Any, endpoint: Endpoint, serve: Any) -> None:
    """What came before stays; an unexpected exception does not show its text."""
    async with serve(app) as client:
        endpoint.fault_at = 1
        answer = await client.ask("/stream", {"done": True})
        assert answer.raw == b'data: {"n":0}\n\ndata: {"error_code":18,"error_msg":"too fast. wait"}\n\n'
        endpoint.fault_at, endpoint.crash_at = None, 1
        crashed = await client.ask("/stream", {})
        assert b'"error_code":336000' in crashed.raw
        assert b"secret" not in crashed.raw


async def test_errors_of_the_openai_family_have_a_status_and_a_type(app: Any, serve: Any) -> None:
    """V1 answers HTTP 200 with `error_code`, the openai family HTTP 400 with `error`."""
    async with serve(app) as client:
        v1 = await client.ask("/plain/inference", {"bad": True})
        assert (v1.status, v1.json["error_code"]) == (200, 336006)
        assert v1.json["id"] == f"as-{v1.headers['x-baidu-request-id']}"
        openai = await client.ask("/plain/openai", {"bad": True})
        assert openai.status == 400
        assert openai.json["error"]["code"] == "invalid_messages"
        assert openai.json["error"]["type"] == "invalid_request_error"
        broken = await client.ask("/plain/inference", b"{")
        assert broken.json["error_code"] == 336002
        assert (await client.ask("/plain/inference", {})).json == {"ok": True}
