"""From a `Call` and the settings to an answer: `call` and `acall` are what resources use."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from qianfan import VERSION
from qianfan.config import Config, get_config
from qianfan.errors import InvalidArgumentError

from .call import Call, Exchange, Reply, Request
from .client import client_for, options_of
from .edges import arun, run
from .exchange import exchange
from .limits import NO_LIMITS, Limits
from .response import QfResponse, SentRequest
from .retry import Retry
from .signers import Signer
from .streams import AsyncStream, Stream, StreamReader

REQUEST_SOURCE = f"qianfan_py_sdk_v{VERSION}"


@dataclass(frozen=True)
class Manner:
    """How a call is made: where to, as whom, how often, how fast."""

    base: str
    signer: Signer
    retry: Retry
    limiter: Limits = NO_LIMITS
    verify: bool | None = None  # certificates; None: as the settings say


def call(call: Call, manner: Manner) -> QfResponse | Stream:
    """Make the call in this thread. A `Stream` only when the call asks for one."""
    config, started = get_config(), time.monotonic()
    client = client_for(options_of(config, _idle_s(call, manner, config), manner.verify))
    request, reply, body = run(_exchange(call, manner), client)
    if reply.chunks is not None:
        return Stream(_reader(call, manner, request, reply), reply.chunks)
    answer = _answer(request, reply, body, started)
    return Stream.whole(answer) if call.stream else answer


async def acall(call: Call, manner: Manner) -> QfResponse | AsyncStream:
    """Make the call on this event loop. An `AsyncStream` only when the call asks for one."""
    config, started = get_config(), time.monotonic()
    client = client_for(options_of(config, _idle_s(call, manner, config), manner.verify))
    request, reply, body = await arun(_exchange(call, manner), client)
    if reply.achunks is not None:
        return AsyncStream(_reader(call, manner, request, reply), reply.achunks)
    answer = _answer(request, reply, body, started)
    return AsyncStream.whole(answer) if call.stream else answer


def _reader(call: Call, manner: Manner, request: Request, reply: Reply) -> StreamReader:
    limits = manner.limiter
    if limits.are_idle:
        return StreamReader(call, request, reply)
    return StreamReader(
        call,
        request,
        reply,
        settle=lambda used: limits.settle_here(request, used),
        settles_slowly=limits.does_io,
    )


def _idle_s(call: Call, manner: Manner, config: Config) -> float:
    """Longest silence of the server. Calls that are no streams have a total instead, and share one pool.

    Where connections are limited streams share it, too: a silence as long as the total never comes first."""
    return manner.retry.timeout_s if call.stream or config.MAX_CONNECTIONS else 0.0


def _exchange(call: Call, manner: Manner) -> Exchange[tuple[Request, Reply, dict[str, Any]]]:
    return exchange(call, request_of(call, manner), manner.signer, manner.limiter, manner.retry)


def request_of(call: Call, manner: Manner) -> Request:
    """The request of a call, before it is signed."""
    route = call.route
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if call.stream:
        headers["Accept"] = "text/event-stream, application/json"
    if call.content is not None:
        headers["Content-Type"] = "application/octet-stream"
    if call.creates:
        import uuid  # not needed by most calls

        headers["Idempotency-Key"] = str(uuid.uuid4())
    if call.headers:
        headers.update(call.headers)
    query = tuple((name, str(value)) for name, value in call.query.items()) if call.query else ()
    if route.action:
        query = (("Action", route.action), *query)
    base, prefix = _split(manner.base)
    return Request(
        route.method,
        base,
        prefix + route.path,
        query,
        headers,
        call.content if call.content is not None else _body(call),
        manner.retry.timeout_s,
        call.stream,
    )


@lru_cache(maxsize=64)
def _split(url: str) -> tuple[str, str]:
    """`https://host/prefix/` → (`https://host`, `/prefix`)."""
    scheme, mark, rest = url.rstrip("/").partition("://")
    if not mark or not rest:
        raise InvalidArgumentError(
            f"{url.rpartition('@')[2]!r} is not the address of a server",
            advice="write it as http://host:port",
        )
    host, _, prefix = rest.partition("/")
    return f"{scheme}://{host}", f"/{prefix}" if prefix else ""


def _body(call: Call) -> bytes:
    if call.route.method == "GET":
        return b""
    body = {name: value for name, value in call.body.items() if value is not None}
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise InvalidArgumentError(
            f"the arguments of {call.route.path} cannot be written as JSON: {error}",
            advice="give texts, numbers, lists and dictionaries with text keys",
        ) from None


def _answer(request: Request, reply: Reply, body: dict[str, Any], started: float) -> QfResponse:
    times = (reply.latency_s, None, time.monotonic() - started)
    return QfResponse(reply.status, reply.headers, body, SentRequest(request), times)


def retry_of(options: Mapping[str, Any], config: Config, family: str) -> Retry:
    """The retry policy of a call. family: `LLM` or `CONSOLE`, the settings that options fall back to."""

    def setting(option: str, name: str) -> Any:
        value = options.get(option) if options else None
        return getattr(config, f"{family}_API_RETRY_{name}") if value is None else value

    longest = options.get("max_wait_interval")
    if longest is None:
        longest = setting("retry_max_wait_interval", "MAX_WAIT_INTERVAL")
    codes = setting("retry_err_codes", "ERR_CODES")
    return _retry(
        setting("retry_count", "COUNT"),
        setting("request_timeout", "TIMEOUT"),
        setting("backoff_factor", "BACKOFF_FACTOR"),
        setting("retry_jitter", "JITTER"),
        longest,
        tuple(codes),
        config.RETRY_BUDGET,
        config.RETRY_BUDGET_FLOOR,
    )


@lru_cache(maxsize=256, typed=True)
def _retry(
    attempts: int,
    timeout_s: float,
    backoff: float,
    jitter: float,
    longest: float,
    codes: tuple[int, ...],
    budget_share: float,
    budget_floor: int,
) -> Retry:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise InvalidArgumentError(
            f"retry_count is {attempts!r}", advice="it is the number of attempts in total: 1 or more"
        )
    if not isinstance(timeout_s, (int, float)) or timeout_s <= 0:
        raise InvalidArgumentError(f"request_timeout is {timeout_s!r}", advice="give seconds above 0")
    return Retry(
        attempts=attempts,
        timeout_s=float(timeout_s),
        backoff=float(backoff),
        jitter=float(jitter),
        max_wait_s=float(longest),
        codes=frozenset(codes),
        budget_share=budget_share,
        budget_floor=budget_floor,
    )
