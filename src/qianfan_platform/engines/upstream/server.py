"""One OpenAI-compatible server: requests, streams, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import orjson

from qianfan_platform.engines.events import events
from qianfan_platform.engines.http import Http
from qianfan_platform.engines.https import Https
from qianfan_platform.engines.protocol import EngineFailed, PromptTooLong, RequestRefused

KEEP: Final = 128  # unused connections; so many answers may end at once, and connecting costs more than one
TOO_LONG: Final = re.compile(
    r"context (?:length|size|window)|too long|exceed_context_size|maximum input", re.I
)
LIMIT: Final = re.compile(r"(?:maximum context length (?:is|of)|available context size)\D{0,12}(\d+)", re.I)
ASKED: Final = re.compile(
    r"(?:requested|resulted in|request \(|prompt (?:contains|has)|got)\s*(?:at least )?(\d+)", re.I
)


class Server:
    """Requests to the server at `base`. name: how errors call it. `key` goes into one header and nowhere else."""

    def __init__(self, base: str, name: str, key: str, key_env: str, *, idle_s: float, context: int) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        client = Https if base.startswith("https:") else Http
        self.what = (
            f"the upstream {name}"  # not its address: callers read this, and need not know our network
        )
        self._http = client(base, headers, idle_s=idle_s, keep=KEEP, what=self.what)
        self._key, self._key_env, self._context = key, key_env, context

    async def get(self, path: str) -> Any:
        """JSON at a path after the base. Raises as `post` does."""
        answer = await self._http.ask("GET", path)
        return self._checked(answer.status, answer.headers, answer.body)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """JSON answer to a JSON body. Raises RequestRefused, PromptTooLong, EngineFailed, NoSuchRoute."""
        answer = await self._http.ask("POST", path, _plain(body))
        return self._checked(answer.status, answer.headers, answer.body)

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a stream as they come, up to its end marker. Raises as `post` does; leaving hangs up."""
        exchange = await self._http.open("POST", path, _plain(body))
        try:
            if exchange.status != 200:
                raise self._error(exchange.status, exchange.headers, await exchange.whole())
            if "json" in exchange.headers.get("content-type", ""):
                raise self._error(502, exchange.headers, await exchange.whole())
            async for data in events(exchange, self.what):
                try:
                    event = orjson.loads(data)
                except ValueError:
                    raise EngineFailed(f"{self.what} sent an event that is no JSON") from None
                if not isinstance(event, dict):
                    raise EngineFailed(f"{self.what} sent an event that is no JSON object")
                if event.get("error"):
                    code = event["error"].get("code") if isinstance(event["error"], dict) else None
                    raise self._error(code if isinstance(code, int) else 500, {}, data)
                yield event
        finally:
            await exchange.leave()

    async def close(self) -> None:
        await self._http.close()

    def _checked(self, status: int, headers: Mapping[str, str], body: bytes) -> Any:
        if status != 200:
            raise self._error(status, headers, body)
        try:
            found = orjson.loads(body)
        except ValueError:
            raise EngineFailed(f"{self.what} answered with something that is no JSON") from None
        if isinstance(found, dict) and found.get("error"):
            raise self._error(500, headers, body)
        return found

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        """The exception for an answer that is an error, in plain words and without the key."""
        text, kind = self._said(body)
        if status in (401, 403):
            advice = (
                f"put a key that it takes into the environment variable {self._key_env}"
                if self._key_env
                else 'name the environment variable of its key in the catalogue: key_env = "…"'
            )
            return EngineFailed(f"{self.what} refuses our key (HTTP {status}); {advice}")
        if status in (404, 405, 501):
            return NoSuchRoute(f"{self.what} does not know this (HTTP {status}): {text}")
        if status == 429:
            wait = headers.get("retry-after", "")
            after = f"; it asks to wait {wait} s" if wait.isdigit() else ""
            return EngineFailed(f"{self.what} is at its rate limit (HTTP 429){after}")
        if 400 <= status < 500:
            if TOO_LONG.search(f"{kind} {text}"):
                limit, asked = LIMIT.search(text), ASKED.search(text)
                return PromptTooLong(
                    int(asked[1]) if asked else None, int(limit[1]) if limit else self._context
                )
            return RequestRefused(f"{self.what} refuses the request: {text}")
        return EngineFailed(f"{self.what} answered with HTTP {status}: {text}")

    def _said(self, body: bytes) -> tuple[str, str]:
        """The message of an error body and its kind."""
        kind = ""
        try:
            found = orjson.loads(body)
            error = found.get("error", found) if isinstance(found, dict) else found
            if isinstance(error, dict):
                kind = f"{error.get('type')} {error.get('code')}"
                error = error.get("message") or error.get("detail") or error
            text = error if isinstance(error, str) else orjson.dumps(error).decode()
        except ValueError:
            text = body.decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "…")
        return " ".join(text[:500].split()) or "it gives no reason", kind


class NoSuchRoute(RequestRefused):
    """The server has no such route, or no such model."""


def _plain(body: Mapping[str, Any]) -> bytes:
    return orjson.dumps({key: value for key, value in body.items() if value is not None})
