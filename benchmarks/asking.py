"""Asks the loopback server in one client's way, and says what that cost: `client.py` runs one of these each.

A line `MEASURE COUNT` on standard input is answered by a line of JSON: `us` of CPU (user and system, all
threads) per call or event, and `text`, what the last answer said."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

MESSAGES: Final = [
    {"role": "user", "content": "Sort this ticket: where is my parcel? " * 4},
    {"role": "assistant", "content": "Which one do you mean?"},
    {"role": "user", "content": "The one that I ordered on Monday, with the blue lamp."},
]
TASKS: Final = 64
THREADS: Final = 16
V1: Final = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/"


class Floor:
    """No client at all: a socket, requests put together by hand, the answer's JSON read by orjson."""

    def __init__(self, base: str) -> None:
        import orjson

        host, _, port = base.removeprefix("http://").partition(":")
        self.address, self.loads, self.host = (host, int(port)), orjson.loads, base.removeprefix("http://")
        self.dumps = orjson.dumps
        self.own = threading.local()  # one connection for each thread
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @property
    def sync(self) -> socket.socket:
        found: socket.socket | None = getattr(self.own, "socket", None)
        if found is None:
            found = self.own.socket = socket.create_connection(self.address)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def request(self, model: str, stream: bool) -> bytes:
        body = self.dumps({"model": model, "messages": MESSAGES, "stream": stream})
        head = f"POST /v2/chat/completions HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer key\r\n"
        return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    def call(self) -> str:
        sock, left = self.sync, b""
        sock.sendall(self.request("plain", False))
        while (end := left.find(b"\r\n\r\n")) < 0:
            left += sock.recv(65536)
        size = end + 4 + int(left[left.index(b"content-length: ") + 16 : end].split(b"\r\n")[0])
        while len(left) < size:
            left += sock.recv(65536)
        return str(self.loads(left[end + 4 :])["choices"][0]["message"]["content"])

    def stream(self, model: str) -> Iterator[str]:
        sock, left = self.sync, b""
        sock.sendall(self.request(model, True))
        while True:
            left += sock.recv(65536)
            *whole, left = left.split(b"\n\n")
            for piece in whole:
                data = piece[piece.index(b"data: ") + 6 :]
                if data == b"[DONE]":
                    while not left.endswith(b"0\r\n\r\n"):
                        left += sock.recv(65536)
                    return
                yield self.loads(data)["choices"][0]["delta"]["content"]

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self.free.pop() if self.free else await asyncio.open_connection(*self.address, limit=2**20)

    async def acall(self) -> str:
        reader, writer = connection = await self._connection()
        writer.write(self.request("plain", False))
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head[head.index(b"content-length: ") + 16 :].split(b"\r\n")[0])
        body = await reader.readexactly(size)
        self.free.append(connection)
        return str(self.loads(body)["choices"][0]["message"]["content"])

    async def astream(self, model: str) -> AsyncIterator[str]:
        reader, writer = connection = await self._connection()
        writer.write(self.request(model, True))
        left = b""
        while True:
            left += await reader.read(65536)
            *whole, left = left.split(b"\n\n")
            for piece in whole:
                data = piece[piece.index(b"data: ") + 6 :]
                if data == b"[DONE]":
                    while not left.endswith(b"0\r\n\r\n"):
                        left += await reader.read(65536)
                    self.free.append(connection)
                    return
                yield self.loads(data)["choices"][0]["delta"]["content"]


