"""What can be done with accounts and keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select

from qianfan.contract.errors import CONSOLE_PARAMETER, NAME_TAKEN, Fault
from qianfan.contract.ids import random_word
from qianfan_platform.accounts.tables import AccessKey, Account, App, BearerKey
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.store import Tx


@dataclass(frozen=True)
class Credentials:
    """The keys of a new account; shown once. The secrets stay out of its repr."""

    owner: int
    ak: str
    sk: str = field(repr=False)
    access_key: str
    secret_key: str = field(repr=False)


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


async def create_account(tx: Tx, name: str, *, vault: Vault) -> Credentials:
    """Make an account with one app and one access key. name: 1–64 characters, unique.

    Raises Fault(NAME_TAKEN)."""
    if not 0 < len(name) <= 64:
        raise Fault(CONSOLE_PARAMETER, "the name of an account has 1 to 64 characters")
    if await tx.maybe(Account, Account.name == name) is not None:
        raise Fault(NAME_TAKEN, f"an account named {name} exists")
    account = await tx.add(Account(name=name, user_id=secrets.token_hex(16)))
    app = await create_app(tx, account.id, "default", vault=vault)
    keys = await create_access_key(tx, account.id, vault=vault)
    return Credentials(account.id, app.ak, app.sk, keys.access_key, keys.secret_key)


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


async def delete_app(tx: Tx, owner: int, ident: object, *, forget: Callable[[], None]) -> None:
    """Delete an app; its tokens end. forget: clears the gate's memory, after the commit."""
    await tx.delete(await tx.one(App, ident, owner=owner))
    tx.after_commit(forget)


async def delete_access_key(tx: Tx, owner: int, ident: object, *, forget: Callable[[], None]) -> None:
    """Delete an access key; its signatures and bearer tokens end."""
    await tx.delete(await tx.one(AccessKey, ident, owner=owner))
    tx.after_commit(forget)


async def delete_bearer_key(tx: Tx, owner: int, ident: object, *, forget: Callable[[], None]) -> None:
    """Delete a long-lived bearer key."""
    await tx.delete(await tx.one(BearerKey, ident, owner=owner))
    tx.after_commit(forget)


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
