"""What an account used, how fast it may go, and the switch of faults. Of this platform only."""

from __future__ import annotations

import builtins
from typing import Any

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


def _whose(app: int | str | None, account_id: int | None) -> dict[str, Any]:
    body = {"app": app, "accountId": account_id}
    return {name: value for name, value in body.items() if value is not None}
