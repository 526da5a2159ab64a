"""Accounts over HTTP: keys, limits, usage, the switch of faults, and the two endpoints that issue tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from qianfan.contract import accounts as contract
from qianfan.contract import routes
from qianfan.contract.errors import CONSOLE_ACCESS, CONSOLE_PARAMETER, Fault
from qianfan.contract.routes import BEARER_TOKEN, TOKEN
from qianfan_platform.accounts import keys, operations
from qianfan_platform.accounts.authentication import header_of, refusal, signed_by, signed_parts
from qianfan_platform.accounts.gate import MAX_BEARER_S, Denied, Gate
from qianfan_platform.accounts.limits import Limits
from qianfan_platform.web import Call, Router
from qianfan_platform.web.envelopes import Json
from qianfan_platform.web.hot import Exchange, HotRoute, failed

router = Router()
_NO_STORE: Final = {"Cache-Control": "no-store"}
_BODY_LIMIT: Final = 64 * 1024  # bytes of a token request
_WIRE: Final = {
    "requests_per_second": "requestsPerSecond",
    "requests_per_minute": "requestsPerMinute",
    "tokens_per_minute": "tokensPerMinute",
    "requests_per_day": "requestsPerDay",
    "total_tokens": "totalTokens",
}


@router.v2(routes.KEY_CREATE, contract.CreateKey)
async def create_key(call: Call) -> Any:
    """Make a key; its secret is shown in this answer and never again."""
    account, body = await _keeper_of(call), call.body
    return await keys.make(call.tx, account, body["kind"], body.get("name", ""), vault=call.platform.vault)


@router.v2(routes.KEY_LIST, contract.DescribeKeys, write=False)
async def describe_keys(call: Call) -> Any:
    """The keys of the account, without secrets."""
    account = await operations.which_account(call.tx, call.owner, call.body)
    return {"accountId": account, "keys": await keys.keys_of(call.tx, account)}


@router.v2(routes.KEY_DELETE, contract.DeleteKey)
async def delete_key(call: Call) -> Any:
    """Delete a key; what was made with it ends at once."""
    account = await _keeper_of(call)
    await keys.delete(call.tx, account, call.body["id"], forget=call.platform.gate.forget)
    return {"id": call.body["id"]}


@router.v2(routes.KEY_RENEW, contract.RenewKey)
async def renew_key(call: Call) -> Any:
    """Give an app a new secret key."""
    account, platform = await _keeper_of(call), call.platform
    forget = platform.gate.forget
    return await keys.renew(call.tx, account, call.body["id"], vault=platform.vault, forget=forget)


@router.v2(routes.ACCOUNT_CREATE, contract.CreateAccount)
async def create_account(call: Call) -> Any:
    """Make another account, with an app and an access key; for the first account only."""
    await _keeper_of(call)
    if call.owner != await operations.first_account(call.tx):
        raise Fault(CONSOLE_ACCESS, "only the first account makes accounts")
    made = await operations.create_account(call.tx, call.body["name"], vault=call.platform.vault)
    return {
        "id": made.owner,
        "name": call.body["name"],
        "ak": made.ak,
        "sk": made.sk,
        "accessKey": made.access_key,
        "secretKey": made.secret_key,
    }


@router.v2(routes.ACCOUNT_LIST, contract.DescribeAccounts, write=False)
async def describe_accounts(call: Call) -> Any:
    """All accounts; for the first account only."""
    return {"accounts": await operations.accounts(call.tx, call.owner)}


async def _keeper_of(call: Call) -> int:
    """The account whose keys a call may change.

    Raises Fault(CONSOLE_ACCESS) unless the call is signed: a token that leaked must not make lasting keys.
    An Idempotency-Key is refused, since the answer, which has a secret, would be kept for it."""
    if call.kind != "iam":
        raise Fault(
            CONSOLE_ACCESS,
            "keys are changed by signed calls only",
            "call with an access key and its secret key",
        )
    if call.idempotency_key is not None:
        raise Fault(CONSOLE_PARAMETER, "an answer with a secret is not kept", "leave Idempotency-Key out")
    return await operations.which_account(call.tx, call.owner, call.body)


@router.v2(routes.LIMITS_SET, contract.SetLimits)
async def set_limits(call: Call) -> Any:
    """Set how fast an account or an app may go."""
    meter = call.platform.meter
    account, app = await operations.whose_limits(call.tx, call.owner, call.body, change=True)
    given = {name: call.body[wire] for name, wire in _WIRE.items() if wire in call.body}
    reset = call.body.get("reset", False)
    await operations.set_limits(call.tx, account, app, given, reset=reset, read=meter.read)
    return {"accountId": account, "app": app}


@router.v2(routes.LIMITS_DESCRIBE, contract.DescribeLimits, write=False)
async def describe_limits(call: Call) -> Any:
    """How fast an account or an app may go; 0 is no limit."""
    account, app = await operations.whose_limits(call.tx, call.owner, call.body, change=False)
    limits: Limits = call.platform.meter.limits(account, app)
    return {"accountId": account, "app": app, **{wire: getattr(limits, name) for name, wire in _WIRE.items()}}


@router.v2(routes.USAGE_DESCRIBE, contract.DescribeUsage, write=False)
async def describe_usage(call: Call) -> Any:
    """What was used, by app, model, kind and day (UTC), up to this moment."""
    await call.platform.meter.flush()
    rows = await operations.usage(call.tx, call.owner, call.body)
    totals = {
        name: sum(row[name] for row in rows)
        for name in ("requests", "promptTokens", "completionTokens", "totalTokens")
    }
    return {"usage": rows, "total": totals}


@router.v2(routes.FAULTS_SET, contract.SetFaults)
async def set_faults(call: Call) -> Any:
    """Let this account's calls ask for faults with the header X-Qianfan-Fault, or no longer."""
    enabled = call.body["enabled"]
    await operations.set_faults(call.tx, call.owner, enabled, read=call.platform.meter.read)
    return {"enabled": enabled}


