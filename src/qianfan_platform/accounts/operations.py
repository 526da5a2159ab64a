"""What can be done with accounts and keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select

from qianfan.contract.errors import CONSOLE_ACCESS, CONSOLE_PARAMETER, NAME_TAKEN, Fault
from qianfan.contract.ids import random_word
from qianfan_platform.accounts.limits import NAMES
from qianfan_platform.accounts.tables import (
    AccessKey,
    Account,
    App,
    BearerKey,
    FaultSwitch,
    RateLimit,
    Usage,
)
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.store import Tx

MOST_USAGE_ROWS: Final = 10_000


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


async def whose_limits(tx: Tx, owner: int, spec: Mapping[str, Any], *, change: bool) -> tuple[int, str]:
    """(account, app) whose limits a call means; app "" is the account itself.

    Only the first account sets limits of accounts, its own among them; every account sets those of its apps.
    Raises Fault(CONSOLE_ACCESS), and NOT_FOUND for what is not there or not the caller's."""
    first = (await tx.execute(select(func.min(Account.id)))).scalar_one()
    account = owner
    if "accountId" in spec and str(spec["accountId"]) != str(owner):
        if owner != first:
            raise Fault(CONSOLE_ACCESS, "only the first account may look at other accounts")
        found = (
            await tx.maybe(Account, Account.id == spec["accountId"]) if _number(spec["accountId"]) else None
        )
        if found is None:
            raise Fault(CONSOLE_PARAMETER, f"param[accountId] invalid: no account {spec['accountId']}")
        account = found.id
    if "app" in spec:
        return account, str((await tx.one(App, spec["app"], owner=account)).id)
    if change and owner != first:
        raise Fault(
            CONSOLE_ACCESS, "only the first account sets the limits of an account", "name one of your apps"
        )
    return account, ""


def _number(value: object) -> bool:
    return isinstance(value, int)


async def set_limits(
    tx: Tx,
    account: int,
    app: str,
    limits: Mapping[str, float | None],
    *,
    reset: bool,
    read: Callable[[], Any],
) -> None:
    """Set some limits of an account or app. limits: by the names of `Limits`. read: the meter's, after the commit."""
    row = await tx.maybe(RateLimit, RateLimit.owner_id == account, RateLimit.app == app)
    if row is not None and reset:
        await tx.delete(row)
        row = None
    if row is None:
        row = await tx.add(RateLimit(owner_id=account, app=app))
    for name in NAMES & limits.keys():
        setattr(row, name, limits[name])
    await tx.session.flush()
    tx.after_commit(read)


async def set_faults(tx: Tx, owner: int, enabled: bool, *, read: Callable[[], Any]) -> None:
    """Let an account's calls ask for faults, or no longer. read: the meter's, called after the commit."""
    row = await tx.maybe(FaultSwitch, FaultSwitch.owner_id == owner)
    if row is None:
        row = await tx.add(FaultSwitch(owner_id=owner, enabled=enabled))
    row.enabled = enabled
    await tx.session.flush()
    tx.after_commit(read)


async def account_name(tx: Tx, owner: int) -> str:
    """The name of an account; "" when there is none."""
    row = await tx.maybe(Account, Account.id == owner)
    return "" if row is None else row.name


async def apps(tx: Tx, owner: int) -> list[dict[str, Any]]:
    """The account's apps: [{id, name, ak, sk, apiIds}], without any secret."""
    rows = await tx.find(App, owner=owner, order_by=App.id)
    return [{"id": row.id, "name": row.name, "ak": row.ak, "sk": "", "apiIds": ""} for row in rows]


async def usage_of_services(
    tx: Tx, owner: int, first_day: str, last_day: str, models: Sequence[str], app: str | None = None
) -> list[dict[str, Any]]:
    """What was used between two days, both included, by name and app: [{model, app, requests, failed, promptTokens,
    completionTokens}]. app: "" is the account itself; None takes all."""
    where = [Usage.owner_id == owner, Usage.day >= first_day, Usage.day <= last_day, Usage.model.in_(models)]
    if app is not None:
        where.append(Usage.app == app)
    counts = {
        "requests": Usage.requests,
        "failed": Usage.failed,
        "promptTokens": Usage.prompt_tokens,
        "completionTokens": Usage.completion_tokens,
    }
    query = select(Usage.model, Usage.app, *(func.sum(column).label(name) for name, column in counts.items()))
    rows = (await tx.execute(query.where(*where).group_by(Usage.model, Usage.app))).all()
    return [
        {"model": row.model, "app": row.app, **{name: int(getattr(row, name)) for name in counts}}
        for row in rows
    ]


async def usage(tx: Tx, owner: int, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an account used, the latest day first; at most 10,000 rows. spec: see bodies.DescribeUsage."""
    groups = {"day": Usage.day, "app": Usage.app, "model": Usage.model, "kind": Usage.kind}
    chosen = [groups[name] for name in groups if name in (spec.get("group") or groups)]
    where = [Usage.owner_id == owner]
    if "from" in spec:
        where.append(Usage.day >= _day(spec, "from"))
    if "to" in spec:
        where.append(Usage.day <= _day(spec, "to"))
    if "app" in spec:
        where.append(
            Usage.app == str((await tx.one(App, spec["app"], owner=owner)).id if spec["app"] else "")
        )
    if "model" in spec:
        where.append(Usage.model == spec["model"])
    counts = {
        "requests": Usage.requests,
        "failed": Usage.failed,
        "cut": Usage.cut,
        "promptTokens": Usage.prompt_tokens,
        "completionTokens": Usage.completion_tokens,
        "totalTokens": Usage.prompt_tokens + Usage.completion_tokens,
    }
    query = select(*chosen, *(func.sum(column).label(name) for name, column in counts.items()))
    order: Sequence[Any] = [column.desc() if column is Usage.day else column for column in chosen]
    query = query.where(*where).group_by(*chosen).order_by(*order).limit(MOST_USAGE_ROWS)
    rows = (await tx.execute(query)).mappings().all()
    return [{name: int(row[name]) if name in counts else row[name] for name in row} for row in rows]


def _day(spec: Mapping[str, Any], name: str) -> str:
    try:
        return date.fromisoformat(spec[name]).isoformat()
    except ValueError:
        raise Fault(CONSOLE_PARAMETER, f"param[{name}] invalid: it is a day such as 2024-01-31") from None
