"""Credentials over HTTP: `authenticate` for every route, and the two endpoints that issue tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Path

from qianfan.contract.errors import (
    CONSOLE_ACCESS,
    CONSOLE_PARAMETER,
    IAM_FAILED,
    TOKEN_EXPIRED,
    TOKEN_INVALID,
    Fault,
)
from qianfan.contract.routes import BEARER_TOKEN, TOKEN, Family
from qianfan_platform.accounts.gate import MAX_BEARER_S, Caller, Denied, Gate
from qianfan_platform.web import Refused, bodies
from qianfan_platform.web.envelopes import Json
from qianfan_platform.web.hot import failed, note

_NO_STORE: Final = {"Cache-Control": "no-store"}
_BODY_LIMIT: Final = 64 * 1024  # bytes of a token request
# What published clients read, to tell a wrong access key from a wrong secret key
_BCE_MESSAGES: Final = {
    "unknown": "NotFound, cause: Could not find credential.",
    "mismatch": "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match",
}


def authenticator(gate: Gate) -> Callable[[Request, Family], Awaitable[Caller]]:
    """`authenticate(request, family)` for web: raises Refused in the family's words."""

    async def authenticate(request: Request, family: Family) -> Caller:
        try:
            return await _caller(gate, request)
        except Denied as denied:
            raise refusal(denied, family) from None

    return authenticate


async def _caller(gate: Gate, request: Request) -> Caller:
    scope = request.scope
    raw_query: bytes = scope.get("query_string", b"")
    authorization = _header(scope, b"authorization")
    if b"access_token=" in raw_query:
        token = _query_value(raw_query, "access_token")
        if token or not authorization:
            return await gate.by_token(token or "")
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return await gate.by_bearer(rest.strip())
    if not authorization:
        raise Denied("missing", "the request has no access_token and no Authorization")
    return await gate.by_signature(authorization, **_signed_parts(request))


def _signed_parts(request: Request) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        text = name.decode("latin-1").lower()
        if text == "host" and text in headers:
            raise Denied("malformed", "the request has two Host headers")
        headers[text] = value.decode("utf-8", "replace")
    raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = parse_qsl(request.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return {
        "method": request.method,
        "raw_path": raw_path.split(b"?", 1)[0].decode("utf-8", "replace"),
        "query": query,
        "headers": headers,
    }


def _header(scope: Any, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return ""


def _query_value(raw: bytes, wanted: str) -> str | None:
    values = [
        value for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if name == wanted
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


def token_routes(gate: Gate) -> list[BaseRoute]:
    """The OAuth token endpoint (GET and POST) and the one for bearer tokens; for `build_console(extra=…)`."""

    async def token(request: Request) -> Response:
        note(request, route=TOKEN.path)
        try:
            given = await _token_request(request)
            grant = given.get("grant_type", "client_credentials")
            if grant != "client_credentials":
                text = "grant_type must be client_credentials"
                return Json({"error": "unsupported_grant_type", "error_description": text}, 400, _NO_STORE)
            issued = await gate.issue_token(given.get("client_id", ""), given.get("client_secret", ""))
        except Denied as denied:
            return Json({"error_description": str(denied), "error": "invalid_client"}, 401, _NO_STORE)
        except Exception as error:
            return failed(request, "token", error)
        return Json(
            {
                "refresh_token": "",  # there is nothing to refresh: ask again with the keys
                "expires_in": issued.life_s,
                "session_key": "",
                "access_token": issued.text,
                "scope": "public brain_all_scope ai_custom_yiyan_com wise_adapt",
                "session_secret": "",
            },
            headers=_NO_STORE,
        )

    async def bearer(request: Request) -> Response:
        note(request, route=BEARER_TOKEN.path)
        try:
            authorization = _header(request.scope, b"authorization")
            if not authorization:
                raise Denied("missing", "the request has no Authorization")
            life_s = _life(request.query_params.get("expireInSeconds", "3600"))
            keys = await gate.signer(authorization, **_signed_parts(request))
            note(request, route=BEARER_TOKEN.path, owner=keys.owner)
            issued = await gate.issue_bearer(keys, life_s)
        except Denied as denied:
            return failed(request, "token", refusal(denied, "token"))
        except Exception as error:
            return failed(request, "v2", error)
        return Json(
            {
                "userId": issued.user_id,
                "token": issued.text,
                "status": "enable",
                "createTime": _moment(issued.created),
                "expireTime": _moment(issued.expires),
            },
            headers=_NO_STORE,
        )

    return [
        Path(TOKEN.path, token, methods=["GET", "POST"]),
        Path(BEARER_TOKEN.path, bearer, methods=["GET"]),
    ]


async def _token_request(request: Request) -> dict[str, str]:
    """The parameters: in the query, as all published clients send them, or in a form body, as OAuth says."""
    given = dict(request.query_params)
    if "client_id" not in given and request.headers.get("content-type", "").startswith(
        "application/x-www-form-urlencoded"
    ):
        raw = await bodies.read(request, limit=_BODY_LIMIT)
        given.update(parse_qsl(raw.decode("utf-8", "replace")))
    return given


def _life(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_BEARER_S):
        raise Fault(
            CONSOLE_PARAMETER, f"param[expireInSeconds] invalid: it is a number from 1 to {MAX_BEARER_S}"
        )
    return int(text)


def _moment(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
