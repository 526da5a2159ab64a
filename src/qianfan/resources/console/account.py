"""Accounts and their keys, what was used, how fast they may go, and the switch of faults. Of this platform only."""

from __future__ import annotations

import builtins
from typing import Any, Literal

from qianfan.contract import routes
from qianfan.transport.call import Call

from .utils import console_call


class Account:
    """The account whose keys are used, and its apps. Further keywords go into the body."""

    @console_call
    def usage(
        cls,
        /,
        start: str | None = None,
        end: str | None = None,
        app: int | str | None = None,
        model: str | None = None,
        group: builtins.list[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """What was used: `result.usage`, a row for each day, app, model and kind, and `result.total`.

        start, end: days such as "2026-01-31" (UTC), both included. group: some of day, app, model, kind; rows
        alike in these are added up. A row has requests, failed, cut (the reader left), promptTokens,
        completionTokens and totalTokens."""
        body = {**kwargs, "from": start, "to": end, "app": app, "model": model, "group": group}
        return Call(routes.USAGE_DESCRIBE, {name: value for name, value in body.items() if value is not None})

    @console_call
    def limits(cls, /, app: int | str | None = None, account_id: int | None = None, **kwargs: Any) -> Call:
        """How fast the account, or one of its apps, may go; 0 is no limit.

        account_id: another account, for the first account of the platform only."""
        return Call(routes.LIMITS_DESCRIBE, {**kwargs, **_whose(app, account_id)})

    @console_call
    def set_limits(
        cls,
        /,
        requests_per_second: float | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        total_tokens: int | None = None,
        app: int | str | None = None,
        account_id: int | None = None,
        reset: bool = False,
        **kwargs: Any,
    ) -> Call:
        """Set limits; what is not given stays, 0 is no limit. reset: forget what was set before.

        Every account sets those of its apps; only the first account sets those of accounts."""
        given = {
            "requestsPerSecond": requests_per_second,
            "requestsPerMinute": requests_per_minute,
            "tokensPerMinute": tokens_per_minute,
            "requestsPerDay": requests_per_day,
            "totalTokens": total_tokens,
        }
        body = {name: value for name, value in given.items() if value is not None}
        if reset:
            body["reset"] = True
        return Call(routes.LIMITS_SET, {**kwargs, **_whose(app, account_id), **body})

    @console_call
    def set_faults(cls, /, enabled: bool, **kwargs: Any) -> Call:
        """Whether calls of this account may ask for faults with the header X-Qianfan-Fault."""
        return Call(routes.FAULTS_SET, {**kwargs, "enabled": enabled})

    @console_call
    def create_key(
        cls,
        /,
        kind: Literal["app", "access", "bearer"],
        name: str | None = None,
        account_id: int | None = None,
        **kwargs: Any,
    ) -> Call:
        """Make a key: `result` has id, kind, name, key, createTime and its secret, which is shown only here.

        kind: "app" (key and secretKey for access tokens), "access" (key and secretKey for signatures) or "bearer"
        (key, what OpenAI-shaped clients take). Keys are made, renewed and deleted by signed calls only.
        account_id: another account, for the first account of the platform only; so in all methods of keys."""
        return Call(routes.KEY_CREATE, {**kwargs, **_given(kind=kind, name=name, accountId=account_id)})

    @console_call
    def keys(cls, /, account_id: int | None = None, **kwargs: Any) -> Call:
        """The keys of the account, without secrets: `result.keys`, each with id, kind, name, key and createTime."""
        return Call(routes.KEY_LIST, {**kwargs, **_given(accountId=account_id)})

    @console_call
    def renew_key(cls, /, id: str, account_id: int | None = None, **kwargs: Any) -> Call:
        """Give an app a new secretKey, which is shown only here; the old one and its tokens end at once."""
        return Call(routes.KEY_RENEW, {**kwargs, **_given(id=id, accountId=account_id)})

    @console_call
    def delete_key(cls, /, id: str, account_id: int | None = None, **kwargs: Any) -> Call:
        """Delete a key; what was made with it ends at once. The last access key of an account stays."""
        return Call(routes.KEY_DELETE, {**kwargs, **_given(id=id, accountId=account_id)})

    @console_call
    def create(cls, /, name: str, **kwargs: Any) -> Call:
        """Make another account: `result` has id, name, ak, sk, accessKey and secretKey, shown only here.

        For the first account of the platform. An account sees nothing of another's data, models and services."""
        return Call(routes.ACCOUNT_CREATE, {**kwargs, "name": name})

    @console_call
    def list(cls, /, **kwargs: Any) -> Call:
        """All accounts: `result.accounts`, each with id, name, userId and createTime. For the first account."""
        return Call(routes.ACCOUNT_LIST, {**kwargs})


def _whose(app: int | str | None, account_id: int | None) -> dict[str, Any]:
    return _given(app=app, accountId=account_id)


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
