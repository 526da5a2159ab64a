"""One request and its answer: uvicorn's, but that head and first piece of an answer leave in one write.

Half of what uvicorn spends on a small answer is the checking of headers, name by name and value by value; here names
are checked once, and all values of a head in one go.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CLOSE: Final = re.compile(rb"(?:^|,)\s*close\s*(?:,|$)", re.IGNORECASE)
_BODILESS: Final = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    _head: bytes | None = None  # of the answer, until the first piece of its body

    async def send(self, message: Any) -> None:
        """As ASGI says. The head is kept back until the first piece of the body, and sent with it."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"an answer must begin with http.response.start, not {kind}")
            self._head = self._written(message)
            self.response_started = True
            self.waiting_for_100_continue = False
            return
        if kind != "http.response.body" or self.response_complete:
            raise RuntimeError(f"{kind} does not belong here in an answer")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        elif len(body) > self.expected_content_length:
            raise RuntimeError("the body of the answer is longer than its Content-Length")
        else:
            self.expected_content_length -= len(body)
        if self._head is not None:
            body, self._head = self._head + body, None
        if body:
            self.transport.write(body)
        if not more:
            self._end()

    def _end(self) -> None:
        if self.expected_content_length:
            raise RuntimeError("the body of the answer is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def flush(self) -> None:
        """Send the head, when it is still kept back: no body will come."""
        if self._head is not None:
            self.transport.write(self._head)
            self._head = None

    def _written(self, message: Any) -> bytes:
        status: int = message["status"]
        headers = [*self.default_headers, *message.get("headers", ())]
        if HEADER_VALUE_RE.search(b" ".join([value for _, value in headers])):
            raise RuntimeError("a header of the answer has a value that HTTP does not allow")
        lines = [STATUS_LINE[status]]
        closes = False
        for name, value in headers:
            begin, framing = _begin(name)
            if framing == b"content-length":
                if self.chunked_encoding is None:
                    self.expected_content_length, self.chunked_encoding = int(value), False
            elif framing == b"transfer-encoding":
                if value.lower() == b"chunked":
                    self.expected_content_length, self.chunked_encoding = 0, True
            elif framing and _CLOSE.search(value):
                self.keep_alive, closes = False, True
            lines += (begin, value, b"\r\n")
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _BODILESS:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)


@lru_cache(maxsize=512, typed=True)  # typed: a name that keeps its capitals equals one that does not
def _begin(name: bytes) -> tuple[bytes, bytes]:
    """How a header's line begins, and its name in small letters when it says where the answer ends."""
    if HEADER_RE.search(name):
        raise RuntimeError(f"{name!r} cannot be the name of a header")
    small = name.lower()
    return small + b": ", small if small in _FRAMING else b""
