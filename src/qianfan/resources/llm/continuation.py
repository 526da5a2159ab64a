"""Going on where the length limit cut an answer: the piece goes into the history, and the model is asked on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

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


def text_of(body: Mapping[str, Any]) -> str:
    """The text of an answer or of a piece: `result` on V1, that of the first choice on V2."""
    if "choices" not in body:
        return body.get("result") or ""
    said = _choice(body)
    return (said.get("message") or said.get("delta") or {}).get("content") or ""


def _choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(body.get("choices") or ()), {})


def _is_cut(body: Mapping[str, Any]) -> bool:
    return bool(body.get("is_truncated")) or _choice(body).get("finish_reason") == "length"


def _joined(answer: QfResponse, pieces: list[str]) -> QfResponse:
    text = "".join(pieces)
    if "choices" in answer.body:
        first, *others = answer.body["choices"]
        first = {**first, "message": {**first["message"], "content": text}}
        answer.body = {**answer.body, "choices": [first, *others]}
    else:
        answer.body = {**answer.body, "result": text}
    return answer


def _unended(body: dict[str, Any]) -> dict[str, Any]:
    """A last piece as one of the middle."""
    if body.get("is_end"):
        body = {**body, "is_end": False}
    if _choice(body).get("finish_reason"):
        first, *others = body["choices"]
        body = {**body, "choices": [{**first, "finish_reason": None}, *others]}
    return body


def whole(ask: Callable[[Call], QfResponse], request: Call, prompt: str) -> QfResponse:
    """The last answer, with the text of all of them."""
    pieces: list[str] = []
    while True:
        answer = ask(request)
        pieces.append(text_of(answer.body))
        if not pieces[-1] or not _is_cut(answer.body):  # nothing new: asking on would never end
            return _joined(answer, pieces) if len(pieces) > 1 else answer
        request = asked_on(request, pieces[-1], prompt)


async def awhole(ask: Callable[[Call], Awaitable[QfResponse]], request: Call, prompt: str) -> QfResponse:
    """The same for asyncio."""
    pieces: list[str] = []
    while True:
        answer = await ask(request)
        pieces.append(text_of(answer.body))
        if not pieces[-1] or not _is_cut(answer.body):
            return _joined(answer, pieces) if len(pieces) > 1 else answer
        request = asked_on(request, pieces[-1], prompt)


class _Piece:
    """One answer while it comes: its text so far, and whether it was cut."""

    def __init__(self) -> None:
        self.text = ""
        self.is_cut = False

    def take(self, answer: QfResponse) -> QfResponse:
        self.text += text_of(answer.body)
        self.is_cut = bool(self.text) and (self.is_cut or _is_cut(answer.body))
        if self.is_cut:
            answer.body = _unended(answer.body)
        return answer


def pieces(ask: Callable[[Call], Stream], request: Call, prompt: str) -> Iterator[QfResponse]:
    """All pieces of all answers, one after the other; only the last one of all is an end."""
    while True:
        piece = _Piece()
        with ask(request) as stream:
            for answer in stream:
                yield piece.take(answer)
        if not piece.is_cut:
            return
        request = asked_on(request, piece.text, prompt)


async def apieces(
    ask: Callable[[Call], Awaitable[AsyncStream]], request: Call, prompt: str
) -> AsyncIterator[QfResponse]:
    """The same for asyncio."""
    while True:
        piece = _Piece()
        async with await ask(request) as stream:
            async for answer in stream:
                yield piece.take(answer)
        if not piece.is_cut:
            return
        request = asked_on(request, piece.text, prompt)
