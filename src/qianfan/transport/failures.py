"""What can go wrong on the way, as our errors. Both clients say it in the same words, without secrets."""

from __future__ import annotations

from qianfan.errors import ConnectionLost, InvalidArgumentError, RequestTimeoutError
from qianfan.utils.logging import redact

from .call import Request


def _where(request: Request) -> str:
    return redact(f"{request.method} {request.base}{request.path}")


def unsendable(request: Request, why: str) -> InvalidArgumentError:
    """Nothing could be sent: the address or a header is none."""
    return InvalidArgumentError(
        f"the request to {_where(request)} cannot be made: {redact(why)}",
        advice="check the base URL and the headers",
    )


def late(request: Request, why: str, waited_s: float | None = None) -> RequestTimeoutError:
    """Nothing came in time. waited_s: how long that was; None: the timeout of the request, within a stream."""
    return RequestTimeoutError(
        f"{_where(request)}: no answer within {request.timeout_s if waited_s is None else waited_s:.1f} s",
        cause=TimeoutError(redact(why)),
        advice="raise request_timeout, or look whether the server is busy",
    )


def crowded(request: Request, connections: int, waited_s: float) -> RequestTimeoutError:
    """No place came free in time."""
    return RequestTimeoutError(
        f"{_where(request)}: not sent within {waited_s:.1f} s, all {connections} connections were in use",
        advice="raise request_timeout or MAX_CONNECTIONS, and close streams that are not read to their end",
    )


def lost(request: Request, why: str, *, stale: bool = False) -> ConnectionLost:
    """No connection, or it broke."""
    why = redact(why)
    return ConnectionLost(
        f"{_where(request)}: {why}",
        stale=stale,
        cause=ConnectionError(why),
        advice="check that the server runs at this address and that proxy and certificates are right",
    )
