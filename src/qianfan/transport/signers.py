"""How a request says who sends it: an access token, an IAM signature, or a bearer token."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from qianfan.contract import signing

from .call import Exchange, Request
from .tokens import TokenKey, TokenStore, masked


class Signer(Protocol):
    """Adds who we are to a request. Both may ask the edge to send and to sleep."""

    can_renew: bool

    def sign(self, request: Request) -> Exchange[Request]:
        """The request as it goes out."""
        ...

    def renew(self, refused: Request) -> Exchange[None]:
        """Replace what was refused in `refused`, the request as it went out."""
        ...


class NoSigner:
    """Sends no credentials: for servers that want none, or get them from a proxy."""

    can_renew = False

    def sign(self, request: Request) -> Exchange[Request]:
        yield from ()
        return request

    def renew(self, refused: Request) -> Exchange[None]:
        yield from ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CodeSigner(NoSigner):
    """`Authorization: ACCESSCODE …`, as private deployments take it."""

    def __init__(self, access_code: str) -> None:
        self._access_code = access_code

    def sign(self, request: Request) -> Exchange[Request]:
        yield from ()
        return request.with_headers({"Authorization": f"ACCESSCODE {self._access_code}"})


class IamSigner(NoSigner):
    """BCE signature over method, path, query and four headers; the body is not signed.

    host: the one to sign, where a proxy on the way changes the real one."""

    signed_headers = frozenset({"content-type", "request-source"})

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        expiry_s: int = 300,
        unix: Callable[[], float] = time.time,
        host: str | None = None,
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._expiry_s = expiry_s
        self._unix = unix
        self._host = host
        self._made: tuple[str, dict[tuple[Any, ...], str]] = (
            "",
            {},
        )  # of one second: what is signed is the same

    def sign(self, request: Request) -> Exchange[Request]:
        yield from ()
        unix = self._unix()
        date = signing.timestamp(unix)
        headers = {"host": self._host or request.host, "x-bce-date": date}
        for name, value in request.headers.items():
            lower = name.lower()
            if lower in self.signed_headers:
                headers[lower] = value
        of_second, made = self._made
        if of_second != date:
            made = {}
            self._made = date, made
        key = (request.method, request.path, request.query, *headers.items())
        authorization = made.get(key)
        if authorization is None:
            authorization = made[key] = signing.sign(
                self._access_key,
                self._secret_key,
                method=request.method,
                path=request.path,
                query=dict(request.query),
                headers=headers,
                unix=unix,
                expiry_s=self._expiry_s,
            )
        return request.with_headers({"x-bce-date": date, "Authorization": authorization})

    def __repr__(self) -> str:
        return f"IamSigner({masked(self._access_key)})"


class TokenSigner:
    """`access_token` in the query: a given one first, else one fetched with the keys and shared by all."""

    def __init__(self, store: TokenStore, key: TokenKey | None, given: str | None = None) -> None:
        self._store = store
        self._key = key
        self._given = given
        self.can_renew = key is not None

    def token(self, refused: str | None = None) -> Exchange[str]:
        """The token to send next; another one than `refused`."""
        if self._given is not None and (self._key is None or not self._store.is_refused(self._given)):
            return self._given
        if self._key is None:
            return ""
        return (yield from self._store.token(self._key, refused))

    def sign(self, request: Request) -> Exchange[Request]:
        return request.with_query("access_token", (yield from self.token()))

    def renew(self, refused: Request) -> Exchange[None]:
        yield from self.replace(dict(refused.query).get("access_token"))

    def replace(self, refused: str | None) -> Exchange[None]:
        """Forget a token that was refused, and fetch another one."""
        if refused is not None and refused == self._given:
            self._store.refuse(refused)
        yield from self.token(refused)

    def __repr__(self) -> str:
        return f"TokenSigner({masked(self._key.ak) if self._key else 'given token'})"


class BearerSigner:
    """`Authorization: Bearer …`: a given token, else one fetched with the IAM keys."""

    def __init__(self, store: TokenStore, key: TokenKey | None, given: str | None = None) -> None:
        self._tokens = TokenSigner(store, key, given.removeprefix("Bearer ").strip() if given else None)
        self.can_renew = self._tokens.can_renew

    def sign(self, request: Request) -> Exchange[Request]:
        token = yield from self._tokens.token()
        return request.with_headers({"Authorization": f"Bearer {token}"})

    def renew(self, refused: Request) -> Exchange[None]:
        yield from self._tokens.replace(refused.headers.get("Authorization", "").removeprefix("Bearer "))

    def __repr__(self) -> str:
        return "BearerSigner()"
