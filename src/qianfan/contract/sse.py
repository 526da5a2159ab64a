"""Event streams: `encode` for the platform, `Decoder` for the client. `decode(encode(x)) == x`.

The decoder follows the WHATWG rules (comments, unknown fields, CR, LF and CRLF), with one addition: an
event that the end of the body cuts short of its blank line still counts, as published clients read it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field

MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True)
class Event:
    """One event. `name` is the `event:` field, `message` when there is none."""

    data: str
    name: str = "message"


def encode(data: bytes | str, name: str | None = None) -> bytes:
    """One event as V1 clients need it: `data: ` with the space, one line, one blank line."""
    raw = data.encode() if isinstance(data, str) else data
    if b"\n" in raw or b"\r" in raw:
        raise ValueError("the data of an event must be one line")
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + raw + b"\n\n"


@dataclass
class Decoder:
    """Feed bytes as they come, in any split; take events as they are whole."""

    max_line: int = 16 * 1024 * 1024  # characters; a longer line is an attack or a broken server
    _text: str = ""
    _data: list[str] = field(default_factory=list)
    _name: str = ""
    _utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    )

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Events completed by `chunk`. Raises ValueError when a line outgrows `max_line`."""
        self._text += self._utf8.decode(chunk)
        yield from self._lines(final=False)
        if len(self._text) > self.max_line:
            raise ValueError(f"a line of the event stream is longer than {self.max_line} characters")

    def close(self) -> Iterator[Event]:
        """The last event, when the body ended without its blank line."""
        self._text += self._utf8.decode(b"", final=True)
        yield from self._lines(final=True)
        event = self._take()
        if event is not None:
            yield event

    def _lines(self, *, final: bool) -> Iterator[Event]:
        start = 0
        text = self._text
        while True:
            end = _line_end(text, start)
            if end < 0:
                break
            if text[end] == "\r" and end + 1 == len(text) and not final:
                break  # the LF of a CRLF may still come
            line = text[start:end]
            start = end + (2 if text.startswith("\r\n", end) else 1)
            event = self._line(line)
            if event is not None:
                yield event
        self._text = text[start:]
        if final and self._text:
            line, self._text = self._text, ""
            self._line(line)

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._take()
        name, colon, value = line.partition(":")
        if colon and not name:
            return None  # a comment
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return None

    def _take(self) -> Event | None:
        data, name = self._data, self._name
        self._data, self._name = [], ""
        return Event("\n".join(data), name or "message") if data else None


def _line_end(text: str, start: int) -> int:
    lf = text.find("\n", start)
    cr = text.find("\r", start, lf if lf >= 0 else len(text))
    return cr if cr >= 0 else lf
