"""The asynchronous HTTP client: pooled connections, unbuffered streams. The only file that knows pyreqwest.

The library's own texts hold whole addresses and are not passed on."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError
from pyreqwest.exceptions import RequestTimeoutError as LibraryTimeout
from pyreqwest.proxy import ProxyBuilder

from qianfan.errors import InternalError, InvalidArgumentError, QianfanError

from .call import Reply, Request, announces_stream, pieces_of
from .client import STALE_S, USER_AGENT, Options
from .failures import late, lost, unsendable
from .pool import IDLE_S
from .tls import certificates, unreadable

LET_GO_S: Final = 0.02


class AsyncClient:
    """Sends requests on the caller's event loop."""

    def __init__(self, options: Options) -> None:
        self._client = _built(options)
        self._used: dict[str, float] = {}  # base → when a connection was last given back
        _let_go_at_exit()

    async def send(self, request: Request) -> Reply:
        """Send, and wait for the answer, or for the start of a stream."""
        started = time.monotonic()
        try:
            builder = _prepared(self._client.request(request.method, request.url), request)
            if not request.stream:
                response = await builder.timeout(_duration(request.timeout_s)).build().send()
                reply = _reply(response, started, bytes(await response.bytes()))
            else:
                context = builder.streamed_read_buffer_limit(0).build_streamed()
                response = await context.__aenter__()
                reply = _reply(response, started)
                if announces_stream(reply.status, reply.headers):
                    reply.achunks = _achunks(context, response, request)
                else:
                    reply.body = bytes(await response.bytes())
                    await context.__aexit__(None, None, None)
        except (PyreqwestError, ValueError) as error:  # ValueError: an address that is none
            raise self._translated(error, request, started) from None
        self._used[request.base] = time.monotonic()
        return reply

    def _translated(self, error: Exception, request: Request, started: float) -> QianfanError:
        now = time.monotonic()
        used = self._used.get(request.base, float("-inf"))
        broke = any(sign in _causes(error).lower() for sign in _BROKEN)
        stale = broke and started - used < IDLE_S and now - started < STALE_S
        return _translated(error, request, waited_s=now - started, stale=stale)


@lru_cache(maxsize=1)
def _let_go_at_exit() -> None:
    """Wait a moment before the interpreter goes down: the library's threads may still hold Python objects of a
    call that has just ended, and an interpreter that shuts down under them aborts."""
    atexit.register(time.sleep, LET_GO_S)


def _built(options: Options) -> Client:
    try:
        return _configured(ClientBuilder(), options).build()
    except RuntimeError as error:  # the library's threads do not live on in a forked child
        raise InternalError(
            "asynchronous calls cannot be made in a process forked after its parent made some",
            cause=error,
            advice='start processes with multiprocessing.get_context("spawn"), or fork before the first call',
        ) from None


def _configured(builder: ClientBuilder, options: Options) -> ClientBuilder:
    builder = (
        builder.follow_redirects(False)
        .referer(False)
        .user_agent(USER_AGENT)
        .connect_timeout(timedelta(seconds=options.connect_s))
        .pool_idle_timeout(timedelta(seconds=IDLE_S))
        .danger_accept_invalid_certs(not options.verify)
    )
    if options.idle_s:
        builder = builder.read_timeout(timedelta(seconds=options.idle_s))
    for certificate in certificates(options.ca_file) if options.ca_file else ():
        try:
            builder = builder.add_root_certificate_pem(certificate)
        except ValueError as error:
            raise unreadable(str(options.ca_file), error) from error
    if options.proxy:
        try:
            proxy = ProxyBuilder.all(options.proxy)
        except BuilderError:
            raise InvalidArgumentError(
                "QIANFAN_PROXY is not an address", advice="write it as http://name:password@host:port"
            ) from None
        builder = builder.proxy(proxy.no_proxy(os.environ.get("NO_PROXY") or os.environ.get("no_proxy")))
    if options.max_connections > 0:
        builder = builder.max_connections(_calls(options.max_connections))
        builder = builder.pool_max_idle_per_host(options.max_connections)
    return builder


def _calls(connections: int) -> int:
    """Calls at once that stay within so many connections. A tenth is kept free: a connection comes back a moment
    after its call has ended, and a call that begins in between opens another one."""
    return connections - connections // 10


def _prepared(builder: Any, request: Request) -> Any:
    builder = builder.headers(request.headers)
    body = request.body
    if isinstance(body, Path):
        size = body.stat().st_size
        return builder.header("Content-Length", str(size)).body_stream(pieces_of(body, size))
    return builder.body_bytes(body) if body else builder


@lru_cache(maxsize=64)
def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _reply(response: Any, started: float, body: bytes = b"") -> Reply:
    headers = dict(response.headers.items())  # the library has their names in lower case
    return Reply(response.status, headers, body, None, None, time.monotonic() - started)


async def _achunks(context: Any, response: Any, request: Request) -> AsyncIterator[bytes]:
    try:
        read = response.body_reader.read_chunk
        while (piece := await read()) is not None:
            yield bytes(piece)
    except PyreqwestError as error:
        raise _translated(error, request) from None
    finally:
        await context.__aexit__(None, None, None)


_BROKEN: Final = ("before message completed", "connection reset", "broken pipe", "connection was not ready")


def _causes(error: Exception) -> str:
    """The causes of a library error, outermost first, without the one that holds the address."""
    details: Mapping[str, Any] = getattr(error, "details", None) or {}
    texts = [cause.get("message", "") for cause in details.get("causes") or ()]
    return ": ".join(text for text in texts if "for url (" not in text) or str(
        error.args[0] if error.args else error
    )


def _translated(
    error: Exception, request: Request, *, waited_s: float | None = None, stale: bool = False
) -> QianfanError:
    causes = _causes(error)
    if isinstance(error, ValueError):
        return unsendable(request, causes)
    if isinstance(error, LibraryTimeout):
        return late(request, causes, waited_s)
    return lost(request, causes, stale=stale)
