"""A small fast server on loopback for the benchmarks: V1 and OpenAI shapes, whole, streamed at once, or paced.

The name of the model or endpoint picks the manner: `plain`; `long` and `short`, LONG and SHORT events in one write; `paced`,
PACED events, one every GAP_S; `clock`, as paced, and each event tells when it was sent (monotonic seconds)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, Final

LONG: Final = 2000
SHORT: Final = 300
SPOKEN: Final = [
    "it",
    "comes",
    "on",
    "Monday",
    "with",
    "the",
    "blue",
    "lamp",
    "",
]  # `plain`, to who asks for a stream
PACED: Final = 50
GAP_S: Final = 0.02
ANSWER: Final = "A ticket about a parcel; it comes on Monday, and the customer asks for a date. " * 6
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 120, "total_tokens": 140}


def whole(openai: bool) -> bytes:
    """The answer of a call that is no stream."""
    body: dict[str, Any] = {"id": "as-bench", "object": "chat.completion", "created": 1700000000}
    if openai:
        message = {"role": "assistant", "content": ANSWER}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        body.update(model="plain", choices=[choice], usage=USAGE)
    else:
        body.update(result=ANSWER, is_truncated=False, need_clear_history=False, usage=USAGE)
    raw = json.dumps(body).encode()
    return JSON_HEAD % (len(raw), raw)


def event(openai: bool, number: int, count: int, text: str | None = None) -> bytes:
    """One event of a stream as one chunk of HTTP."""
    over = number == count - 1
    body: dict[str, Any] = {"id": "as-bench", "object": "chat.completion", "created": 1700000000}
    text = f"word {number} " if text is None else text
    if openai:
        delta = {"content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if over else None}
        body.update(object="chat.completion.chunk", model="long", choices=[choice])
    else:
        body.update(sentence_id=number, is_end=over, is_truncated=False, result=text)
        body.update(need_clear_history=False, usage=USAGE)
    raw = b"data: " + json.dumps(body).encode() + b"\n\n"
    if over and openai:
        raw += b"data: [DONE]\n\n"
    return b"%x\r\n%b\r\n" % (len(raw), raw)


WHOLE: Final = {openai: whole(openai) for openai in (False, True)}
AT_ONCE: Final = {
    (openai, count): STREAM_HEAD + b"".join(event(openai, n, count) for n in range(count)) + b"0\r\n\r\n"
    for openai in (False, True)
    for count in (LONG, SHORT)
}
SAID: Final = {
    openai: STREAM_HEAD
    + b"".join(event(openai, n, len(SPOKEN), word) for n, word in enumerate(SPOKEN))
    + b"0\r\n\r\n"
    for openai in (False, True)
}
TOKEN: Final = json.dumps({"access_token": "24.bench", "expires_in": 2592000}).encode()


class Connection(asyncio.Protocol):
    """One client: requests one after the other."""

    def __init__(self) -> None:
        self.left = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.left += data
        while (end := self.left.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self.left, 0, end)
            size = end + 4 + (int(found[1]) if found else 0)
            if len(self.left) < size:
                return
            request, self.left = self.left[:size], self.left[size:]
            self.answer(request, request[: request.find(b"\r\n")])

    def answer(self, request: bytes, line: bytes) -> None:
        openai = b"/v1/chat/completions" in line or b"/v2/chat/completions" in line
        if b"/oauth/" in line:
            self.transport.write(JSON_HEAD % (len(TOKEN), TOKEN))
        elif b'"stream":true' not in request and b'"stream": true' not in request:
            self.transport.write(WHOLE[openai])
        elif b"paced" not in request and b"clock" not in request:
            if b'"short"' in request or b"/short" in line:
                self.transport.write(AT_ONCE[openai, SHORT])
            else:
                self.transport.write(AT_ONCE[openai, LONG] if b"long" in request else SAID[openai])
        else:
            asyncio.get_running_loop().create_task(self.paced(openai, clock=b"clock" in request))

    async def paced(self, openai: bool, *, clock: bool) -> None:
        started = time.monotonic()
        self.transport.write(STREAM_HEAD)
        for number in range(PACED):
            await asyncio.sleep(max(0.0, started + number * GAP_S - time.monotonic()))
            if self.transport.is_closing():
                return
            text = f"{time.monotonic():.6f} " if clock else None
            self.transport.write(event(openai, number, PACED, text))
        self.transport.write(b"0\r\n\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
