"""Asks a gateway over many connections at once, each with one request after the other; for `gateway.py`.

python load.py HOST:PORT TOKEN MODEL CONNECTIONS SECONDS [stream]

Prints `go` once all is warm, and after SECONDS a line of JSON: `units` (answers, or events of streams) `wrong` (answers
without what they must hold) and an `example` of those."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any, Final

ASKED: Final = "it comes on Monday with the blue lamp"  # the echo engine says it back
WARM_S: Final = 0.7
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def request(where: str, token: str, model: str, stream: bool) -> bytes:
    """One request, as `openai` and its like send it."""
    messages = [{"role": "user", "content": ASKED}]
    body = json.dumps({"model": model, "messages": messages, "stream": stream}).encode()
    head = f"POST /v2/chat/completions HTTP/1.1\r\nHost: {where}\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Asker(asyncio.Protocol):
    """One connection."""

    units = 0  # of all connections
    wrong = 0
    example = ""  # the last wrong answer

    def __init__(self, asked: bytes, stream: bool) -> None:
        self.asked, self.stream, self.left = asked, stream, b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.asked)

    def data_received(self, data: bytes) -> None:
        if self.stream:
            Asker.units += data.count(b"data: {")
            if data.endswith(b"0\r\n\r\n"):
                self.check(self.left + data, b"[DONE]")
                self.transport.write(self.asked)
            self.left = data
            return
        self.left += data
        end = self.left.find(b"\r\n\r\n")
        found = LENGTH.search(self.left, 0, end) if end >= 0 else None
        if found is None or len(self.left) < end + 4 + int(found[1]):
            return
        Asker.units += 1
        self.check(self.left, b"Monday")
        self.left = b""
        self.transport.write(self.asked)

    def check(self, answer: bytes, part: bytes) -> None:
        if part not in answer:
            Asker.wrong += 1
            Asker.example = answer.decode("utf-8", "replace")[-500:]


async def main(where: str, token: str, model: str, connections: int, seconds: float, stream: bool) -> None:
    host, _, port = where.partition(":")
    asked, loop = request(where, token, model, stream), asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Asker(asked, stream), host, int(port))
        for _ in range(connections)
    ]
    await asyncio.sleep(WARM_S)
    before = Asker.units
    print("go", flush=True)
    await asyncio.sleep(seconds)
    done = {"units": Asker.units - before, "wrong": Asker.wrong, "example": Asker.example}
    print(json.dumps(done), flush=True)
    for transport, _ in opened:
        transport.abort()


if __name__ == "__main__":
    import uvloop

    where, token, model, connections, seconds = sys.argv[1:6]
    uvloop.run(main(where, token, model, int(connections), float(seconds), sys.argv[6:] == ["stream"]))
