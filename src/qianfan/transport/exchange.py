"""One call as a conversation: yields `Send` and `Sleep`, never waits, opens or reads by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qianfan.errors import AccessTokenExpiredError, ConnectionLost, QianfanError
from qianfan.utils.logging import TRACE, logger

from .budget import budget_of
from .call import Call, Exchange, Reply, Request, Send, Sleep
from .checks import TokenRejected, checked
from .limits import Limits
from .retry import Retry
from .signers import Signer


def exchange(
    call: Call,
    request: Request,
    signer: Signer,
    limits: Limits,
    retry: Retry,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange[tuple[Request, Reply, dict[str, Any]]]:
    """Yield effects until the call is answered; return what was sent, the reply and its body, or raise.

    The body is empty when the reply is a stream. A refused token is renewed once, a stale connection
    replaced once, both without being counted as attempts."""
    ends_at = clock() + retry.deadline_s
    budget = None
    if retry.attempts > 1:
        budget = budget_of(request.base, retry.budget_share, retry.budget_floor)
        if budget is not None:
            budget.earn()
    attempt, renewed, replaced = 1, False, False
    while True:
        signed, reply = request, None
        try:
            if not limits.are_idle:
                yield from signer.sign(request)  # a token is fetched before a place is taken, not after
                ends_at += yield from limits.wait(request)  # our own queue is not the server's time
            signed = yield from signer.sign(_within(request, ends_at - clock()))
            is_traced = logger.isEnabledFor(TRACE)
            if is_traced:
                logger.log(TRACE, "sending %r %s", signed, signed.body)
            reply = yield Send(signed)
            if is_traced:
                logger.log(TRACE, "received %d for %r: %s", reply.status, signed, reply.body)
            body = checked(call, reply)
            if not limits.are_idle:
                limits.learn(request, reply.headers)
                if not reply.is_stream:
                    yield from limits.settle(request, tokens_used(body))
            return signed, reply, body
        except TokenRejected as rejected:
            yield from limits.settle(request, 0)
            if renewed or not signer.can_renew:
                raise AccessTokenExpiredError(
                    f"the access token is not accepted: {rejected.text}",
                    error_code=rejected.code,
                    error_msg=rejected.text,
                    status_code=reply.status if reply else None,
                    advice=_TOKEN_ADVICE[renewed],
                    advice_zh=_TOKEN_ADVICE_ZH[renewed],
                ) from None
            renewed = True
            logger.info("the access token is not accepted any more; fetching a new one")
            yield from signer.renew(signed)
        except QianfanError as error:
            if reply is not None:
                limits.learn(request, reply.headers, error)
                yield from limits.refused(request, error)
            if isinstance(error, ConnectionLost) and error.stale and not replaced:
                replaced = True
                continue
            if attempt >= retry.attempts or not retry.wants(error):
                raise
            delay = retry.delay_after(error, attempt)
            if clock() + delay >= ends_at:
                raise
            if budget is not None and retry.spends(error) and not budget.spend():
                logger.warning("not tried again, the retry budget of this process is spent: %s", error)
                error.add_note("not tried again: the retry budget (QIANFAN_RETRY_BUDGET) is spent")
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


_TOKEN_ADVICE_ZH = {
    False: "请提供新的 access_token，或设置 ak、sk（QIANFAN_AK、QIANFAN_SK）以便自动获取",
    True: "新获取的 token 也被拒绝；请检查 ak、sk 是否属于 QIANFAN_BASE_URL 所指的服务",
}


def tokens_used(body: dict[str, Any]) -> int | None:
    """`usage.total_tokens` of an answer, where it says so."""
    usage = body.get("usage")
    used = usage.get("total_tokens") if isinstance(usage, dict) else None
    return used if isinstance(used, int) else None


def _within(request: Request, left_s: float) -> Request:
    """The request with its timeout cut to what is left of the deadline; a stream's is between two pieces."""
    if request.stream or request.timeout_s <= left_s + _SLACK_S:
        return request
    return request.within(max(left_s, 0.001))


_SLACK_S = 0.01
