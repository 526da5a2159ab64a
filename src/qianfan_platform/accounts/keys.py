"""Keys of an account: apps (API key and secret key), access keys (for signatures), and bearer keys.

A secret is shown once, when it is made. Whoever changes or deletes keys gives `forget`, which clears what the gate
remembers, after the commit; other servers on the same database forget within a minute."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select

from qianfan.contract.errors import CONSOLE_PARAMETER, NOT_FOUND, Fault
from qianfan.contract.ids import random_word
from qianfan.contract.times import zulu
from qianfan_platform.accounts.tables import AccessKey, Account, App, BearerKey
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.store import Tx

KINDS: Final[dict[str, type[App] | type[AccessKey] | type[BearerKey]]] = {
    "app": App,
    "access": AccessKey,
    "bearer": BearerKey,
}
MOST_KEYS: Final = 1000  # of one kind, of one account


@dataclass(frozen=True)
class AppKeys:
    """An app and its open secret."""

    app: int
    owner: int
    ak: str
    sk: str = field(repr=False)


@dataclass(frozen=True)
class SigningKeys:
    """An access key and its open secret. `user_id` is the account's, 32 hex."""

    owner: int
    user_id: str
    access_key: str
    secret_key: str = field(repr=False)


async def create_app(tx: Tx, owner: int, name: str, *, vault: Vault) -> AppKeys:
    """Make an app with fresh keys: 24 and 32 characters."""
    ak, sk = random_word(24), random_word(32)
    row = await tx.add(App(owner_id=owner, name=name, ak=ak, sealed_sk=vault.seal(sk, ak)))
    return AppKeys(row.id, owner, ak, sk)


async def create_access_key(tx: Tx, owner: int, *, vault: Vault) -> SigningKeys:
    """Make an access key (ALTAK and 20 characters) with its secret (32 hex)."""
    access_key, secret_key = f"ALTAK{random_word(20)}", secrets.token_hex(16)
    account = (await tx.execute(select(Account).where(Account.id == owner))).scalar_one()
    await tx.add(
        AccessKey(owner_id=owner, access_key=access_key, sealed_secret=vault.seal(secret_key, access_key))
    )
    return SigningKeys(owner, account.user_id, access_key, secret_key)


async def create_bearer_key(tx: Tx, owner: int, name: str) -> str:
    """Make a long-lived bearer key and return it; it cannot be read again."""
    key = f"bce-v3/ALTAK-{random_word(21)}/{secrets.token_hex(20)}"
    await tx.add(BearerKey(owner_id=owner, name=name, key_hash=key_hash(key)))
    return key


def key_hash(key: str) -> str:
    """How a bearer key is kept. It is random, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


async def make(tx: Tx, owner: int, kind: str, name: str, *, vault: Vault) -> dict[str, Any]:
    """Make a key and show it with its secret, once. kind: app, access or bearer; name: for an app or a bearer key.

    Raises Fault(CONSOLE_PARAMETER) when the account has a thousand of this kind."""
    table = KINDS[kind]
    if await tx.count(table, owner=owner) >= MOST_KEYS:
        raise Fault(CONSOLE_PARAMETER, f"the account has {MOST_KEYS} {kind} keys", "delete those not in use")
    if kind == "app":
        app = await create_app(tx, owner, name, vault=vault)
        return {**_shown(await tx.one(App, app.app, owner=owner)), "secretKey": app.sk}
    if kind == "access":
        signing = await create_access_key(tx, owner, vault=vault)
        made = await tx.maybe(AccessKey, AccessKey.access_key == signing.access_key)
        assert made is not None
        return {**_shown(made), "secretKey": signing.secret_key}
    key = await create_bearer_key(tx, owner, name)
    row = await tx.maybe(BearerKey, BearerKey.key_hash == key_hash(key))
    assert row is not None
    return {**_shown(row), "key": key}


async def keys_of(tx: Tx, owner: int) -> list[dict[str, Any]]:
    """The account's keys, without any secret: [{id, kind, name, key, createTime}]. key: the public half, "" of bearer keys."""
    return [
        _shown(row) for table in KINDS.values() for row in await tx.find(table, owner=owner, limit=MOST_KEYS)
    ]


