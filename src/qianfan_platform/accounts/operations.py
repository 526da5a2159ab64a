"""What can be done with accounts: make them, set limits, read usage."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select

from qianfan.contract import ids
from qianfan.contract.errors import CONSOLE_ACCESS, CONSOLE_PARAMETER, NAME_TAKEN, Fault
from qianfan.contract.times import zulu
from qianfan_platform.accounts import keys
from qianfan_platform.accounts.limits import NAMES
from qianfan_platform.accounts.tables import Account, App, FaultSwitch, RateLimit, Usage
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


async def create_account(tx: Tx, name: str, *, vault: Vault) -> Credentials:
    """Make an account with one app and one access key. name: 1–64 characters, unique.

    Raises Fault(NAME_TAKEN)."""
    if not 0 < len(name) <= 64:
        raise Fault(CONSOLE_PARAMETER, "the name of an account has 1 to 64 characters")
    if await tx.maybe(Account, Account.name == name) is not None:
        raise Fault(NAME_TAKEN, f"an account named {name} exists")
    account = await tx.add(Account(name=name, user_id=secrets.token_hex(16)))
    app = await keys.create_app(tx, account.id, "default", vault=vault)
    signing = await keys.create_access_key(tx, account.id, vault=vault)
    return Credentials(account.id, app.ak, app.sk, signing.access_key, signing.secret_key)


async def accounts(tx: Tx, owner: int) -> list[dict[str, Any]]:
    """All accounts: [{id, name, userId, createTime}]. Raises Fault(CONSOLE_ACCESS) unless the first one asks."""
    if owner != await first_account(tx):
        raise Fault(CONSOLE_ACCESS, "only the first account may look at other accounts")
    rows = await tx.find(Account, order_by=Account.id)
    return [
        {"id": row.id, "name": row.name, "userId": row.user_id, "createTime": zulu(row.created_at)}
        for row in rows
    ]


async def first_account(tx: Tx) -> int:
    """The account that came with the platform; it looks after the others."""
    return int((await tx.execute(select(func.min(Account.id)))).scalar_one())


async def which_account(tx: Tx, owner: int, spec: Mapping[str, Any]) -> int:
    """The account that a call means: the caller's own, or `accountId`, which only the first account may name.

    Raises Fault(CONSOLE_ACCESS), and CONSOLE_PARAMETER for one that does not exist."""
    ident = spec.get("accountId", owner)
    if str(ident) == str(owner):
        return owner
    if owner != await first_account(tx):
        raise Fault(CONSOLE_ACCESS, "only the first account may look at other accounts")
    number = ids.as_number(ident)
    if number is None or await tx.maybe(Account, Account.id == number) is None:
        raise Fault(CONSOLE_PARAMETER, f"param[accountId] invalid: no account {str(ident)[:60]}")
    return number


async def whose_limits(tx: Tx, owner: int, spec: Mapping[str, Any], *, change: bool) -> tuple[int, str]:
    """(account, app) whose limits a call means; app "" is the account itself.

    Only the first account sets limits of accounts, its own among them; every account sets those of its apps.
    Raises Fault(CONSOLE_ACCESS), and NOT_FOUND for what is not there or not the caller's."""
    account = await which_account(tx, owner, spec)
    if "app" in spec:
        return account, str((await tx.one(App, spec["app"], owner=account)).id)
    if change and owner != await first_account(tx):
        raise Fault(
            CONSOLE_ACCESS, "only the first account sets the limits of an account", "name one of your apps"
        )
    return account, ""


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
    """What an account used, the latest day first; at most 10,000 rows. spec: see contract.accounts."""
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