class Raw:
    """The HTTP client of the SDK's asynchronous calls, alone: no signing, retrying, limits, checks or response objects."""

    def __init__(self, base: str) -> None:
        import orjson
        from pyreqwest.client import ClientBuilder, SyncClientBuilder

        self.dumps, self.loads, self.url = orjson.dumps, orjson.loads, f"{base}/v2/chat/completions"
        self.client = SyncClientBuilder().build()
        self.make = ClientBuilder().build
        self.several: Any = None

    def _prepared(self, client: Any, model: str, stream: bool) -> Any:
        body = self.dumps({"model": model, "messages": MESSAGES, "stream": stream})
        headers = {"Content-Type": "application/json", "Authorization": "Bearer key"}
        return client.post(self.url).headers(headers).body_bytes(body)

    def call(self) -> str:
        answer = self._prepared(self.client, "plain", False).build().send()
        return str(self.loads(bytes(answer.bytes()))["choices"][0]["message"]["content"])

    def stream(self, model: str) -> Iterator[str]:
        left = b""
        with (
            self._prepared(self.client, model, True).streamed_read_buffer_limit(0).build_streamed() as answer
        ):
            while (piece := answer.body_reader.read_chunk()) is not None:
                *whole, left = (left + bytes(piece)).split(b"\n\n")
                for one in whole:
                    if one != b"data: [DONE]":
                        yield self.loads(one[6:])["choices"][0]["delta"]["content"]

    async def acall(self) -> str:
        self.several = self.several or self.make()
        answer = await self._prepared(self.several, "plain", False).build().send()
        return str(self.loads(bytes(await answer.bytes()))["choices"][0]["message"]["content"])

    async def astream(self, model: str) -> AsyncIterator[str]:
        self.several = self.several or self.make()
        left = b""
        asked = self._prepared(self.several, model, True).streamed_read_buffer_limit(0)
        async with asked.build_streamed() as answer:
            while (piece := await answer.body_reader.read_chunk()) is not None:
                *whole, left = (left + bytes(piece)).split(b"\n\n")
                for one in whole:
                    if one != b"data: [DONE]":
                        yield self.loads(one[6:])["choices"][0]["delta"]["content"]


class QianfanV1:
    """Our `ChatCompletion`, as the README uses it: an app's keys, an access token in the query."""

    keys: Final = {"ak": "bench", "sk": "bench"}

    def __init__(self, base: str) -> None:
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))
        import qianfan

        qianfan.get_config().BASE_URL = qianfan.get_config().CONSOLE_API_BASE_URL = base
        self.chat: Any = self.make(qianfan)

    def make(self, qianfan: Any) -> Any:
        return qianfan.ChatCompletion(endpoint="plain", **self.keys)

    def call(self) -> str:
        return str(self.chat.do(messages=MESSAGES)["result"])

    def stream(self, model: str) -> Iterator[str]:
        for answer in self.chat.do(messages=MESSAGES, endpoint=model, stream=True):
            yield answer["result"]

    async def acall(self) -> str:
        return str((await self.chat.ado(messages=MESSAGES))["result"])

    async def astream(self, model: str) -> AsyncIterator[str]:
        async for answer in await self.chat.ado(messages=MESSAGES, endpoint=model, stream=True):
            yield answer["result"]


class QianfanSigned(QianfanV1):
    """The same with an access key: every request is signed."""

    keys: Final = {"access_key": "bench", "secret_key": "bench"}


class QianfanShaped(QianfanV1):
    """Our `Qianfan()`: the same interface on the wire, and the same shape of answers, as `openai`."""

    def make(self, qianfan: Any) -> Any:
        return qianfan.Qianfan(api_key="bce-v3/ALTAK-bench/bench").chat.completions

    def call(self) -> str:
        return str(self.chat.create(messages=MESSAGES, model="plain").choices[0].message.content)

    def stream(self, model: str) -> Iterator[str]:
        for chunk in self.chat.create(messages=MESSAGES, model=model, stream=True):
            yield chunk.choices[0].delta.content or ""

    async def acall(self) -> str:
        answer = await self.chat.acreate(messages=MESSAGES, model="plain")
        return str(answer.choices[0].message.content)

    async def astream(self, model: str) -> AsyncIterator[str]:
        async for chunk in await self.chat.acreate(messages=MESSAGES, model=model, stream=True):
            yield chunk.choices[0].delta.content or ""


class OpenAI:
    """The `openai` package with its own settings."""

    def __init__(self, base: str) -> None:
        import openai

        self.client = openai.OpenAI(base_url=f"{base}/v2", api_key="key")
        self.make = lambda: openai.AsyncOpenAI(base_url=f"{base}/v2", api_key="key")
        self.several: Any = None

    def call(self) -> str:
        messages: Any = MESSAGES
        answer = self.client.chat.completions.create(model="plain", messages=messages)
        return str(answer.choices[0].message.content)

    def stream(self, model: str) -> Iterator[str]:
        messages: Any = MESSAGES
        for chunk in self.client.chat.completions.create(model=model, messages=messages, stream=True):
            yield chunk.choices[0].delta.content or ""

    async def acall(self) -> str:
        self.several = self.several or self.make()
        answer = await self.several.chat.completions.create(model="plain", messages=MESSAGES)
        return str(answer.choices[0].message.content)

    async def astream(self, model: str) -> AsyncIterator[str]:
        self.several = self.several or self.make()
        stream = await self.several.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        async for chunk in stream:
            yield chunk.choices[0].delta.content or ""


