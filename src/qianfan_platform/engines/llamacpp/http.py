"""HTTP towards one llama.cpp server: one client, unbuffered streams, our own errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from qianfan.contract import sse
from qianfan_platform.engines.protocol import EngineFailed, PromptTooLong, RequestRefused


class ConnectionLost(EngineFailed):
    """The connection broke: most likely the process has just ended."""


class Upstream:
    """Calls to the server at `port`. `idle_s`: the longest silence before the server counts as hung."""

    def __init__(self, port: int, api_key: str, *, idle_s: float) -> None:
        from pyreqwest.client import ClientBuilder

        self._idle_s = idle_s
        self._client = (
            ClientBuilder()
            .base_url(f"http://127.0.0.1:{port}/")
            .default_headers({"authorization": f"Bearer {api_key}"})
            .no_proxy()
            .follow_redirects(False)
            .connect_timeout(timedelta(seconds=5))
            .read_timeout(timedelta(seconds=idle_s))
            # A connection per request: the server closes each after a stream, without announcing it, and a
            # request sent on such a connection is lost.
            .pool_max_idle_per_host(0)
            .build()
        )

    async def get(self, path: str) -> Any:
        """JSON at `path`. Raises as `events` does."""
        return await self._json(self._client.get(path))

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """JSON answer to a JSON body. Raises as `events` does."""
        return await self._json(self._client.post(path).body_json(body))

    async def events(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream, as they come, up to its end marker. Leaving early hangs up.

        Raises RequestRefused, PromptTooLong, and EngineFailed when the server is gone, breaks the stream
        off or is silent."""
        from pyreqwest.exceptions import PyreqwestError

        request = self._client.post(path).body_json(body).streamed_read_buffer_limit(0).build_streamed()
        decoder = sse.Decoder()
        try:
            async with request as response:
                if response.status != 200:
                    raise refusal(response.status, bytes(await response.bytes()))
                reader = response.body_reader
                while (chunk := await reader.read_chunk()) is not None:
                    for event in decoder.feed(bytes(chunk)):
                        if event.data == "[DONE]":
                            return
                        data = json.loads(event.data)
                        if "error" in data:
                            raise refusal(int(data["error"].get("code") or 500), event.data.encode())
                        yield data
        except PyreqwestError as problem:
            raise self._lost(problem) from problem
        raise ConnectionLost("the engine broke its answer off before the end")

    async def close(self) -> None:
        await self._client.close()

    async def _json(self, builder: Any) -> Any:
        from pyreqwest.exceptions import PyreqwestError

        try:
            response = await builder.build().send()
            body = bytes(await response.bytes())
        except PyreqwestError as problem:
            raise self._lost(problem) from problem
        if response.status != 200:
            raise refusal(response.status, body)
        return json.loads(body)

    def _lost(self, problem: Exception) -> EngineFailed:
        if isinstance(problem, TimeoutError):
            return EngineFailed(f"the engine was silent for {self._idle_s:g} s and counts as hung")
        return ConnectionLost("the connection to the engine was lost")


def refusal(status: int, body: bytes) -> Exception:
    """The exception for an error answer of the server."""
    try:
        error = json.loads(body)["error"]
        kind, text = str(error.get("type", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        error, kind, text = {}, "", body[:300].decode(errors="replace")
    if kind == "exceed_context_size_error":
        return PromptTooLong(error.get("n_prompt_tokens"), int(error.get("n_ctx") or 0))
    if kind == "invalid_request_error" or status in (400, 501):
        return RequestRefused(f"the engine refuses the request: {text}")
    return EngineFailed(f"the engine answered with HTTP {status}: {text}")
