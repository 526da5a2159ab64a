"""The gate: who calls, proven by a token, a signature or a bearer key. Keys stay in memory for a minute."""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from qianfan.contract import signing
from qianfan_platform.accounts import keys, tokens
from qianfan_platform.accounts.attempts import Attempts
from qianfan_platform.accounts.keys import AppKeys, SigningKeys
from qianfan_platform.accounts.memory import Memory
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.store import Store, Tx

log = logging.getLogger(__name__)

REMEMBERED_S: Final = 60.0  # how long another process may still accept a key that this one deleted
MAX_BEARER_S: Final = 30 * 24 * 3600
_KEY: Final = re.compile(r"[\x21-\x7e]{1,256}")  # what may be a key at all
_MAX_TOKEN: Final = 4096  # characters
K = TypeVar("K")
V = TypeVar("V")

Reason = Literal[
    "missing", "unknown_client", "wrong_client_secret", "token_invalid", "token_expired", "bearer_invalid",
    "malformed", "unknown", "expired", "mismatch",
]  # fmt: skip


class Denied(Exception):
    """The credentials do not hold. `reason` says why; the text holds no credential."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(message)


@dataclass(frozen=True)
class Caller:
    """Who calls. `app` is the number of the app as text, "" when the call is the account's own."""

    owner: int
    app: str
    kind: Literal["token", "iam", "bearer"]


@dataclass(frozen=True)
class IssuedToken:
    """A fresh access token."""

    text: str = field(repr=False)
    life_s: int


@dataclass(frozen=True)
class IssuedBearer:
    """A fresh bearer token. Times are unix seconds."""

    text: str = field(repr=False)
    user_id: str
    created: int
    expires: int