def _shown(row: App | AccessKey | BearerKey) -> dict[str, Any]:
    kind, name, key = "bearer", "", ""
    if isinstance(row, App):
        kind, name, key = "app", row.name, row.ak
    elif isinstance(row, AccessKey):
        kind, key = "access", row.access_key
    else:
        name = row.name
    return {"id": row.public_id, "kind": kind, "name": name, "key": key, "createTime": zulu(row.created_at)}


async def delete(tx: Tx, owner: int, ident: str, *, forget: Callable[[], None]) -> None:
    """Delete a key; what was made with it (access tokens, bearer tokens) ends at once.

    Raises Fault: NOT_FOUND; CONSOLE_PARAMETER for the last access key, without which no other could be made."""
    table = _table_of(ident)
    row = await tx.one(table, ident, owner=owner, noun="key")
    if table is AccessKey and await tx.count(AccessKey, owner=owner) == 1:
        raise Fault(CONSOLE_PARAMETER, "this is the last access key of the account", "make another one first")
    await tx.delete(row)
    tx.after_commit(forget)


def _table_of(ident: str) -> type[App] | type[AccessKey] | type[BearerKey]:
    for table in KINDS.values():
        if ident.startswith(f"{table.PREFIX}-"):
            return table
    raise Fault(NOT_FOUND, f"key {ident[:60]} does not exist", "the ids of keys begin with app-, ak- or bk-")


async def renew(
    tx: Tx, owner: int, ident: str, *, vault: Vault, forget: Callable[[], None]
) -> dict[str, Any]:
    """Give an app a new secret key, shown once; the old one and all its tokens end.

    Raises Fault(CONSOLE_PARAMETER) for other kinds: those are made anew."""
    if _table_of(ident) is not App:
        raise Fault(
            CONSOLE_PARAMETER, f"key {ident[:60]} is no app", "make another key, then delete this one"
        )
    app = await renew_app_secret(tx, owner, ident, vault=vault, forget=forget)
    return {**_shown(await tx.one(App, app.app, owner=owner)), "secretKey": app.sk}


async def renew_app_secret(
    tx: Tx, owner: int, ident: object, *, vault: Vault, forget: Callable[[], None]
) -> AppKeys:
    """Give an app a new secret key; the old one and all its tokens end."""
    row = await tx.one(App, ident, owner=owner)
    sk = random_word(32)
    row.sealed_sk = vault.seal(sk, row.ak)
    await tx.session.flush()
    tx.after_commit(forget)
    return AppKeys(row.id, owner, row.ak, sk)


async def first_app(tx: Tx, *, vault: Vault) -> AppKeys | None:
    """The oldest app of the oldest account; None on an empty database."""
    rows = await tx.find(App, order_by=(App.owner_id, App.id), limit=1)
    return _app_keys(rows[0], vault) if rows else None


async def app_by_ak(tx: Tx, ak: str, *, vault: Vault) -> AppKeys | None:
    """The app with this API key, its secret opened."""
    row = await tx.maybe(App, App.ak == ak)
    return None if row is None else _app_keys(row, vault)


async def app_by_number(tx: Tx, number: int, *, vault: Vault) -> AppKeys | None:
    """The app with this number, its secret opened."""
    row = await tx.maybe(App, App.id == number)
    return None if row is None else _app_keys(row, vault)


def _app_keys(row: App, vault: Vault) -> AppKeys:
    return AppKeys(row.id, row.owner_id, row.ak, vault.unseal(row.sealed_sk, row.ak))


async def signing_keys(tx: Tx, access_key: str, *, vault: Vault) -> SigningKeys | None:
    """The secret of an access key."""
    row = await tx.maybe(AccessKey, AccessKey.access_key == access_key)
    if row is None:
        return None
    account = (await tx.execute(select(Account).where(Account.id == row.owner_id))).scalar_one()
    secret = vault.unseal(row.sealed_secret, access_key)
    return SigningKeys(row.owner_id, account.user_id, access_key, secret)


async def bearer_owner(tx: Tx, key: str) -> int | None:
    """The account of a long-lived bearer key."""
    row = await tx.maybe(BearerKey, BearerKey.key_hash == key_hash(key))
    return None if row is None else row.owner_id


async def apps(tx: Tx, owner: int) -> list[dict[str, Any]]:
    """The account's apps: [{id, name, ak, sk, apiIds}], without any secret."""
    rows = await tx.find(App, owner=owner, order_by=App.id)
    return [{"id": row.id, "name": row.name, "ak": row.ak, "sk": "", "apiIds": ""} for row in rows]
