"""Event streams: `encode` for the platform, `Decoder` for the client. `decode(encode(x)) == x`.

The decoder follows the WHATWG rules (comments, unknown fields, CR, LF and CRLF), with one addition: an
event that the end of the body cuts short of its blank line still counts, as published clients read it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MEDIA_TYPE = "text/event-stream"


class Event(NamedTuple):
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


class Decoder:
    """Feed bytes as they come, in any split; take events as they are whole."""

    def __init__(self, max_line: int = 16 * 1024 * 1024) -> None:
        self.max_line = max_line  # bytes; a longer line is an attack or a broken server
        self._rest: list[bytes] = []  # pieces of a line whose end has not come
        self._rest_size = 0
        self._data: list[str] = []  # of the event whose blank line has not come
        self._name = ""
        self._begun = False
        self._after_cr = False  # the next LF belongs to a CR that was the end of a line already
        self._between = False  # nothing is kept: the next chunk begins an event

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by `chunk`. Raises ValueError when a line outgrows `max_line`."""
        if self._between and chunk[:6] == b"data: " and chunk.find(b"\n") == len(chunk) - 2:
            data = chunk[6:-2]  # one event of one line, as most servers send them
            if chunk[-1] == 10 and b"\r" not in data:
                return [Event(data.decode("utf-8", "replace"))]
        events = self._fed(chunk)
        self._between = self._begun and not (self._rest or self._data or self._name or self._after_cr)
        return events

    def _fed(self, chunk: bytes) -> list[Event]:
        if not self._begun or self._after_cr:
            chunk = self._without_start(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            if self._rest_size > self.max_line:
                raise ValueError(f"a line of the event stream is longer than {self.max_line} bytes")
            return []
        if self._rest:
            chunk = b"".join((*self._rest, chunk))
            self._rest, self._rest_size = [], 0
        if not self._data and not self._name and b"\r" not in chunk:
            events = self._plain(chunk)
            if events is not None:
                return events
        return self._lines(chunk)

    def close(self) -> list[Event]:
        """The last event, when the body ended without its blank line."""
        event = None
        if self._rest:
            event = self._line(b"".join(self._rest))
            self._rest, self._rest_size = [], 0
        event = event or self._take()
        return [event] if event else []

    def _plain(self, chunk: bytes) -> list[Event] | None:
        """Events of one `data: ` line each; None when there is anything else."""
        events = []
        *whole, rest = chunk.split(b"\n\n")
        for part in whole:
            if not part.startswith(b"data: ") or b"\n" in part:
                return None
            events.append(Event(part[6:].decode("utf-8", "replace")))
        if b"\n" in rest:
            return None
        self._keep(rest)
        return events

    def _lines(self, chunk: bytes) -> list[Event]:
        events = []
        *whole, rest = _LINE_END.split(chunk)
        for line in whole:
            event = self._line(line)
            if event is not None:
                events.append(event)
        self._after_cr = chunk.endswith(b"\r")
        self._keep(rest)
        return events

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_size += len(piece)

    def _without_start(self, chunk: bytes) -> bytes:
        """Without the mark that a text may begin with, and without the LF of a CR that was seen."""
        if self._after_cr and chunk:
            self._after_cr = False
            return chunk.removeprefix(b"\n")
        if not self._begun:
            chunk = b"".join((*self._rest, chunk))
            self._rest, self._rest_size = [], 0
            if len(chunk) < len(_MARK) and _MARK.startswith(chunk):
                self._keep(chunk)  # the mark may still be coming
                return b""
            self._begun = True
            return chunk.removeprefix(_MARK)
        return chunk

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._take()
        name, colon, value = line.decode("utf-8", "replace").partition(":")
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


_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MARK: Final = b"\xef\xbb\xbf"
