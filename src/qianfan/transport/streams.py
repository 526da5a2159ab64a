"""From the pieces of an event stream to answers. `StreamReader` is pure; the two streams around it wait."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import orjson

from qianfan.contract import sse
from qianfan.errors import APIError, QianfanError, RequestError, StreamInterrupted

from .call import Call, Reply, Request
from .checks import TokenRejected, body_error
from .response import QfResponse, SentRequest

DONE: Final = "[DONE]"
HEAD: Final = 64 * 1024  # bytes kept to explain an answer that is no event stream at all


class StreamReader:
    """Feed bytes, take answers. Raises the error that an event tells of, and StreamInterrupted at an end
    that no event announced: `is_end` on V1, `[DONE]` or a finish reason on V2."""

    def __init__(
        self, call: Call, request: Request, reply: Reply, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._call = call
        self._reply = reply
        self._request = SentRequest(request)
        self._decoder = sse.Decoder()
        self._clock = clock
        self._sent_at = clock() - reply.latency_s
        self._first_s: float | None = None
        self._before = self._sent_at
        self._head = b""
        self._seen = False
        self.text = ""
        self.ended = False

    def feed(self, chunk: bytes) -> list[QfResponse]:
        """Answers that `chunk` completes."""
        if not self._seen:
            self._head = (self._head + chunk)[:HEAD]
        return self._take(self._decoder.feed(chunk))

    def close(self) -> list[QfResponse]:
        """Answers left at the end of the body."""
        last = self._take(self._decoder.close())
        if not self._seen and not last:
            self._explain_head()
        if not self.ended:
            raise self.interrupted("the stream ended without its end mark")
        return last

    def interrupted(self, why: str, cause: QianfanError | None = None) -> StreamInterrupted:
        """The error for an answer that is not whole."""
        return StreamInterrupted(
            f"{why}, after {len(self.text)} characters",
            text=self.text,
            cause=cause,
            advice="what had come is in the error's `text`; ask again",
        )

    def _explain_head(self) -> None:
        try:
            body = orjson.loads(self._head)
        except orjson.JSONDecodeError:
            return
        if isinstance(body, dict):
            self._raise_error(body)

    def _take(self, events: Iterator[sse.Event]) -> list[QfResponse]:
        answers = []
        try:
            for event in events:
                answer = self._answer(event)
                if answer is not None:
                    answers.append(answer)
        except ValueError as error:
            raise RequestError(f"the event stream cannot be read: {error}", cause=error) from error
        return answers

    def _answer(self, event: sse.Event) -> QfResponse | None:
        if event.data.strip() == DONE:
            self.ended = True
            return None
        try:
            body = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            raise RequestError(
                f"an event of the stream is not JSON: {event.data[:200]}", cause=error
            ) from None
        if not isinstance(body, dict):
            return None
        self._seen, self._head = True, b""
        self._raise_error(body)
        if event.name != "message":
            body["_event"] = event.name
        body = self._call.finish(body) if self._call.finish else body
        self._note(body)
        now = self._clock()
        if self._first_s is None:
            self._first_s = now - self._sent_at
        statistic = {
            "request_latency": now - self._before,
            "first_token_latency": self._first_s,
            "total_latency": now - self._sent_at,
        }
        self._before = now
        return QfResponse(self._reply.status, self._reply.headers, body, self._request, statistic)

    def _raise_error(self, body: dict[str, Any]) -> None:
        try:
            error = body_error(body, self._reply.headers)
        except TokenRejected as rejected:
            error = APIError(rejected.code, rejected.text)
        if error is not None:
            raise error

    def _note(self, body: dict[str, Any]) -> None:
        """Keep the text so far, and see whether this is the end."""
        if body.get("is_end"):
            self.ended = True
        if isinstance(body.get("result"), str):
            self.text += body["result"]
        for choice in body.get("choices") or ():
            self.text += (choice.get("delta") or {}).get("content") or ""
            if choice.get("finish_reason"):
                self.ended = True


class Stream:
    """Iterates over the answers of one call. `close()`, or leaving a `with`, hangs up."""

    def __init__(self, reader: StreamReader, chunks: Iterator[bytes]) -> None:
        self._reader = reader
        self._chunks = chunks
        self._answers = self._read()

    @classmethod
    def whole(cls, answer: QfResponse) -> Stream:
        """A stream of the one answer of a server that does not stream."""
        stream = cls.__new__(cls)
        stream._chunks, stream._answers = iter(()), iter((answer,))
        return stream

    def _read(self) -> Iterator[QfResponse]:
        reader = self._reader
        try:
            while True:
                try:
                    chunk = next(self._chunks, None)
                except QianfanError as lost:
                    if reader.ended:
                        return  # the answer is whole; how the connection ended does not matter
                    raise reader.interrupted(str(lost), lost) from None
                if chunk is None:
                    yield from reader.close()
                    return
                yield from reader.feed(chunk)
        finally:
            _close(self._chunks)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> QfResponse:
        return next(self._answers)

    def close(self) -> None:
        """Hang up. The platform stops writing when the reader leaves."""
        _close(self._answers)
        _close(self._chunks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream:
    """The same for `async for`. `aclose()`, or leaving an `async with`, hangs up."""

    def __init__(self, reader: StreamReader, chunks: AsyncIterator[bytes]) -> None:
        self._reader = reader
        self._chunks = chunks
        self._answers = self._read()

    @classmethod
    def whole(cls, answer: QfResponse) -> AsyncStream:
        """A stream of the one answer of a server that does not stream."""

        async def once() -> AsyncIterator[QfResponse]:
            yield answer

        stream = cls.__new__(cls)
        stream._answers = stream._chunks = once()  # type: ignore[assignment]
        return stream

    async def _read(self) -> AsyncIterator[QfResponse]:
        reader = self._reader
        try:
            while True:
                try:
                    chunk = await anext(self._chunks, None)
                except QianfanError as lost:
                    if reader.ended:
                        return
                    raise reader.interrupted(str(lost), lost) from None
                for answer in reader.close() if chunk is None else reader.feed(chunk):
                    yield answer
                if chunk is None:
                    return
        finally:
            await _aclose(self._chunks)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> QfResponse:
        return await anext(self._answers)

    async def aclose(self) -> None:
        """Hang up. The platform stops writing when the reader leaves."""
        await _aclose(self._answers)
        await _aclose(self._chunks)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _close(chunks: Iterator[Any]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


async def _aclose(chunks: AsyncIterator[Any]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
