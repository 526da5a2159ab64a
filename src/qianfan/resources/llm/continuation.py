"""Going on where the length limit cut an answer: the piece goes into the history, and the model is asked on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Final

from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

CONTINUE: Final = "继续"


def asked_on(request: Call, piece: str, prompt: str) -> Call:
    """The call that asks for what follows `piece`. The caller's own list of messages is not changed."""
    turns = [
        *request.body["messages"],
        {"role": "assistant", "content": piece},
        {"role": "user", "content": prompt},
    ]
    return replace(request, body={**request.body, "messages": turns})


def _is_cut(answer: QfResponse, piece: str) -> bool:
    return bool(answer.body.get("is_truncated")) and bool(piece)  # nothing new: asking on would never end


def _joined(answer: QfResponse, pieces: list[str]) -> QfResponse:
    answer.body = {**answer.body, "result": "".join(pieces)}
    return answer


def whole(ask: Callable[[Call], QfResponse], request: Call, prompt: str) -> QfResponse:
    """The last answer, with the text of all of them in `result`."""
    pieces: list[str] = []
    while True:
        answer = ask(request)
        pieces.append(answer.body.get("result") or "")
        if not _is_cut(answer, pieces[-1]):
            return _joined(answer, pieces)
        request = asked_on(request, pieces[-1], prompt)


async def awhole(ask: Callable[[Call], Awaitable[QfResponse]], request: Call, prompt: str) -> QfResponse:
    """The same for asyncio."""
    pieces: list[str] = []
    while True:
        answer = await ask(request)
        pieces.append(answer.body.get("result") or "")
        if not _is_cut(answer, pieces[-1]):
            return _joined(answer, pieces)
        request = asked_on(request, pieces[-1], prompt)


def pieces(ask: Callable[[Call], Stream], request: Call, prompt: str) -> Iterator[QfResponse]:
    """All pieces of all answers, one after the other; only the last one of all has `is_end`."""
    while True:
        text, cut = "", False
        with ask(request) as stream:
            for answer in stream:
                text += answer.body.get("result") or ""
                cut = _is_cut(answer, text)
                if cut and answer.body.get("is_end"):
                    answer.body["is_end"] = False
                yield answer
        if not cut:
            return
        request = asked_on(request, text, prompt)


async def apieces(
    ask: Callable[[Call], Awaitable[AsyncStream]], request: Call, prompt: str
) -> AsyncIterator[QfResponse]:
    """The same for asyncio."""
    while True:
        text, cut = "", False
        async with await ask(request) as stream:
            async for answer in stream:
                text += answer.body.get("result") or ""
                cut = _is_cut(answer, text)
                if cut and answer.body.get("is_end"):
                    answer.body["is_end"] = False
                yield answer
        if not cut:
            return
        request = asked_on(request, text, prompt)