CLIENTS: Final[dict[str, Any]] = {
    "floor": Floor,
    "raw": Raw,
    "qianfan": QianfanV1,
    "qianfan-signed": QianfanSigned,
    "qianfan-shaped": QianfanShaped,
    "openai": OpenAI,
}


def call(client: Any, count: int) -> tuple[int, str]:
    """Calls one after the other."""
    text = ""
    for _ in range(count):
        text = client.call()
    return count, text


def threads(client: Any, count: int) -> tuple[int, str]:
    """The same client used by 16 threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        each = list(pool.map(lambda _: call(client, count // THREADS), range(THREADS)))
    return sum(number for number, _ in each), each[-1][1]


async def tasks(client: Any, count: int) -> tuple[int, str]:
    """The same client used by 64 tasks."""

    async def some() -> str:
        text = ""
        for _ in range(count // TASKS):
            text = await client.acall()
        return text

    each = await asyncio.gather(*(some() for _ in range(TASKS)))
    return count // TASKS * TASKS, each[-1]


def events(client: Any, count: int) -> tuple[int, str]:
    """Streams of many events, one after the other."""
    number, text = 0, ""
    for _ in range(count):
        pieces = list(client.stream("long"))
        number, text = number + len(pieces), "".join(pieces)
    return number, text


async def events64(client: Any, count: int, model: str = "short") -> tuple[int, str]:
    """64 streams at once."""

    async def one() -> list[str]:
        return [piece async for piece in client.astream(model)]

    number, text = 0, ""
    for _ in range(count):
        each = await asyncio.gather(*(one() for _ in range(TASKS)))
        number, text = number + sum(map(len, each)), "".join(each[-1])
    return number, text


def paced64(client: Any, count: int) -> Awaitable[tuple[int, str]]:
    """64 streams at once, as a model would write them: a wake-up for each event."""
    return events64(client, count, "paced")


def delivery(client: Any, _: int) -> dict[str, float]:
    """Milliseconds from sent to in hand: of the first event, the median, the worst; and the median gap."""
    arrived, sent = [], []
    for piece in client.stream("clock"):
        arrived.append(time.monotonic())
        sent.append(float(piece))
    return _delays(sent, arrived)


async def adelivery(client: Any, _: int) -> dict[str, float]:
    """The same on an event loop."""
    arrived, sent = [], []
    async for piece in client.astream("clock"):
        arrived.append(time.monotonic())
        sent.append(float(piece))
    return _delays(sent, arrived)


def _delays(sent: list[float], arrived: list[float]) -> dict[str, float]:
    late = [(there - here) * 1000 for here, there in zip(sent, arrived, strict=True)]
    gaps = [[(b - a) * 1000 for a, b in itertools.pairwise(times)] for times in (sent, arrived)]
    return {
        "first_ms": late[0],
        "median_ms": statistics.median(late),
        "worst_ms": max(late),
        "sent_gap_ms": statistics.median(gaps[0]),
        "gap_ms": statistics.median(gaps[1]),
        "events": len(late),
    }


MEASURES: Final[dict[str, Callable[[Any, int], Any]]] = {
    function.__name__: function
    for function in (call, threads, tasks, events, events64, paced64, delivery, adelivery)
}


def main(name: str, base: str, core: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
    client = CLIENTS[name](base)
    print(json.dumps({"ready": name}), flush=True)
    with asyncio.Runner() as runner:  # one loop for all rounds, so that connections stay open
        for line in sys.stdin:
            measure, count = line.split()
            began = time.process_time()
            done = MEASURES[measure](client, int(count))
            if asyncio.iscoroutine(done):
                done = runner.run(done)
            spent = time.process_time() - began
            if isinstance(done, dict):
                print(json.dumps(done), flush=True)
            else:
                print(
                    json.dumps({"us": spent / done[0] * 1e6, "units": done[0], "text": done[1]}), flush=True
                )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
