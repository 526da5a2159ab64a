"""The gate: tokens, signatures and bearer keys, on both databases."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from qianfan.contract import signing
from qianfan.contract.errors import Fault
from qianfan_platform.accounts import keys as account_keys
from qianfan_platform.accounts import operations, tokens
from qianfan_platform.accounts.gate import Denied, Gate
from qianfan_platform.accounts.memory import Memory
from qianfan_platform.accounts.tables import AccessKey, App
from qianfan_platform.accounts.vault import Vault

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
PATH = "/wenxinworkshop/service/detail"


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault() -> Vault:
    return Vault(bytes(range(32)))


@pytest.fixture
async def gate(both_stores: Any, vault: Vault, clock: Clock) -> Gate:
    return Gate(both_stores, vault, clock=clock)


@pytest.fixture
async def keys(both_stores: Any, vault: Vault) -> operations.Credentials:
    async with both_stores.transaction() as tx:
        await operations.create_account(tx, "someone else", vault=vault)
        return await operations.create_account(tx, "me", vault=vault)


def signed(keys: operations.Credentials, unix: float, **changed: Any) -> dict[str, Any]:
    """A request as our own client signs it; `changed` replaces a part after the signing."""
    headers = {
        "host": "127.0.0.1:8866",
        "x-bce-date": signing.timestamp(unix),
        "content-type": "application/json",
    }
    authorization = signing.sign(
        keys.access_key, keys.secret_key, method="POST", path=PATH, query={"a": "中 文"}, headers=headers, unix=unix,
    )  # fmt: skip
    request = {"authorization": authorization, "method": "POST", "raw_path": PATH}
    return {**request, "query": [("a", "中 文")], "headers": headers, **changed}


async def ask(gate: Gate, request: dict[str, Any]) -> Any:
    request = dict(request)
    return await gate.by_signature(request.pop("authorization"), **request)


async def test_a_token_opens_the_account_of_its_app(gate: Gate, keys: operations.Credentials) -> None:
    """The text has the documented form and names the app; each account gets in as itself."""
    issued = await gate.issue_token(keys.ak, keys.sk)
    head, proof, life, expires, tail = issued.text.split(".")
    assert (head, len(proof), life, int(expires)) == ("24", 32, "2592000", int(NOW) + 2592000)
    assert tail.startswith("282335-")
    caller = await gate.by_token(issued.text)
    assert (caller.owner, caller.app, caller.kind) == (keys.owner, tail.removeprefix("282335-"), "token")
    assert issued.life_s == 2592000


async def test_wrong_app_keys_are_told_apart(gate: Gate, keys: operations.Credentials) -> None:
    """Published clients read these two texts."""
    with pytest.raises(Denied, match=r"^unknown client id$"):
        await gate.issue_token("nobody", keys.sk)
    with pytest.raises(Denied, match=r"^unknown client id$"):
        await gate.issue_token("", "")
    for wrong in ("", keys.sk + "x", "密"):
        with pytest.raises(Denied, match=r"^Client authentication failed$"):
            await gate.issue_token(keys.ak, wrong)


async def test_a_token_that_was_changed_or_is_old_is_refused(
    gate: Gate, keys: operations.Credentials, clock: Clock
) -> None:
    """Changing any part breaks the proof; past its life the reason is `token_expired`, also when remembered."""
    text = (await gate.issue_token(keys.ak, keys.sk)).text
    await gate.by_token(text)
    parts = text.split(".")
    other = parts[-1].removesuffix("2") + "1"
    changed = [
        "", "x", text[:-1], text + " ", "24." + "0" * 32 + text[35:], text.replace("2592000", "2592001"),
        ".".join([*parts[:3], str(int(parts[3]) + 1), parts[4]]), ".".join([*parts[:4], other]), "x" * 5000,
    ]  # fmt: skip
    for wrong in changed:
        with pytest.raises(Denied) as denied:
            await gate.by_token(wrong)
        assert denied.value.reason == "token_invalid"
    clock.now += 2592000
    with pytest.raises(Denied) as old:
        await gate.by_token(text)
    assert old.value.reason == "token_expired"


async def test_a_hot_call_reads_no_database(
    gate: Gate, keys: operations.Credentials, both_stores: Any
) -> None:
    """What was proven in the last minute needs no store: the closed one is not asked."""
    text = (await gate.issue_token(keys.ak, keys.sk)).text
    await gate.by_token(text)
    await ask(gate, signed(keys, NOW))
    both_stores.reading = None  # any use would raise
    assert (await gate.by_token(text)).owner == keys.owner
    assert (await ask(gate, signed(keys, NOW))).owner == keys.owner


async def test_a_deleted_or_renewed_key_ends_at_once(
    gate: Gate, keys: operations.Credentials, both_stores: Any, vault: Vault
) -> None:
    """Its tokens and signatures are refused after the commit, though they were remembered."""
    text = (await gate.issue_token(keys.ak, keys.sk)).text
    await gate.by_token(text)
    async with both_stores.transaction() as tx:
        app = await tx.maybe(App, App.ak == keys.ak)
        renewed = await account_keys.renew_app_secret(tx, keys.owner, app.id, vault=vault, forget=gate.forget)
    with pytest.raises(Denied):
        await gate.by_token(text)
    with pytest.raises(Denied, match="authentication failed"):
        await gate.issue_token(keys.ak, keys.sk)
    assert (await gate.issue_token(keys.ak, renewed.sk)).text

    await ask(gate, signed(keys, NOW))
    async with both_stores.transaction() as tx:
        row = await tx.maybe(AccessKey, AccessKey.access_key == keys.access_key)
        with pytest.raises(Fault, match="does not exist"):
            await account_keys.delete(tx, keys.owner + 1, row.public_id, forget=gate.forget)
        with pytest.raises(Fault, match="last access key"):
            await account_keys.delete(tx, keys.owner, row.public_id, forget=gate.forget)
        await account_keys.create_access_key(tx, keys.owner, vault=vault)
        await account_keys.delete(tx, keys.owner, row.public_id, forget=gate.forget)
    with pytest.raises(Denied) as gone:
        await ask(gate, signed(keys, NOW))
    assert gone.value.reason == "unknown"


async def test_a_signature_opens_the_account_and_only_for_this_request(
    gate: Gate, keys: operations.Credentials
) -> None:
    """Another method, path, query, header or secret does not match."""
    caller = await ask(gate, signed(keys, NOW))
    assert (caller.owner, caller.app, caller.kind) == (keys.owner, "", "iam")
    headers = signed(keys, NOW)["headers"]
    wrong: list[dict[str, Any]] = [
        {"method": "GET"},
        {"raw_path": PATH + "/"},
        {"raw_path": "/" + PATH},
        {"query": []},
        {"query": [("a", "中 文"), ("b", "")]},
        {"headers": {**headers, "host": "other"}},
        {"headers": {**headers, "content-type": "text/plain"}},
    ]
    for change in wrong:
        with pytest.raises(Denied) as denied:
            await ask(gate, signed(keys, NOW, **change))
        assert denied.value.reason == "mismatch", change


async def test_a_signature_holds_for_its_own_time_only(
    gate: Gate, keys: operations.Credentials, clock: Clock
) -> None:
    """300 seconds after signing, and 300 before for clocks that run ahead."""
    request = signed(keys, NOW)
    for at, holds in ((-301, False), (-300, True), (300, True), (301, False)):
        clock.now = NOW + at
        if holds:
            await ask(gate, request)
        else:
            with pytest.raises(Denied) as denied:
                await ask(gate, request)
            assert denied.value.reason == "expired"


async def test_a_malformed_authorization_is_refused(gate: Gate, keys: operations.Credentials) -> None:
    """No crash, whatever stands there."""
    stamp = "2024-01-02T03:04:05Z"
    for text in (
        "", "x", "bce-auth-v1/a/b", f"bce-auth-v1/a/{stamp}/300/host/é" + "0" * 63, f"bce-auth-v1//{stamp}/300/h/s",
        f"bce-auth-v1/{keys.access_key}/yesterday/300/host/" + "0" * 64, f"bce-auth-v2/a/{stamp}/300/host/" + "0" * 64,
    ):  # fmt: skip
        with pytest.raises(Denied) as denied:
            await ask(gate, signed(keys, NOW, authorization=text))
        assert denied.value.reason == "malformed"


CAPTURED = {
    "Go": (
        "2026-11-21T09:15:30Z", 300, "content-type;host;x-bce-date",
        "988f4f386956bd5f736b55dfc3972dc20fc49fe9a38d99dc17e09c5b7d487af5", "POST",
        "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/ernie-lite-8k-dyn", [], "127.0.0.1:18082", {},
    ),
    "Go, encoded twice": (
        "2026-11-21T09:15:30Z", 300, "content-type;host;x-bce-date",
        "9e836ccc99591497c8db5791acdf185c4312e529df890a3ff9aac68419eaabc1", "POST",
        "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/%E6%88%91%E7%9A%84%20ep", [], "127.0.0.1:18082", {},
    ),
    "Go, bearer token": (
        "2026-11-21T09:15:30Z", 300, "content-type;host;x-bce-date",
        "5b0a76909a74d7ddac137cb5c0a5cf08cf74a97ceb7ea2a8d147cc466bf299fe", "GET",
        "/v1/BCE-BEARER/token", [("expireInSeconds", "3600")], "127.0.0.1:18082", {},
    ),
    "Java": (
        "2026-11-21T09:16:53Z", 1800, "host;x-bce-date",
        "e0212408ed151623398df5afa1d682467215ffd5ee0f7cdbf84289c2dfc7b2eb", "POST",
        "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/ernie-lite-8k", [], "127.0.0.1:18083", {},
    ),
    "JavaScript, encoded path": (
        "2026-11-21T09:11:40Z", 1800, "content-length;content-type;host;x-bce-date",
        "6d21c9777a7c0c639cb88ed03906f5ef8386920b00f64a713e5564356397bf95", "POST",
        "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/%E6%88%91%E7%9A%84%20ep", [], "127.0.0.1:18081",
        {"content-length": "111"},
    ),
    "JavaScript, console": (
        "2026-11-21T09:11:39Z", 1800, "content-length;content-type;host;x-bce-date",
        "eaa979adcb6acd61ac0e430368548a5dd2b95db49d8049cdb18ad42662172f2d", "POST",
        "/wenxinworkshop/service/list", [], "127.0.0.1:18081", {"content-length": "26"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("client", CAPTURED)
async def test_what_published_clients_sent_is_accepted(
    small_store: Any, vault: Vault, clock: Clock, client: str
) -> None:
    """They differ in the port of the signed host, in encoding the path, and in the signed headers."""
    date, life, names, signature, method, raw_path, query, host, more = CAPTURED[client]
    async with small_store.transaction() as tx:
        made = await operations.create_account(tx, "me", vault=vault)
        sealed = vault.seal("secret", "ALTAKx")
        await tx.add(AccessKey(owner_id=made.owner, access_key="ALTAKx", sealed_secret=sealed))
    clock.now = signing_time(date)
    headers = {"host": host, "x-bce-date": date, "content-type": "application/json", "accept": "*/*", **more}
    caller = await Gate(small_store, vault, clock=clock).by_signature(
        f"bce-auth-v1/ALTAKx/{date}/{life}/{names}/{signature}",
        method=method, raw_path=raw_path, query=query, headers=headers,
    )  # fmt: skip
    assert caller.owner == made.owner


def signing_time(text: str) -> float:
    from datetime import UTC, datetime

    return datetime.strptime(text, signing.TIME_FORMAT).replace(tzinfo=UTC).timestamp()


async def test_bearer_tokens_and_keys(
    gate: Gate, keys: operations.Credentials, both_stores: Any, clock: Clock
) -> None:
    """A short token ends with its time, a long-lived key does not; both begin with bce-v3/ALTAK-."""
    request = signed(keys, NOW)
    signer = await gate.signer(request.pop("authorization"), **request)
    issued = await gate.issue_bearer(signer, 60)
    assert issued.text.startswith(f"bce-v3/ALTAK-{keys.access_key.removeprefix('ALTAK')}/")
    assert (issued.created, issued.expires, len(issued.user_id)) == (NOW, NOW + 60, 32)
    assert (await gate.by_bearer(issued.text)).owner == keys.owner
    async with both_stores.transaction() as tx:
        lasting = await account_keys.create_bearer_key(tx, keys.owner, "ci")
    assert (await gate.by_bearer(lasting)).kind == "bearer"
    clock.now += 60
    with pytest.raises(Denied) as old:
        await gate.by_bearer(issued.text)
    assert old.value.reason == "token_expired"
    assert (await gate.by_bearer(lasting)).owner == keys.owner
    for wrong in ("", "x", lasting[:-1], issued.text[:-1] + "0", "bce-v3/ALTAK-x/" + "0" * 50):
        with pytest.raises(Denied):
            await gate.by_bearer(wrong)


async def test_any_key_opens_the_oldest_account_and_is_told_once(
    both_stores: Any,
    vault: Vault,
    clock: Clock,
    keys: operations.Credentials,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever a script sets is taken on `qianfan local`; what is no key at all is still refused."""
    gate = Gate(both_stores, vault, any_key=True, clock=clock)
    foreign = operations.Credentials(9, "foreign-ak-123", "foreign-sk-123", "ALTAKforeign", "foreign-secret")
    text = (await gate.issue_token(foreign.ak, foreign.sk)).text
    first = (await gate.by_token(text)).owner
    assert first < keys.owner
    assert (await gate.by_token("anything")).owner == first
    assert (await gate.by_bearer("bce-v3/ALTAK-anything/else")).owner == first
    for _ in range(3):
        assert (await ask(gate, signed(foreign, NOW))).owner == first
    with pytest.raises(Denied):
        await gate.issue_token("", "")
    with pytest.raises(Denied):
        await gate.by_token("")
    with pytest.raises(Denied):
        await ask(gate, signed(foreign, NOW, authorization="bce-auth-v1/x"))
    assert len([record for record in caplog.records if "ALTA***" in record.getMessage()]) == 1
    for secret in (foreign.sk, foreign.secret_key, "anything", foreign.access_key):
        assert secret not in caplog.text


async def test_no_secret_is_stored_or_printed_in_the_clear(
    keys: operations.Credentials, both_stores: Any, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows hold sealed texts, and reprs leave secrets out."""
    caplog.set_level(logging.DEBUG)
    token = await gate.issue_token(keys.ak, keys.sk)
    async with both_stores.reading() as tx:
        stored = [(row.sealed_sk, row.ak) for row in await tx.find(App)]
        stored += [(row.sealed_secret, row.access_key) for row in await tx.find(AccessKey)]
    shown = f"{stored} {keys!r} {token!r} {tokens.parse_access(token.text)!r} {caplog.text}"
    for secret in (keys.sk, keys.secret_key, token.text):
        assert secret not in shown


def test_the_memory_is_bounded_and_forgets() -> None:
    """The value used longest ago makes room; each ends with its time."""
    memory: Memory[str, int] = Memory(2)
    memory.put("a", 1, 10)
    memory.put("b", 2, 10)
    assert memory.get("a", 0) == 1
    memory.put("c", 3, 10)
    assert [memory.get(key, 9) for key in "abc"] == [1, None, 3]
    assert memory.get("a", 10) is None
