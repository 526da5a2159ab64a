"""From the pieces of an event stream to answers. `StreamReader` is pure; the two streams around it wait."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import orjson

from qianfan.contract import sse
from qianfan.errors import (
    APIError,
    ConnectionLost,
    QianfanError,
    RequestError,
    RequestTimeoutError,
    StreamInterrupted,
)
from qianfan.utils.logging import redact

from .call import Call, Reply, Request
from .checks import TokenRejected, body_error
from .response import QfResponse, SentRequest

DONE: Final = "[DONE]"
HEAD: Final = 64 * 1024  # bytes kept to explain an answer that is no event stream at all


class StreamReader:
    """Feed bytes, take answers. Fails with the error that an event tells of, and with StreamInterrupted at an
    end that no event announced: `is_end` on V1, `[DONE]` or a finish reason on V2. Every such error has
    `text`: what had come.

    settle: is told the tokens used when the stream is over, None where nobody said. settles_slowly: it does
    so over a network."""

    def __init__(
        self,
        call: Call,
        request: Request,
        reply: Reply,
        clock: Callable[[], float] = time.monotonic,
        settle: Callable[[int | None], None] | None = None,
        settles_slowly: bool = False,
    ) -> None:
        self.settles_slowly = settles_slowly
        self.failure: QianfanError | None = None  # of an event behind good ones
        self.ended = False
        self._finish = call.finish
        self._reply = reply
        self._request = SentRequest(request)
        self._decoder = sse.Decoder()
        self._clock = clock
        self._sent_at = clock() - reply.latency_s
        self._first_s: float | None = None
        self._before = self._sent_at
        self._head = b""
        self._seen = False
        self._texts: list[str] = []
        self._settle = settle
        self._used: int | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, names in lower case."""
        return self._reply.headers

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self._reply.status

    @property
    def is_over(self) -> bool:
        """True when nobody is left to be told what was used."""
        return self._settle is None

    def feed(self, chunk: bytes) -> list[QfResponse]:
        """Answers that `chunk` completes. Where an error follows them, it is kept in `failure`."""
        if not self._seen:
            self._head = (self._head + chunk)[:HEAD]
        try:
            return self._answers(self._decoder.feed(chunk))
        except ValueError as error:
            raise self._unreadable(error) from error

    def close(self) -> list[QfResponse]:
        """Answers left at the end of the body."""
        last = self._answers(self._decoder.close())
        if not self._seen:
            self._explain_head()
        if not self.ended and self.failure is None:
            self.failure = self.interrupted("the stream ended without its end mark")
        if self.failure is not None and not last:
            raise self.failure
        return last

    def over(self) -> None:
        """Say what was used, once: the stream has ended, or its reader has left."""
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(self._used)

    def interrupted(self, why: str, cause: QianfanError | None = None) -> StreamInterrupted:
        """The error for an answer that is not whole."""
        text = self.text
        return StreamInterrupted(
            f"{why}, after {len(text)} characters",
            text=text,
            cause=cause,
            advice="what had come is in the error's `text`; ask again",
            advice_zh="已收到的内容在异常的 text 属性中，请重新请求",
        )

    def _unreadable(self, error: ValueError) -> RequestError:
        failure = RequestError(f"the event stream cannot be read: {error}", cause=error)
        failure.text = self.text
        return failure

    def _explain_head(self) -> None:
        try:
            body = orjson.loads(self._head)
        except orjson.JSONDecodeError:
            return
        error = self._error(body) if isinstance(body, dict) else None
        if error is not None:
            raise error

    def _answers(self, events: list[sse.Event]) -> list[QfResponse]:
        answers: list[QfResponse] = []
        for event in events:
            try:
                answer = self._answer(event)
            except QianfanError as error:
                error.text = self.text
                if not answers:
                    raise
                self.failure = error
                break
            if answer is not None:
                answers.append(answer)
        return answers

    def _answer(self, event: sse.Event) -> QfResponse | None:
        data, name = event
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if data.strip() == DONE:
                self.ended = True
                return None
            raise RequestError(
                f"an event of the stream is not JSON: {redact(data[:200])}",
                cause=error,
                advice="the server, or a proxy before it, is broken; what had come is in the error's `text`",
                advice_zh="服务端或中间代理返回了错误内容；已收到的内容在异常的 text 属性中",
            ) from None
        if type(body) is not dict:
            return None
        if not self._seen:
            self._seen, self._head = True, b""
        if "error_code" in body or "error" in body or "success" in body:
            failure = self._error(body)
            if failure is not None:
                raise failure
        if name != "message":
            body["_event"] = name
        if self._finish is not None:
            body = self._finish(body)
        try:
            self._note(body)
        except (AttributeError, TypeError) as error:
            raise RequestError(
                f"an event of the stream has a shape that is not known: {redact(data[:200])}",
                cause=error,
                advice="check that the base URL points to a Qianfan server",
                advice_zh="请检查服务地址是否为千帆服务",
            ) from None
        now = self._clock()
        if self._first_s is None:
            self._first_s = now - self._sent_at
        times = (now - self._before, self._first_s, now - self._sent_at)
        self._before = now
        reply = self._reply
        return QfResponse(reply.status, reply.headers, body, self._request, times)

    def _error(self, body: dict[str, Any]) -> QianfanError | None:
        try:
            error = body_error(body, self._reply.headers)
        except TokenRejected as rejected:
            error = APIError(rejected.code, redact(rejected.text))
        if error is not None:
            error.text = self.text
        return error

    def _note(self, body: dict[str, Any]) -> None:
        """Keep the text so far, and see whether this is the end."""
        result = body.get("result")
        if type(result) is str:
            self._texts.append(result)
        if body.get("is_end"):
            self.ended = True
        choices = body.get("choices")
        if choices:
            for choice in choices:
                content = (choice.get("delta") or {}).get("content")
                if type(content) is str:
                    self._texts.append(content)
                if choice.get("finish_reason"):
                    self.ended = True
        usage = body.get("usage")
        if usage and self._settle is not None:
            used = usage.get("total_tokens")
            self._used = used if type(used) is int else None


