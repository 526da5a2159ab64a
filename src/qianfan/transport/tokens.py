"""Access tokens, shared by the whole process: one fetch at a time per key pair and server, renewed early."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

from qianfan.contract import signing
from qianfan.contract.routes import BEARER_TOKEN, TOKEN
from qianfan.errors import AuthError, BearerTokenExpiredError, QianfanError
from qianfan.utils.logging import guard, logger, redact

from .call import Call, Exchange, Reply, Request, Send, Sleep
from .checks import TokenRejected, checked

DEFAULT_LIFE_S = 2_592_000.0  # 30 days, when the server does not say
LOOK_AGAIN_S = 0.01  # how often a caller looks whether another one's fetch is done


@dataclass(frozen=True)
class TokenKey:
    """Whose token, of which server. pause_s: a token younger than this is not replaced when it is refused."""

    ak: str
    sk: str = field(repr=False)
    base: str
    timeout_s: float = 5.0
    bearer_life_s: int = 0  # 0: an access token; else the life a bearer token (V2) is asked for
    pause_s: float = 0.0


@dataclass
class _Slot:
    token: str | None = None
    fetched_at: float = float("-inf")  # monotonic seconds
    renew_at: float = 0.0
    expires_at: float = 0.0
    fetching: bool = False
    flights: int = 0  # fetches that have ended
    failure: QianfanError | None = None  # how the last one ended


class TokenStore:
    """Tokens by key. Its lock is held for moments only; waiting is done by the edges."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._slots: dict[TokenKey, _Slot] = {}
        self._refused: set[str] = set()  # tokens given by callers that a server did not accept
        self._lock = Lock()
        self._clock = clock
        self._unix = unix
        self._uniform = uniform

    def token(self, key: TokenKey, refused: str | None = None) -> Exchange[str]:
        """A token that is not `refused`. Fetches when there is none, or when it is time to renew.

        While one caller fetches, the others wait; with a token that is still good they go on with it."""
        slot = self._slot(key)
        while True:
            with self._lock:
                now = self._clock()
                is_young = now < slot.fetched_at + key.pause_s
                is_wanted = slot.token is not None and (slot.token != refused or is_young)
                usable = is_wanted and now < slot.expires_at
                if usable and (now < slot.renew_at or slot.fetching):
                    return str(slot.token)
                mine = not slot.fetching
                if mine:
                    slot.fetching = True
                seen = slot.flights
            if mine:
                return (yield from self._fetch(key, slot, usable))
            while slot.fetching and slot.flights == seen:
                yield Sleep(LOOK_AGAIN_S)
            if slot.flights == seen + 1 and slot.failure is not None:
                raise slot.failure

    def refuse(self, given: str) -> None:
        """Remember that a token given by a caller is not accepted."""
        with self._lock:
            self._refused.add(given)

    def is_refused(self, given: str) -> bool:
        """True when `given` is known to be of no use."""
        return given in self._refused

    def _slot(self, key: TokenKey) -> _Slot:
        with self._lock:
            return self._slots.setdefault(key, _Slot())

    def _fetch(self, key: TokenKey, slot: _Slot, usable: bool) -> Exchange[str]:
        failure: QianfanError | None = None  # stays None when the caller leaves: the next one fetches
        try:
            logger.info("fetching a token for %s", masked(key.ak))
            token, life_s = yield from (_bearer(key, self._unix()) if key.bearer_life_s else _access(key))
            guard(token)
            with self._lock:
                now = self._clock()
                early = min(life_s * 0.1, 3600.0)
                slot.token, slot.fetched_at = token, now
                slot.expires_at = now + life_s
                slot.renew_at = slot.expires_at - early * self._uniform(1.0, 1.5)
            return token
        except QianfanError as error:
            failure = error
            if usable and slot.token is not None:  # it was early: the old one still serves
                slot.renew_at = self._clock() + 30.0
                logger.warning("the token could not be renewed early, the old one is used on: %s", error)
                return slot.token
            raise
        finally:
            with self._lock:
                slot.failure, slot.fetching = failure, False
                slot.flights += 1


def masked(key: str) -> str:
    """A key as it may be shown: its first six characters, of a short one no more than half."""
    return f"{key[: min(6, len(key) // 2)]}***"


def _access(key: TokenKey) -> Exchange[tuple[str, float]]:
    query = (("grant_type", "client_credentials"), ("client_id", key.ak), ("client_secret", key.sk))
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    reply = yield Send(Request("POST", key.base, TOKEN.path, query, headers, b"{}", key.timeout_s))
    body = _body(Call(TOKEN), reply, key)
    if "access_token" not in body:
        text = redact(str(body.get("error_description") or body.get("error") or "the answer has no token"))
        raise AuthError(
            f"no access token for ak {masked(key.ak)}: {text}",
            error_msg=text,
            status_code=reply.status,
            advice=_KEY_ADVICE.get(text, "check ak and sk (QIANFAN_AK, QIANFAN_SK) and QIANFAN_BASE_URL"),
        )
    return str(body["access_token"]), _life(body.get("expires_in"))


_KEY_ADVICE = {
    "unknown client id": "ak is not correct; check QIANFAN_AK",
    "Client authentication failed": "sk is not correct; check QIANFAN_SK",
}


def _bearer(key: TokenKey, unix: float) -> Exchange[tuple[str, float]]:
    query = {"expireInSeconds": str(key.bearer_life_s)}
    headers = {"Content-Type": "application/json"}
    request = Request("GET", key.base, BEARER_TOKEN.path, tuple(query.items()), headers, b"", key.timeout_s)
    stamp = {"x-bce-date": signing.timestamp(unix)}
    authorization = signing.sign(
        key.ak,
        key.sk,
        method="GET",
        path=request.path,
        query=query,
        headers={"host": request.host, "content-type": "application/json", **stamp},
        unix=unix,
    )
    reply = yield Send(request.with_headers({**stamp, "Authorization": authorization}))
    body = _body(Call(BEARER_TOKEN), reply, key)
    if "token" not in body:
        raise BearerTokenExpiredError(
            f"no bearer token for access key {masked(key.ak)}",
            status_code=reply.status,
            advice="check access_key and secret_key (QIANFAN_ACCESS_KEY, QIANFAN_SECRET_KEY)",
        )
    try:
        until = datetime.fromisoformat(str(body["expireTime"]).replace("Z", "+00:00")).timestamp()
        life_s = max(until - unix, 1.0)
    except (KeyError, ValueError):
        life_s = float(key.bearer_life_s)
    return str(body["token"]), life_s


def _body(call: Call, reply: Reply, key: TokenKey) -> dict[str, Any]:
    """The body of a token answer. A refusal that names its reason in `error` is left to the caller."""
    refused = Reply(200, reply.headers, reply.body) if b'"error_description"' in reply.body else reply
    try:
        return checked(call, refused)
    except TokenRejected as rejected:
        raise AuthError(f"no token for {masked(key.ak)}: {rejected.text}", error_code=rejected.code) from None


def _life(value: Any) -> float:
    try:
        return max(float(value), 1.0)
    except (TypeError, ValueError):
        return DEFAULT_LIFE_S
