"""One call as a conversation: yields `Send` and `Sleep`, never waits, opens or reads by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qianfan.errors import AccessTokenExpiredError, ConnectionLost, QianfanError
from qianfan.utils.logging import log_trace, logger

from .call import Call, Exchange, Reply, Request, Send, Sleep
from .checks import TokenRejected, checked
from .limiter import Limiter
from .retry import Retry
from .signers import Signer


def exchange(
    call: Call,
    request: Request,
    signer: Signer,
    limiter: Limiter,
    retry: Retry,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange[tuple[Request, Reply, dict[str, Any]]]:
    """Yield effects until the call is answered; return what was sent, the reply and its body, or raise.

    The body is empty when the reply is a stream. A refused token is renewed once, a stale connection
    replaced once, both without being counted as attempts."""
    ends_at = clock() + retry.deadline_s
    attempt, renewed, replaced = 1, False, False
    signed = request
    while True:
        try:
            if wait := limiter.reserve():
                yield Sleep(wait)
                ends_at += wait  # standing in our own queue is not the server's time
            signed = yield from signer.sign(_within(request, ends_at - clock()))
            log_trace("sending %r %s", signed, signed.body)
            reply: Reply = yield Send(signed)
            log_trace("received %d for %r: %s", reply.status, signed, reply.body)
            return signed, reply, checked(call, reply)
        except TokenRejected as rejected:
            if renewed or not signer.can_renew:
                raise AccessTokenExpiredError(
                    f"the access token is not accepted: {rejected.text}",
                    error_code=rejected.code,
                    error_msg=rejected.text,
                    advice=_TOKEN_ADVICE[renewed],
                ) from None
            renewed = True
            logger.info("the access token is not accepted any more; fetching a new one")
            yield from signer.renew(signed)
        except QianfanError as error:
            if isinstance(error, ConnectionLost) and error.stale and not replaced:
                replaced = True
                continue
            if attempt >= retry.attempts or not retry.wants(error):
                raise
            delay = retry.delay_after(error, attempt)
            if clock() + delay >= ends_at:
                raise
            logger.warning(
                "attempt %d of %d failed, next in %.1f s: %s", attempt, retry.attempts, delay, error
            )
            yield Sleep(delay)
            attempt += 1


_TOKEN_ADVICE = {
    False: "give a fresh access_token, or set ak and sk so that one is fetched (QIANFAN_AK, QIANFAN_SK)",
    True: "a fresh token was refused too; check that ak and sk belong to the server of QIANFAN_BASE_URL",
}


def _within(request: Request, left_s: float) -> Request:
    """The request with its timeout cut to what is left of the deadline; a stream's is between two pieces."""
    if request.stream or request.timeout_s <= left_s:
        return request
    return replace(request, timeout_s=max(left_s, 0.001))