def token_routes(gate: Gate) -> list[HotRoute]:
    """The OAuth token endpoint (GET and POST) and the one for bearer tokens; for `build_console(hot=…)`."""

    async def token(exchange: Exchange) -> Json:
        try:
            given = await _token_request(exchange)
            grant = given.get("grant_type", "client_credentials")
            if grant != "client_credentials":
                text = "grant_type must be client_credentials"
                return Json({"error": "unsupported_grant_type", "error_description": text}, 400, _NO_STORE)
            ak, address = given.get("client_id", ""), exchange.address
            gate.attempts.check(address, ak)
            try:
                issued = await gate.issue_token(ak, given.get("client_secret", ""))
            except Denied:
                gate.attempts.failed(address, ak)
                raise
            gate.attempts.held(address, ak)
        except Denied as denied:
            return Json({"error_description": str(denied), "error": "invalid_client"}, 401, _NO_STORE)
        except Exception as error:
            return failed(exchange, "token", error)
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

    async def bearer(exchange: Exchange) -> Json:
        try:
            authorization = header_of(exchange, b"authorization")
            if not authorization:
                raise Denied("missing", "the request has no Authorization")
            life_s = _life(_query(exchange).get("expireInSeconds", "3600"))
            address, key = exchange.address, signed_by(authorization)
            gate.attempts.check(address, key)
            try:
                keys = await gate.signer(authorization, **signed_parts(exchange))
            except Denied:
                gate.attempts.failed(address, key)
                raise
            exchange.owner = keys.owner
            issued = await gate.issue_bearer(keys, life_s)
        except Denied as denied:
            return failed(exchange, "token", refusal(denied, "token"))
        except Exception as error:
            return failed(exchange, "v2", error)
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
        HotRoute(TOKEN.path, token, ("GET", "HEAD", "POST")),
        HotRoute(BEARER_TOKEN.path, bearer, ("GET", "HEAD")),
    ]


async def _token_request(exchange: Exchange) -> dict[str, str]:
    """The parameters: in the query, as all published clients send them, or in a form body, as OAuth says."""
    given = _query(exchange)
    if "client_id" not in given and header_of(exchange, b"content-type").startswith(
        "application/x-www-form-urlencoded"
    ):
        raw = await exchange.read(_BODY_LIMIT)
        given.update(parse_qsl(raw.decode("utf-8", "replace")))
    return given


def _query(exchange: Exchange) -> dict[str, str]:
    return dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))


def _life(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_BEARER_S):
        raise Fault(
            CONSOLE_PARAMETER, f"param[expireInSeconds] invalid: it is a number from 1 to {MAX_BEARER_S}"
        )
    return int(text)


def _moment(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