class Stream:
    """Iterates over the answers of one call. `close()`, or leaving a `with`, hangs up.

    headers: of the answer, names in lower case. code: its HTTP status."""

    def __init__(self, reader: StreamReader, chunks: Iterator[bytes]) -> None:
        self.headers, self.code = reader.headers, reader.status
        self._chunks = chunks
        self._reader: StreamReader | None = reader
        self._answers: Iterator[QfResponse] = _answers_of(reader, chunks)

    @classmethod
    def whole(cls, answer: QfResponse) -> Stream:
        """A stream of the one answer of a server that does not stream."""
        stream = cls.__new__(cls)
        stream.headers, stream.code = answer.headers, answer.code
        stream._reader, stream._chunks, stream._answers = None, iter(()), iter((answer,))
        return stream

    def __iter__(self) -> Iterator[QfResponse]:
        return self._answers

    def __next__(self) -> QfResponse:
        return next(self._answers)

    def close(self) -> None:
        """Hang up. The platform stops writing when the reader leaves."""
        _close(self._answers)
        if self._reader is not None:  # one that was never iterated over has not done it itself
            _hang_up(self._reader, self._chunks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Stream HTTP {self.code}>"


def _answers_of(reader: StreamReader, chunks: Iterator[bytes]) -> Iterator[QfResponse]:
    """Not a method: a generator that knows its stream would keep it, and the connection, after a `break`."""
    try:
        for chunk in chunks:
            yield from reader.feed(chunk)
            if reader.failure is not None:
                raise reader.failure
        yield from reader.close()
        if reader.failure is not None:
            raise reader.failure
    except (ConnectionLost, RequestTimeoutError) as lost:
        if not reader.ended:  # else the answer is whole; how the connection ended does not matter
            raise reader.interrupted(str(lost), lost) from None
    finally:
        _hang_up(reader, chunks)


def _hang_up(reader: StreamReader, chunks: Iterator[bytes]) -> None:
    _close(chunks)
    reader.over()


class AsyncStream:
    """The same for `async for`. `aclose()`, or leaving an `async with`, hangs up."""

    def __init__(self, reader: StreamReader, chunks: AsyncIterator[bytes]) -> None:
        self.headers, self.code = reader.headers, reader.status
        self._chunks = chunks
        self._reader: StreamReader | None = reader
        self._answers: AsyncIterator[QfResponse] = _aanswers_of(reader, chunks)

    @classmethod
    def whole(cls, answer: QfResponse) -> AsyncStream:
        """A stream of the one answer of a server that does not stream."""
        stream = cls.__new__(cls)
        stream.headers, stream.code = answer.headers, answer.code
        stream._reader, stream._answers = None, _once(answer)
        return stream

    def __aiter__(self) -> AsyncIterator[QfResponse]:
        return self._answers

    async def __anext__(self) -> QfResponse:
        return await anext(self._answers)

    async def aclose(self) -> None:
        """Hang up. The platform stops writing when the reader leaves."""
        await _aclose(self._answers)
        if self._reader is not None:
            await _ahang_up(self._reader, self._chunks)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncStream HTTP {self.code}>"


async def _aanswers_of(reader: StreamReader, chunks: AsyncIterator[bytes]) -> AsyncIterator[QfResponse]:
    try:
        async for chunk in chunks:
            for answer in reader.feed(chunk):
                yield answer
            if reader.failure is not None:
                raise reader.failure
        for answer in reader.close():
            yield answer
        if reader.failure is not None:
            raise reader.failure
    except (ConnectionLost, RequestTimeoutError) as lost:
        if not reader.ended:
            raise reader.interrupted(str(lost), lost) from None
    finally:
        await _ahang_up(reader, chunks)


async def _ahang_up(reader: StreamReader, chunks: AsyncIterator[bytes]) -> None:
    await _aclose(chunks)
    if reader.settles_slowly and not reader.is_over:
        import asyncio

        await asyncio.to_thread(reader.over)
    else:
        reader.over()


async def _once(answer: QfResponse) -> AsyncIterator[QfResponse]:
    yield answer


def _close(chunks: Iterator[Any]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


async def _aclose(chunks: AsyncIterator[Any]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
