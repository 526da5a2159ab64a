"""The texts of tokens. They carry their own proof, so checking one reads no database. Pure.

Access token: `24.<32 hex>.<life s>.<unix expiry>.282335-<app number>`.
Bearer token: `bce-v3/ALTAK-<access key>/<expiry, 10 hex><proof, 40 hex>`.
The proof is keyed by the vault and by the secret of the app or access key: a new secret ends old tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

LIFE_S: Final = 2592000  # 30 days, as clients are told
_ACCESS: Final = re.compile(r"24\.([0-9a-f]{32})\.(\d{1,8})\.(\d{9,11})\.282335-(\d{1,18})")
_BEARER: Final = re.compile(r"bce-v3/ALTAK-([A-Za-z0-9]{1,59})/([0-9a-f]{10})([0-9a-f]{40})")


@dataclass(frozen=True)
class AccessToken:
    """The parts of an access token."""

    app: int
    expires: int  # unix seconds
    life_s: int
    proof: str = field(repr=False)


@dataclass(frozen=True)
class BearerToken:
    """The parts of a short-lived bearer token."""

    access_key: str
    expires: int  # unix seconds
    proof: str = field(repr=False)


def _proof(token_key: bytes, secret: str, words: str) -> str:
    own = hmac.new(token_key, secret.encode(), hashlib.sha256).digest()
    return hmac.new(own, words.encode(), hashlib.sha256).hexdigest()


def access_token(token_key: bytes, secret: str, app: int, unix: float, life_s: int = LIFE_S) -> str:
    """A fresh access token of `app`."""
    expires = int(unix) + life_s
    proof = _proof(token_key, secret, f"access/{app}/{expires}/{life_s}")[:32]
    return f"24.{proof}.{life_s}.{expires}.282335-{app}"


def parse_access(text: str) -> AccessToken | None:
    """The parts, unproven; None when it is no access token of ours."""
    found = _ACCESS.fullmatch(text)
    return found and AccessToken(int(found[4]), int(found[3]), int(found[2]), found[1])


def proves_access(token: AccessToken, token_key: bytes, secret: str) -> bool:
    """Whether the proof holds (constant time)."""
    right = _proof(token_key, secret, f"access/{token.app}/{token.expires}/{token.life_s}")[:32]
    return hmac.compare_digest(right, token.proof)


def bearer_token(token_key: bytes, secret: str, access_key: str, unix: float, life_s: int) -> str:
    """A fresh bearer token of `access_key` (which begins with ALTAK)."""
    expires = int(unix) + life_s
    proof = _proof(token_key, secret, f"bearer/{access_key}/{expires}")[:40]
    return f"bce-v3/ALTAK-{access_key.removeprefix('ALTAK')}/{expires:010x}{proof}"


def parse_bearer(text: str) -> BearerToken | None:
    """The parts, unproven; None for any other text, such as a long-lived key."""
    found = _BEARER.fullmatch(text)
    return found and BearerToken(f"ALTAK{found[1]}", int(found[2], 16), found[3])


def proves_bearer(token: BearerToken, token_key: bytes, secret: str) -> bool:
    """Whether the proof holds (constant time)."""
    right = _proof(token_key, secret, f"bearer/{token.access_key}/{token.expires}")[:40]
    return hmac.compare_digest(right, token.proof)
