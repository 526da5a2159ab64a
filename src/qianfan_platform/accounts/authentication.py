"""Who calls, read from an HTTP request; and what a client is told when its credentials do not hold."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from qianfan.contract.errors import CONSOLE_ACCESS, IAM_FAILED, TOKEN_EXPIRED, TOKEN_INVALID, Fault
from qianfan.contract.routes import Family
from qianfan_platform.accounts.gate import Caller, Denied, Gate
from qianfan_platform.web import Refused
from qianfan_platform.web.exchange import Exchange

_TOKEN: Final = b"access_token="
_PLAIN: Final = re.compile(rb"access_token=([A-Za-z0-9._/-]+)")
# What published clients read, to tell a wrong access key from a wrong secret key
_BCE_MESSAGES: Final = {
    "unknown": "NotFound, cause: Could not find credential.",
    "mismatch": "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
}


def authenticator(
    gate: Gate, faulty: Callable[[int], bool] = lambda owner: False
) -> Callable[[Exchange, Family], Awaitable[Caller]]:
    """`authenticate(exchange, family)` for web: raises Refused in the family's words.

    faulty: whether an account may ask for faults (see web.faults)."""

    async def authenticate(exchange: Exchange, family: Family) -> Caller:
        caller = _known(gate, exchange)
        if caller is None:
            try:
                caller = await _caller(gate, exchange)
            except Denied as denied:
                raise refusal(denied, family) from None
        if exchange.wish is not None and faulty(caller.owner):
            await exchange.wish.begin(exchange, caller.owner)
        return caller

    return authenticate


def _known(gate: Gate, exchange: Exchange) -> Caller | None:
    """Who sent this token, when it held within the last minute."""
    query = exchange.query
    if query:
        token = _access_token(query) if _TOKEN in query else None
        if token:
            return gate.known(token)
    authorization = exchange.fields.get(b"authorization", b"")
    if authorization.startswith(b"Bearer "):
        return gate.known(authorization[7:].decode("latin-1").strip())
    return None


async def _caller(gate: Gate, exchange: Exchange) -> Caller:
    token = _access_token(exchange.query) if _TOKEN in exchange.query else None
    authorization = header_of(exchange, b"authorization")
    if token or (token is not None and not authorization):
        return await _tried(gate, exchange.address, "", gate.by_token, token)
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        text = rest.strip()
        return gate.known(text) or await _tried(gate, exchange.address, "", gate.by_bearer, text)
    if not authorization:
        raise Denied("missing", "the request has no access_token and no Authorization")

    async def by_signature(text: str) -> Caller:
        return await gate.by_signature(text, **signed_parts(exchange))

    return await _tried(gate, exchange.address, signed_by(authorization), by_signature, authorization)


async def _tried(
    gate: Gate, address: str, key: str, check: Callable[[str], Awaitable[Caller]], text: str
) -> Caller:
    """`check(text)`, unless too many attempts failed. Raises Denied, LimitReached."""
    gate.attempts.check(address, key)
    try:
        caller = await check(text)
    except Denied:
        gate.attempts.failed(address, key)
        raise
    gate.attempts.held(address, key)
    return caller


def signed_by(authorization: str) -> str:
    """The access key that an Authorization header names, unproven; "" when it names none."""
    parts = authorization.split("/", 2)
    return parts[1][:64] if len(parts) == 3 else ""


def signed_parts(exchange: Exchange) -> dict[str, Any]:
    """What a signature may cover."""
    return {
        "method": exchange.method,
        "raw_path": exchange.raw_path.decode("utf-8", "replace"),
        "query": parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True),
        "headers": {
            name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in exchange.headers
        },
    }


def header_of(exchange: Exchange, name: bytes) -> str:
    """The text of a header, "" when it is missing."""
    return exchange.fields.get(name, b"").decode("latin-1")


def _access_token(raw: bytes) -> str | None:
    """The last access_token of a query; None when it has none."""
    if plain := _PLAIN.fullmatch(raw):  # alone and with nothing to decode, as all but a few are
        return plain[1].decode("ascii")
    values = [
        value
        for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
        if name == "access_token"
    ]
    return values[-1] if values else None


def refusal(denied: Denied, family: Family) -> Fault:
    """What a client of `family` is told when its credentials do not hold."""
    by_token = denied.reason in ("token_invalid", "token_expired")
    row = TOKEN_EXPIRED if denied.reason == "token_expired" else TOKEN_INVALID
    if family == "openai":
        return Refused(IAM_FAILED, status=401, headers={"WWW-Authenticate": "Bearer"})
    if family == "inference":
        if not by_token and denied.reason != "missing":
            row = IAM_FAILED
        return Refused(row, status=200, body={"error_code": row.code, "error_msg": row.text})
    if by_token and family != "v2" and family != "token":
        return Refused(row, status=200, body={"error_code": row.code, "error_msg": row.text})
    if by_token:
        return Refused(row, status=401, body={"requestId": "", "code": row.v2, "message": row.text})
    message = _BCE_MESSAGES.get(denied.reason, f"AccessDenied, cause: Fail to authn user: {denied}")
    return Refused(
        CONSOLE_ACCESS,
        message,
        status=403,
        headers={"X-Bce-Error-Code": "AccessDenied", "X-Bce-Error-Message": message},
        body={"requestId": "", "code": "AccessDenied", "message": message},
    )
