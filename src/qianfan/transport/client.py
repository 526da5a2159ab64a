"""The HTTP client: pooled connections, unbuffered streams. The only file that knows pyreqwest.

Redirects are not followed: a signed request must not travel on. Errors of the library become
`ConnectionLost` and `RequestTimeoutError`; its own texts hold whole addresses and are not passed on.
"""

from __future__ import annotations

import atexit
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

from pyreqwest.client import Client, ClientBuilder, SyncClient, SyncClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError
from pyreqwest.exceptions import RequestTimeoutError as LibraryTimeout
from pyreqwest.proxy import ProxyBuilder

from qianfan.config import SETTINGS, Config
from qianfan.contract.sse import MEDIA_TYPE
from qianfan.errors import (
    ConnectionLost,
    InternalError,
    InvalidArgumentError,
    QianfanError,
    RequestTimeoutError,
)
from qianfan.utils.logging import redact

from .call import Reply, Request

PIECE: Final = 1024 * 1024  # bytes read at once from a file that is sent
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
POOLS: Final = 32  # sets of options that are kept at once
POOL_IDLE_S: Final = 60.0
LET_GO_S: Final = 0.02
STALE_S: Final = 1.0  # a kept-alive connection that had been closed fails at once, a broken server later


_lock = Lock()  # held while clients are made


@dataclass(frozen=True)
class Options:
    """What a pool of connections is made with. One pool per set of options and process.

    idle_s: longest silence of the server, seconds; 0 = no limit. max_connections: 0 = no limit."""

    idle_s: float = 0.0
    connect_s: float = 10.0
    verify: bool = True
    ca_file: str | None = None
    proxy: str = ""
    max_connections: int = 0


def options_of(config: Config, idle_s: float, verify: bool | None = None) -> Options:
    """The options that settings ask for. The environment names further CA files, as other clients read them."""
    return _options(
        idle_s,
        config.CONNECT_TIMEOUT or SETTINGS["CONNECT_TIMEOUT"][1],
        config.SSL_VERIFICATION_ENABLED if verify is None else verify,
        config.SSL_CA_FILE,
        config.PROXY,
        config.MAX_CONNECTIONS,
    )


@lru_cache(maxsize=64)
def _options(
    idle_s: float, connect_s: float, verify: bool, ca_file: str | None, proxy: str, max_connections: int
) -> Options:
    ca_file = ca_file or os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return Options(idle_s, connect_s, verify, ca_file or None, proxy, max_connections)


