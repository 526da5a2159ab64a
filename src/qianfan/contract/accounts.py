"""Bodies of accounts: keys, limits, usage and the switch of faults. All of this platform only."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from qianfan.contract.bodies import Id

KeyKind = Literal["app", "access", "bearer"]
Name = Annotated[str, Len(1, 64)]


class CreateAccount(TypedDict):
    """CreateAccount: for the first account only."""

    name: Name


class DescribeAccounts(TypedDict):
    pass


class CreateKey(TypedDict):
    """CreateKey: an app (API key and secret key), an access key (for signatures), or a bearer key.

    name: of an app or a bearer key, to tell them apart. accountId: another account, for the first account only."""

    kind: KeyKind
    name: NotRequired[Name]
    accountId: NotRequired[Id]


class DescribeKeys(TypedDict):
    accountId: NotRequired[Id]


class DeleteKey(TypedDict):
    id: Annotated[str, Len(1, 64)]
    accountId: NotRequired[Id]


class RenewKey(DeleteKey):
    """RenewKey: a new secret key for an app; the old one and its tokens end."""


class SetLimits(TypedDict):
    """SetLimits: members that are given replace those before; 0 is no limit.

    app: the id of an app; without it the account's. accountId: another account, for the first account only.
    reset: forget what was set before, so that the server's defaults hold again."""

    app: NotRequired[Id]
    accountId: NotRequired[Id]
    reset: NotRequired[bool]
    requestsPerSecond: NotRequired[Annotated[float, Ge(0), Le(1_000_000)]]
    requestsPerMinute: NotRequired[Annotated[int, Ge(0), Le(10**9)]]
    tokensPerMinute: NotRequired[Annotated[int, Ge(0), Le(10**12)]]
    requestsPerDay: NotRequired[Annotated[int, Ge(0), Le(10**12)]]
    totalTokens: NotRequired[Annotated[int, Ge(0), Le(10**15)]]


class DescribeLimits(TypedDict):
    app: NotRequired[Id]
    accountId: NotRequired[Id]


Day = Annotated[str, Len(10, 10)]  # 2024-01-31, UTC

# DescribeUsage: both days are included; `group` adds up all rows that are alike in these.
DescribeUsage = TypedDict(
    "DescribeUsage",
    {
        "from": NotRequired[Day],
        "to": NotRequired[Day],
        "app": NotRequired[Id],
        "model": NotRequired[str],
        "group": NotRequired[list[Literal["day", "app", "model", "kind"]]],
    },
)


class SetFaults(TypedDict):
    """SetFaults: whether calls of this account may ask for faults with the header X-Qianfan-Fault."""

    enabled: bool
