"""Credentials over HTTP: the texts, codes and headers that published clients read."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from qianfan.contract import routes, signing
from qianfan_platform.accounts import operations
from qianfan_platform.accounts.authentication import authenticator
from qianfan_platform.accounts.gate import Gate
from qianfan_platform.accounts.routes import token_routes
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.web import Call, Router, build_console
from qianfan_platform.web.access import GATHER_S
from qianfan_platform.web.hot import Exchange, HotRoute, Json, Reply

pytestmark = pytest.mark.anyio

TASK = routes.FINETUNE_CREATE_TASK.path
CHAT = f"{routes.INFERENCE_PREFIX}/chat/eb-instant"
TOKEN = "/oauth/2.0/token?"


@dataclass
class Place:
    """A running console, and the keys of its account."""

    client: Any
    keys: operations.Credentials

    async def signed(
        self, path: str, method: str = "POST", secret: str = "", unix: float = 0, **query: str
    ) -> Any:
        headers = {"Host": f"127.0.0.1:{self.client.port}", "Content-Type": "application/json"}
        authorization = signing.sign(
            self.keys.access_key, secret or self.keys.secret_key, method=method, path=path, query=query,
            headers=headers, unix=unix or time.time(),
        )  # fmt: skip
        shown = quote(path) + (f"?{urlencode(query)}" if query else "")
        return await self.client.ask(
            shown, b"{}", method, Authorization=authorization, Host=headers["Host"],
            Content__Type="application/json",
        )  # fmt: skip

    async def token(self) -> str:
        answer = await self.client.ask(TOKEN + self.pair(), {})
        text: str = answer.json["access_token"]
        return text

    def pair(self, **changed: str) -> str:
        given = {"grant_type": "client_credentials", "client_id": self.keys.ak, "client_secret": self.keys.sk}
        return urlencode({**given, **changed})


@pytest.fixture
async def place(small_store: Any, serve: Any) -> AsyncIterator[Place]:
    vault = Vault(bytes(32))
    async with small_store.transaction() as tx:
        keys = await operations.create_account(tx, "me", vault=vault)
    gate = Gate(small_store, vault)
    authenticate = authenticator(gate)
    router = Router()

    async def who(call: Call) -> dict[str, Any]:
        return {"owner": call.owner, "app": call.app}

    for route in (routes.FINETUNE_CREATE_TASK, routes.DATASET_INFO):
        router.v1(route)(who)
    router.v2(routes.FINETUNE_V2_CREATE_JOB)(who)

    async def chat(exchange: Exchange) -> Reply:
        assert exchange.hot is not None
        return Json({"owner": (await authenticate(exchange, exchange.hot.family)).owner})

    hot = [HotRoute(f"{routes.INFERENCE_PREFIX}/chat/{{name}}", chat)]
    hot.append(HotRoute(routes.V2_CHAT.path, chat, family="openai"))
    app = build_console(
        [router],
        store=small_store,
        authenticate=authenticate,
        platform=None,
        hot=[*token_routes(gate), *hot],
    )
    async with serve(app) as client:
        yield Place(client, keys)


async def test_the_token_endpoint_answers_get_and_post_whatever_the_body(place: Place) -> None:
    """Python sends `{}`, Go `null`, JavaScript nothing, Java a GET; a form body works too."""
    for method, body in (("POST", b"{}"), ("POST", b"null"), ("POST", b""), ("POST", b"\xff"), ("GET", b"")):
        answer = await place.client.ask(TOKEN + place.pair(), body, method)
        assert answer.status == 200
        assert answer.json["expires_in"] == 2592000
        assert answer.json.keys() == {
            "access_token", "expires_in", "refresh_token", "session_key", "session_secret", "scope",
        }  # fmt: skip
    form = await place.client.ask(
        "/oauth/2.0/token", place.pair().encode(), Content__Type="application/x-www-form-urlencoded"
    )
    assert (await place.client.ask(f"{CHAT}?access_token={form.json['access_token']}")).json["owner"] == 1


async def test_wrong_app_keys_are_invalid_client(place: Place) -> None:
    """HTTP 401 and the two texts that tell which half is wrong."""
    unknown = await place.client.ask(TOKEN + place.pair(client_id="x"))
    assert unknown.status == 401
    assert unknown.json == {"error": "invalid_client", "error_description": "unknown client id"}
    empty = await place.client.ask(TOKEN + place.pair(client_id=""))
    assert empty.json["error"] == "invalid_client"
    wrong = await place.client.ask(TOKEN + place.pair(client_secret="x"))
    assert wrong.json == {"error": "invalid_client", "error_description": "Client authentication failed"}
    grant = await place.client.ask(TOKEN + place.pair(grant_type="password"))
    assert (grant.status, grant.json["error"]) == (400, "unsupported_grant_type")


async def test_inference_refuses_with_http_200_and_the_exact_texts(place: Place) -> None:
    """110 for a wrong or missing token, 14 for a wrong signature; no other member."""
    invalid = {"error_code": 110, "error_msg": "Access token invalid or no longer valid"}
    for query in ("", "?access_token=", "?access_token=x", "?other=1"):
        answer = await place.client.ask(CHAT + query)
        assert (answer.status, answer.json) == (200, invalid)
    iam = await place.signed(CHAT, secret="wrong")
    assert (iam.status, iam.json) == (200, {"error_code": 14, "error_msg": "IAM Certification failed"})
    assert (await place.signed(CHAT)).json == {"owner": 1}
    assert (await place.client.ask(f"{CHAT}?a=%E4%B8%AD&access_token={await place.token()}")).json == {
        "owner": 1
    }


async def test_the_console_refuses_with_http_403_and_bce_headers(place: Place) -> None:
    """The message header tells a wrong access key from a wrong secret key."""
    wrong = await place.signed(TASK, secret="wrong")
    assert wrong.status == 403
    assert wrong.headers["x-bce-error-code"] == "AccessDenied"
    message = "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match"
    assert wrong.headers["x-bce-error-message"] == message
    request_id = wrong.headers["x-baidu-request-id"]
    assert wrong.json == {"requestId": request_id, "code": "AccessDenied", "message": message}
    unknown = operations.Credentials(1, "", "", "ALTAKnobody", "x")
    answer = await Place(place.client, unknown).signed(TASK)
    assert answer.headers["x-bce-error-message"] == "NotFound, cause: Could not find credential."
    for old in (time.time() - 400, time.time() + 400):
        expired = await place.signed(TASK, unix=old)
        assert expired.status == 403
        assert "not valid now" in expired.headers["x-bce-error-message"]
    missing = await place.client.ask(TASK)
    assert (missing.status, missing.headers["x-bce-error-code"]) == (403, "AccessDenied")


async def test_the_console_takes_signatures_tokens_and_bearer_keys(place: Place) -> None:
    """Signed with query and port; an OAuth token as Go sends it; a wrong token is 110, on V2 HTTP 401."""
    assert (await place.signed(TASK)).json["result"] == {"owner": 1, "app": ""}
    job = await place.signed("/v2/finetuning", Action="CreateFineTuningJob")
    assert job.json["result"]["owner"] == 1
    token = await place.token()
    assert (await place.client.ask(f"{TASK}?access_token={token}", {})).json["result"] == {
        "owner": 1,
        "app": "1",
    }
    wrong = await place.client.ask(f"{TASK}?access_token=x", {})
    assert (wrong.status, wrong.json["error_code"]) == (200, 110)
    wrong = await place.client.ask("/v2/finetuning?Action=CreateFineTuningJob&access_token=x", {})
    assert (wrong.status, wrong.json["code"]) == (401, "invalid_iam_token")


async def test_a_bearer_token_is_issued_to_who_signs_and_opens_v2(place: Place) -> None:
    """The answer has the documented members; the token is good for chat and console."""
    issued = await place.signed("/v1/BCE-BEARER/token", "GET", expireInSeconds="3600")
    assert issued.status == 200
    assert issued.json.keys() == {"userId", "token", "status", "createTime", "expireTime"}
    assert issued.json["status"] == "enable"
    assert issued.json["expireTime"].endswith(".000Z")
    bearer = f"Bearer {issued.json['token']}"
    assert (await place.client.ask(routes.V2_CHAT.path, {}, Authorization=bearer)).json == {"owner": 1}
    job = await place.client.ask("/v2/finetuning?Action=CreateFineTuningJob", {}, Authorization=bearer)
    assert job.json["result"]["owner"] == 1
    refused = await place.client.ask(routes.V2_CHAT.path, {}, Authorization=bearer + "0")
    assert refused.status == 401
    assert refused.json["error"] == {
        "code": "invalid_iam_token", "message": "IAM Certification failed", "type": "invalid_request_error",
    }  # fmt: skip
    assert refused.json["id"].startswith("as-")
    unsigned = await place.client.ask("/v1/BCE-BEARER/token", method="GET")
    assert unsigned.status == 403
    for life in ("0", "x", "99999999", "-1"):
        answer = await place.signed("/v1/BCE-BEARER/token", "GET", expireInSeconds=life)
        assert (answer.status, answer.json["code"]) == (400, "InappropriateJSON")


async def test_no_credential_reaches_a_log_or_an_error(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Right and wrong ones alike: neither keys, nor tokens, nor signatures."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("qianfan_platform.access").setLevel(logging.DEBUG)
    token = await place.token()
    canary = "canary-2b9d7c15"
    raws = [
        (await place.client.ask(f"{CHAT}?access_token={token}")).raw,
        (await place.client.ask(f"{CHAT}?access_token={canary}")).raw,
        (await place.client.ask(TOKEN + place.pair(client_secret=canary))).raw,
        (await place.client.ask(routes.V2_CHAT.path, {}, Authorization=f"Bearer {canary}")).raw,
        (
            await place.client.ask(TASK, {"ak": canary, "sk": canary}, Authorization=f"bce-auth-v1/{canary}")
        ).raw,
        (await place.signed(TASK, secret=canary)).raw,
    ]
    await asyncio.sleep(GATHER_S + 0.1)
    assert "qianfan_platform.access" in caplog.text
    shown = caplog.text + repr(raws)
    for secret in (token, canary, place.keys.sk, place.keys.secret_key):
        assert secret not in shown
