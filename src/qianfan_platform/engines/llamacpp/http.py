"""HTTP towards one llama.cpp server: plain requests, streams of events, its errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson

from qianfan_platform.engines.events import events
from qianfan_platform.engines.http import Http
from qianfan_platform.engines.protocol import EngineFailed, PromptTooLong, RequestRefused


class Upstream:
    """Calls to the server at `port`. `idle_s`: the longest silence before the server counts as hung."""

    def __init__(self, port: int, api_key: str, *, idle_s: float) -> None:
        # A connection per request: each one that is open holds a thread of the server, and the server closes it
        # after a stream without announcing it.
        self._http = Http(
            f"http://127.0.0.1:{port}", {"authorization": f"Bearer {api_key}"}, idle_s=idle_s, keep=0
        )

    async def get(self, path: str) -> Any:
        """JSON at `path`. Raises as `events` does."""
        return _checked(await self._http.ask("GET", path))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """JSON answer to a JSON body. Raises as `events` does."""
        return _checked(await self._http.ask("POST", path, _plain(body)))

    async def events(
        self, path: str, body: dict[str, Any], *, last: str = ""
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a stream, as they come, up to its end marker. Leaving early hangs up.

        last: a member that is true in the last event, for streams that have no end marker.

        Raises RequestRefused, PromptTooLong, and EngineFailed when the server is gone, breaks the stream
        off or is silent."""
        exchange = await self._http.open("POST", path, _plain(body))
        try:
            if exchange.status != 200:
                raise refusal(exchange.status, await exchange.whole())
            async for data in events(exchange):
                event = orjson.loads(data)
                if "error" in event:
                    raise refusal(int(event["error"].get("code") or 500), data)
                yield event
                if last and event.get(last):
                    return
        finally:
            exchange.close()

    def silence_s(self) -> float:
        """Seconds since the server last said anything to anybody."""
        return asyncio.get_running_loop().time() - self._http.heard

    async def close(self) -> None:
        await self._http.close()


def refusal(status: int, body: bytes) -> Exception:
    """The exception for an error answer of the server."""
    try:
        error = orjson.loads(body)["error"]
        kind, text = str(error.get("type", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        error, kind, text = {}, "", body[:300].decode(errors="replace")
    if kind == "exceed_context_size_error":
        return PromptTooLong(error.get("n_prompt_tokens"), int(error.get("n_ctx") or 0))
    if kind == "invalid_request_error" or status in (400, 501):
        return RequestRefused(f"the engine refuses the request: {text}")
    return EngineFailed(f"the engine answered with HTTP {status}: {text}")


def _checked(answer: Any) -> Any:
    if answer.status != 200:
        raise refusal(answer.status, answer.body)
    return orjson.loads(answer.body)


def _plain(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as problem:  # half of a surrogate pair, a number beyond 64 bits, depth
        raise RequestRefused(f"the request cannot be written as JSON: {problem}") from problem
