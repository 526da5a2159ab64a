"""HTTP over TLS towards an upstream, with the proxies that the environment names. The interface of `http.Http`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from qianfan_platform.engines.http import MAX_BODY, Answer, ConnectionLost, Silent
from qianfan_platform.engines.protocol import EngineFailed

CERTIFICATE: Final = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass
class Https:
    """Requests to the server at `base`, such as `https://api.example.com/v1`. See `http.Http`."""

    base: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    idle_s: float = 120.0
    connect_s: float = 10.0
    keep: int = 8
    what: str = "the engine"

    def __post_init__(self) -> None:
        from pyreqwest.client import ClientBuilder

        parts = urlsplit(self.base)
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/")
        builder = ClientBuilder()
        for certificate in _authorities():
            builder = builder.add_root_certificate_pem(certificate)
        self._client = (
            builder.default_headers(dict(self.headers))
            .follow_redirects(False)  # the key goes to this host only
            .connect_timeout(timedelta(seconds=self.connect_s))
            .read_timeout(timedelta(seconds=self.idle_s))
            .pool_max_idle_per_host(self.keep)
            .build()
        )

    async def open(self, method: str, path: str, body: bytes | None = None) -> SecureExchange:
        """Send a request; return when its status and headers are here. Raises as `http.Http.open` does."""
        from pyreqwest.exceptions import PyreqwestError

        target = path[1:] if path.startswith("//") else f"{self._path}/{path}"
        request = self._client.request(method, self._root + target)
        if body is not None:
            request = request.body_bytes(body).header("content-type", "application/json")
        context = request.streamed_read_buffer_limit(0).build_streamed()
        try:
            response = await context.__aenter__()
        except PyreqwestError as problem:
            raise self.lost(problem) from problem
        return SecureExchange(self, context, response)

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request and read its answer whole. Raises as `open` does, and when it is too large."""
        exchange = await self.open(method, path, body)
        try:
            return Answer(exchange.status, exchange.headers, await exchange.whole())
        finally:
            await exchange.leave()

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def lost(self, problem: Exception) -> EngineFailed:
        """Our exception for one of the library's. Its text may hold the URL, so it is not repeated."""
        if isinstance(problem, TimeoutError):
            return Silent(f"{self.what} was silent for {self.idle_s:g} s and counts as hung")
        return ConnectionLost(f"{self.what} cannot be reached, or the connection was lost: {_cause(problem)}")


class SecureExchange:
    """One request and its answer. `read` until it gives b"", and `leave` in any case."""

    def __init__(self, https: Https, context: Any, response: Any) -> None:
        self._https, self._context, self._response = https, context, response
        self.status = int(response.status)
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def read(self) -> bytes:
        """What has come; b"" at the end of the answer. Raises ConnectionLost, Silent."""
        from pyreqwest.exceptions import PyreqwestError

        try:
            while (chunk := await self._response.body_reader.read_chunk()) is not None:
                if chunk:
                    return bytes(chunk)
        except PyreqwestError as problem:
            raise self._https.lost(problem) from problem
        return b""

    async def whole(self, most: int = MAX_BODY) -> bytes:
        """The body to its end. Raises EngineFailed when it is larger than `most` bytes."""
        body = bytearray()
        while piece := await self.read():
            body += piece
            if len(body) > most:
                raise EngineFailed(f"{self._https.what} answered with more than {most} bytes")
        return bytes(body)

    async def leave(self) -> None:
        """Hang up, or give the connection back when the answer was read to its end."""
        await self._context.__aexit__(None, None, None)


def _authorities() -> list[bytes]:
    """Certificates of authorities that the operator trusts besides the usual ones. Raises EngineFailed."""
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if not named:
        return []
    try:
        found = CERTIFICATE.findall(Path(named).read_bytes())
    except OSError as problem:
        raise EngineFailed(f"the CA file {named} cannot be read: {problem.strerror}") from problem
    if not found:
        raise EngineFailed(f"the CA file {named} holds no certificate in PEM")
    return found


def _cause(problem: Exception) -> str:
    """What went wrong, in a few words that hold no address."""
    text, seen = type(problem).__name__, str(getattr(problem, "details", ""))
    if "certificate" in f"{seen} {problem}".lower():
        return "its certificate is not trusted here; name its authority with SSL_CERT_FILE"
    return {
        "ConnectError": "no connection could be made",
        "ConnectTimeoutError": "no connection in time",
    }.get(text, text)