class HttpClient:
    """Sends requests: `send` in the caller's thread, `asend` on the caller's event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._sync_client: SyncClient | None = None  # made on first use: 10 ms each
        self._async_client: Client | None = None
        self._used: dict[
            tuple[str, bool], float
        ] = {}  # (base, async) → when a connection was last given back

    def send(self, request: Request) -> Reply:
        """Send, and wait for the answer, or for the start of a stream."""
        client, started = self._sync_client or self._sync(), time.monotonic()
        try:
            builder = _prepared(client.request(request.method, request.url), request)
            if not request.stream:
                response = builder.timeout(_duration(request.timeout_s)).build().send()
                reply = _reply(response, started, bytes(response.bytes()))
            else:
                context = builder.streamed_read_buffer_limit(0).build_streamed()
                response = context.__enter__()
                reply = _reply(response, started)
                if _is_stream(reply):
                    reply.chunks = _chunks(context, response, request)
                else:
                    reply.body = bytes(response.bytes())
                    context.__exit__(None, None, None)
        except (PyreqwestError, ValueError) as error:  # ValueError: an address that is none
            raise self._translated(error, request, started, is_async=False) from None
        self._used[request.base, False] = time.monotonic()
        return reply

    async def asend(self, request: Request) -> Reply:
        """The same for an event loop."""
        client, started = self._async_client or self._async(), time.monotonic()
        try:
            builder = _prepared(client.request(request.method, request.url), request)
            if not request.stream:
                response = await builder.timeout(_duration(request.timeout_s)).build().send()
                reply = _reply(response, started, bytes(await response.bytes()))
            else:
                context = builder.streamed_read_buffer_limit(0).build_streamed()
                response = await context.__aenter__()
                reply = _reply(response, started)
                if _is_stream(reply):
                    reply.achunks = _achunks(context, response, request)
                else:
                    reply.body = bytes(await response.bytes())
                    await context.__aexit__(None, None, None)
        except (PyreqwestError, ValueError) as error:  # ValueError: an address that is none
            raise self._translated(error, request, started, is_async=True) from None
        self._used[request.base, True] = time.monotonic()
        return reply

    def _sync(self) -> SyncClient:
        if self._sync_client is None:
            with _lock:
                if self._sync_client is None:
                    self._sync_client = _built(SyncClientBuilder(), self._options)
        return self._sync_client

    def _async(self) -> Client:
        if self._async_client is None:
            with _lock:
                if self._async_client is None:
                    self._async_client = _built(ClientBuilder(), self._options)
                    _let_go_at_exit()
        return self._async_client

    def _translated(
        self, error: Exception, request: Request, started: float, *, is_async: bool
    ) -> QianfanError:
        now = time.monotonic()
        used = self._used.get((request.base, is_async), float("-inf"))
        broke = any(sign in _causes(error).lower() for sign in _BROKEN)
        stale = broke and started - used < POOL_IDLE_S and now - started < STALE_S
        return _translated(error, request, waited_s=now - started, stale=stale)


@lru_cache(maxsize=1)
def _let_go_at_exit() -> None:
    """Wait a moment before the interpreter goes down: the library's threads may still hold Python objects of a
    call that has just ended, and an interpreter that shuts down under them aborts."""
    atexit.register(time.sleep, LET_GO_S)


def _built(builder: Any, options: Options) -> Any:
    try:
        return _configured(builder, options).build()
    except RuntimeError as error:  # the library's threads do not live on in a forked child
        raise InternalError(
            "calls cannot be made in a process forked after its parent made calls",
            cause=error,
            advice='start processes with multiprocessing.get_context("spawn"), or fork before the first call',
        ) from None


def _configured(builder: Any, options: Options) -> Any:
    builder = (
        builder.follow_redirects(False)
        .referer(False)
        .user_agent("open-qianfan")
        .connect_timeout(timedelta(seconds=options.connect_s))
        .pool_idle_timeout(timedelta(seconds=POOL_IDLE_S))
        .danger_accept_invalid_certs(not options.verify)
    )
    if options.idle_s:
        builder = builder.read_timeout(timedelta(seconds=options.idle_s))
    if options.ca_file:
        try:
            certificates = _CERTIFICATE.findall(Path(options.ca_file).read_bytes())
            if not certificates:
                raise ValueError("there is no certificate in it")
            for certificate in certificates:
                builder = builder.add_root_certificate_pem(certificate)
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(
                f"the CA file {options.ca_file} cannot be read", cause=error, advice="it must be a PEM file"
            ) from error
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
        size = str(body.stat().st_size)
        return builder.header("Content-Length", size).body_stream(_pieces(body))
    return builder.body_bytes(body) if body else builder


@lru_cache(maxsize=64)
def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _reply(response: Any, started: float, body: bytes = b"") -> Reply:
    headers = dict(response.headers.items())  # the library has their names in lower case
    return Reply(response.status, headers, body, None, None, time.monotonic() - started)


def _is_stream(reply: Reply) -> bool:
    content_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return reply.status == 200 and content_type == MEDIA_TYPE


def _chunks(context: Any, response: Any, request: Request) -> Iterator[bytes]:
    try:
        read = response.body_reader.read_chunk
        while (piece := read()) is not None:
            yield bytes(piece)
    except PyreqwestError as error:
        raise _translated(error, request) from None
    finally:
        context.__exit__(None, None, None)


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
    causes = redact(_causes(error))
    where = redact(f"{request.method} {request.base}{request.path}")
    if isinstance(error, ValueError):
        return InvalidArgumentError(
            f"the request to {where} cannot be made: {causes}", advice="check the base URL and the headers"
        )
    if isinstance(error, LibraryTimeout):
        return RequestTimeoutError(
            f"{where}: no answer within {request.timeout_s if waited_s is None else waited_s:.1f} s",
            cause=TimeoutError(causes),
            advice="raise request_timeout, or look whether the server is busy",
        )
    return ConnectionLost(
        f"{where}: {causes}",
        stale=stale,
        cause=ConnectionError(causes),
        advice="check that the server runs at this address and that proxy and certificates are right",
    )


_clients: dict[Options, HttpClient] = {}
_of_parents: list[dict[Options, HttpClient]] = []  # kept: closing them in a forked child would hang


def client_for(options: Options) -> HttpClient:
    """The pool for these options. A forked child has none of its parent's."""
    client = _clients.get(options)
    if client is None:
        with _lock:
            client = _clients.get(options) or _clients.setdefault(options, HttpClient(options))
            while len(_clients) > POOLS:
                del _clients[next(iter(_clients))]  # the oldest; calls that use it go on
    return client


def _forget() -> None:
    global _clients, _lock
    _of_parents.append(_clients)
    _clients, _lock = {}, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
