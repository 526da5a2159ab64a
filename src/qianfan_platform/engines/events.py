"""Server-sent events as engines send them, from bytes to the bytes of each `data:`.

Lines end in LF or CRLF. The stricter reader for the world outside is `qianfan.contract.sse`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from qianfan_platform.engines.http import ConnectionLost
from qianfan_platform.engines.protocol import EngineFailed

MAX_EVENT: Final = 32 * 1024 * 1024  # bytes of one event that has not ended
END: Final = b"[DONE]"


class Readable(Protocol):
    """Bytes of an answer; b"" at its end."""

    async def read(self) -> bytes: ...


class Events:
    """Feed bytes in any split; take the data of events as they are whole. Comments and names are left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that ends in `chunk`. Raises EngineFailed when an event does not end."""
        lines = (self._rest + chunk if self._rest else chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT:
            raise EngineFailed(f"an event of the engine is longer than {MAX_EVENT} bytes")
        whole = []
        for line in lines:
            if line.startswith(b"data:"):
                start = 6 if line.startswith(b"data: ") else 5
                self._data.append(line[start:-1] if line.endswith(b"\r") else line[start:])
            elif self._data and line in (b"", b"\r"):
                data, self._data = self._data, []
                whole.append(data[0] if len(data) == 1 else b"\n".join(data))
        return whole


async def events(answer: Readable, what: str = "the engine") -> AsyncGenerator[bytes, None]:
    """The data of each event up to the end marker. Raises ConnectionLost when the answer ends without one."""
    decoder = Events()
    while chunk := await answer.read():
        for data in decoder.feed(chunk):
            if data == END:
                return
            yield data
    raise ConnectionLost(f"{what} broke its answer off before the end")