class Gate:
    """Checks credentials against the store.

    any_key: every key, token or signature that is well formed is the oldest account's. Only for a platform
    that lives on loopback for the time of one command. clock: unix seconds."""

    def __init__(
        self, store: Store, vault: Vault, *, any_key: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._vault = vault
        self._any_key = any_key
        self._clock = clock
        self._apps: Memory[str, AppKeys] = Memory(4096)
        self._app_numbers: Memory[int, AppKeys] = Memory(4096)
        self._signing: Memory[str, SigningKeys] = Memory(4096)
        self._proven: Memory[str, Caller] = Memory(65536)  # tokens and bearer keys that held
        self._told: set[str] = set()
        self._changes = 0
        self.attempts = Attempts()

    def forget(self) -> None:
        """Forget everything that was read: a key was changed or deleted."""
        self._changes += 1
        self._apps.clear()
        self._app_numbers.clear()
        self._signing.clear()
        self._proven.clear()

    def known(self, text: str) -> Caller | None:
        """Whose token or bearer key this is, when it held within the last minute."""
        return self._proven.get(text, self._clock())

    # ── issuing ──────────────────────────────────────────────────────────────────────────────────

    async def issue_token(self, ak: str, sk: str) -> IssuedToken:
        """An access token for an app's keys. Raises Denied(unknown_client | wrong_client_secret)."""
        if self._any_key and _KEY.fullmatch(ak) and _KEY.fullmatch(sk):
            self._tell(ak)
            app = await self._first()
        else:
            found = await self._remembered(
                self._apps, ak, lambda tx: keys.app_by_ak(tx, ak, vault=self._vault)
            )
            if found is None:
                raise Denied("unknown_client", "unknown client id")
            if not hmac.compare_digest(found.sk.encode(), sk.encode()):
                raise Denied("wrong_client_secret", "Client authentication failed")
            app = found
        text = tokens.access_token(self._vault.token_key, app.sk, app.app, self._clock())
        return IssuedToken(text, tokens.LIFE_S)

    async def issue_bearer(self, signed: SigningKeys, life_s: int) -> IssuedBearer:
        """A short-lived bearer token for whoever signed."""
        now = self._clock()
        text = tokens.bearer_token(self._vault.token_key, signed.secret_key, signed.access_key, now, life_s)
        return IssuedBearer(text, signed.user_id, int(now), int(now) + life_s)

    # ── checking ─────────────────────────────────────────────────────────────────────────────────

    async def by_token(self, text: str) -> Caller:
        """Who holds this access token. Raises Denied(token_invalid | token_expired)."""
        now = self._clock()
        known = self._proven.get(text, now)
        if known is not None:
            return known
        if len(text) > _MAX_TOKEN or not text:
            raise Denied("token_invalid", "the access token is empty or too long")
        changes = self._changes
        token = tokens.parse_access(text)
        app = None if token is None else await self._app(token.app)
        if token is None or app is None or not tokens.proves_access(token, self._vault.token_key, app.sk):
            if self._any_key:
                self._tell(text)
                return await self._anyone("token")
            raise Denied("token_invalid", "the access token is not one of this platform")
        if now >= token.expires:
            raise Denied("token_expired", "the access token is past its life")
        return self._prove(text, Caller(app.owner, str(app.app), "token"), token.expires, changes)

    async def by_bearer(self, text: str) -> Caller:
        """Who holds this bearer token or key. Raises Denied(bearer_invalid | token_expired)."""
        now = self._clock()
        known = self._proven.get(text, now)
        if known is not None:
            return known
        if len(text) > _MAX_TOKEN or not text:
            raise Denied("bearer_invalid", "the bearer token is empty or too long")
        changes = self._changes
        token = tokens.parse_bearer(text)
        if token is not None:
            signer = await self.signing_keys(token.access_key)
            if signer is not None and tokens.proves_bearer(token, self._vault.token_key, signer.secret_key):
                if now >= token.expires:
                    raise Denied("token_expired", "the bearer token is past its life")
                return self._prove(text, Caller(signer.owner, "", "bearer"), token.expires, changes)
        async with self._store.reading() as tx:
            owner = await keys.bearer_owner(tx, text)
        if owner is not None:
            return self._prove(text, Caller(owner, "", "bearer"), now + REMEMBERED_S, changes)
        if self._any_key:
            self._tell(text)
            return await self._anyone("bearer")
        raise Denied("bearer_invalid", "the bearer token is not one of this platform")

    async def by_signature(
        self,
        authorization: str,
        *,
        method: str,
        raw_path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
    ) -> Caller:
        """Who signed this request. Raises Denied(malformed | unknown | expired | mismatch)."""
        return (await self._signed(authorization, method, raw_path, query, headers))[0]

    async def signer(
        self,
        authorization: str,
        *,
        method: str,
        raw_path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
    ) -> SigningKeys:
        """The keys that signed this request; with any_key, those of the oldest account. Raises Denied."""
        return (await self._signed(authorization, method, raw_path, query, headers))[1]

    async def signing_keys(self, access_key: str) -> SigningKeys | None:
        """An access key with its secret, from memory when it was read within the last minute."""
        return await self._remembered(
            self._signing, access_key, lambda tx: keys.signing_keys(tx, access_key, vault=self._vault)
        )

    async def _signed(
        self,
        authorization: str,
        method: str,
        raw_path: str,
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
    ) -> tuple[Caller, SigningKeys]:
        try:
            if not authorization.isascii():
                raise signing.SignatureError("malformed", "Authorization holds characters outside ASCII")
            access_key = signing.parse(authorization).access_key
            if not _KEY.fullmatch(access_key):
                raise signing.SignatureError("malformed", "the access key in Authorization is malformed")
            if self._any_key:
                self._tell(access_key)
                app = await self._first()
                known = await self.signing_keys(access_key)
                return Caller(app.owner, "", "iam"), known or SigningKeys(
                    app.owner, "0" * 32, access_key, app.sk
                )
            found = await self.signing_keys(access_key)
            signing.verify(
                authorization,
                lambda _: None if found is None else found.secret_key,
                method=method,
                raw_path=raw_path,
                query=query,
                headers=headers,
                unix=self._clock(),
            )
        except signing.SignatureError as error:
            raise Denied(error.reason, str(error)) from None  # type: ignore[arg-type]
        assert found is not None
        return Caller(found.owner, "", "iam"), found

    # ── remembering ──────────────────────────────────────────────────────────────────────────────

    async def _remembered(
        self, memory: Memory[K, V], key: K, read: Callable[[Tx], Awaitable[V | None]]
    ) -> V | None:
        now = self._clock()
        value = memory.get(key, now)
        if value is None:
            changes = self._changes
            async with self._store.reading() as tx:
                value = await read(tx)
            if value is not None and changes == self._changes:  # else it may be the old one
                memory.put(key, value, now + REMEMBERED_S)
        return value

    def _prove(self, text: str, caller: Caller, expires: float, changes: int) -> Caller:
        if changes == self._changes:
            self._proven.put(text, caller, min(expires, self._clock() + REMEMBERED_S))
        return caller

    async def _app(self, number: int) -> AppKeys | None:
        return await self._remembered(
            self._app_numbers, number, lambda tx: keys.app_by_number(tx, number, vault=self._vault)
        )

    async def _first(self) -> AppKeys:
        app = await self._remembered(self._app_numbers, 0, lambda tx: keys.first_app(tx, vault=self._vault))
        if app is None:
            raise Denied("unknown", "this platform has no account yet")
        return app

    async def _anyone(self, kind: Literal["token", "iam", "bearer"]) -> Caller:
        app = await self._first()
        return Caller(app.owner, str(app.app) if kind == "token" else "", kind)

    def _tell(self, key: str) -> None:
        """Say once for each key that it was let in unchecked; only its beginning is shown."""
        name = keys.key_hash(key)
        if name not in self._told and len(self._told) < 10_000:
            self._told.add(name)
            log.warning(
                "the key %s*** was not checked: this platform takes any key", key[: min(6, len(key) // 3)]
            )
