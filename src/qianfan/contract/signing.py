"""BCE signature, version 1: signing for the client, verifying for the platform. Pure; the body is not signed.

`sign` follows the published clients byte for byte. `verify` accepts what every one of them sends: they
disagree about the port in `host`, about encoding the path, and about the order of the signed names.
"""

from __future__ import annotations

import hmac
import re
import time
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

VERSION: Final = "bce-auth-v1"
DATE: Final = "x-bce-date"
TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
DEFAULT_EXPIRY_S: Final = 300
LONGEST_S: Final = (
    1800  # a signature is of no use after this, whatever life it claims; clients use 300 to 1800
)
LONGEST_KEPT: Final = 256  # characters of what is remembered: a hostile client may send long ones
CLOCK_SKEW_S: Final = 300  # how far a client's clock may run ahead of ours


class SignatureError(Exception):
    """A signature that does not hold. `reason` is one of `malformed`, `unknown`, `expired`, `mismatch`."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True)
class Authorization:
    """The parts of an `Authorization` header."""

    access_key: str
    timestamp: str
    expiry_s: int
    signed_headers: tuple[str, ...]
    signature: str


def timestamp(unix: float) -> str:
    """UTC time in whole seconds as the signature writes it, e.g. `2024-01-02T03:04:05Z`."""
    return _written(int(unix))


@lru_cache(maxsize=16)  # the same for all calls of a second
def _written(unix: int) -> str:
    minute, second = divmod(unix, 60)
    return f"{_minute(minute)}{second:02d}Z"


@lru_cache(maxsize=16)
def _minute(minutes: int) -> str:
    return time.strftime(TIME_FORMAT, time.gmtime(60 * minutes))[:-3]  # half of what a datetime takes


def encode(text: str) -> str:
    """Percent-encode UTF-8, keeping only A–Z a–z 0–9 - . _ ~."""
    if _USUAL.fullmatch(text):  # hosts, types, times, ids
        return text.replace(":", "%3A").replace("/", "%2F")
    return quote(text, safe="-._~")


_USUAL: Final = re.compile(r"[A-Za-z0-9\-._~:/]*")


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as signed: encoded pairs, sorted as texts. A member named `authorization` is left out."""
    pairs = list(pairs)
    if not pairs:
        return ""
    return "&".join(
        sorted(f"{encode(name)}={encode(value)}" for name, value in pairs if name.lower() != "authorization")
    )


def canonical_headers(headers: Iterable[tuple[str, str]]) -> str:
    """The headers as signed: `name:value` lines, sorted; a header with an empty value has no line."""
    lines = [
        _line(name, value) if len(value) <= LONGEST_KEPT else _line.__wrapped__(name, value)
        for name, value in headers
    ]
    lines.sort()
    return "\n".join(filter(None, lines))


@lru_cache(maxsize=1024)  # hosts, types and times come again and again
def _line(name: str, value: str) -> str:
    shown = value.strip()
    return f"{encode(name.strip().lower())}:{encode(shown)}" if shown else ""


@lru_cache(maxsize=256)
def _signing_key(secret_key: str, prefix: str) -> bytes:
    digest = hmac.digest(secret_key.encode(), prefix.encode(), "sha256").hex()
    return digest.encode()  # the 64 hex characters are the key, not the 32 bytes they spell


def _signature(secret_key: str, prefix: str, canonical: str) -> str:
    return hmac.digest(_signing_key(secret_key, prefix), canonical.encode(), "sha256").hex()


def sign(
    access_key: str,
    secret_key: str,
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    unix: float,
    expiry_s: int = DEFAULT_EXPIRY_S,
) -> str:
    """The value of `Authorization` for one request.

    path: as the client holds it, not percent-encoded. headers: all that are signed, `host` among them.
    unix: seconds; the header `x-bce-date`, when signed, must spell the same time."""
    stamp = timestamp(unix)
    prefix = f"{VERSION}/{access_key}/{stamp}/{expiry_s}"
    query_line = canonical_query(query.items()) if query else ""
    others = dict(headers)
    if others.pop(DATE, None) == stamp:  # all that changes from one second to the next
        names, before, after = _around_the_date(tuple(others.items()))
        header_lines = f"{before}{DATE}:{stamp.replace(':', '%3A')}{after}"
    else:
        names, header_lines = _names(headers), canonical_headers(headers.items())
    canonical = f"{method.upper()}\n{path}\n{query_line}\n{header_lines}"
    return f"{prefix}/{names}/{_signature(secret_key, prefix, canonical)}"


@lru_cache(maxsize=64)
def _around_the_date(others: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    """The names that are signed, and what stands before and after the line of `x-bce-date`."""
    names = _names([DATE, *(name for name, _ in others)])
    lines = canonical_headers(others).splitlines()
    place = bisect(lines, f"{DATE}:")
    return (
        names,
        "".join(f"{line}\n" for line in lines[:place]),
        "".join(f"\n{line}" for line in lines[place:]),
    )


def _names(headers: Iterable[str]) -> str:
    return ";".join(sorted(name.strip().lower() for name in headers))


def parse(value: str) -> Authorization:
    """Split an `Authorization` header. Raises SignatureError("malformed")."""
    parts = value.strip().split("/")
    if len(parts) != 6 or parts[0] != VERSION or not parts[1]:
        raise SignatureError("malformed", "Authorization is not a bce-auth-v1 value of six parts")
    _, access_key, stamp, expiry, names, signature = parts
    if not value.isascii() or not expiry.isdigit() or not 0 < int(expiry) <= 86400 or len(signature) != 64:
        raise SignatureError("malformed", "Authorization has no valid life or signature")
    return Authorization(
        access_key, stamp, int(expiry), tuple(filter(None, names.lower().split(";"))), signature
    )


def _hosts(value: str) -> list[str]:
    bare = value.rsplit(":", 1)[0] if ":" in value and not value.endswith("]") else value
    return [value] if bare == value else [value, bare]


def _paths(raw_path: str) -> list[str]:
    encoded_again = quote(raw_path, safe="/-._~")
    return list(dict.fromkeys((raw_path, unquote(raw_path), encoded_again)))


def verify(
    authorization: str,
    secret_of: Callable[[str], str | None],
    *,
    method: str,
    raw_path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    unix: float,
) -> str:
    """Check a request's signature and return its access key.

    secret_of: access key → secret key, None when unknown. raw_path: as on the wire, percent-encoded.
    query: decoded pairs. headers: names in lower case, values as received. unix: now, seconds.
    Raises SignatureError; its text never holds a secret."""
    auth = parse(authorization)
    try:
        signed_at = datetime.strptime(auth.timestamp, TIME_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise SignatureError("malformed", "the time in Authorization is not a UTC time in seconds") from None
    if unix > signed_at + min(auth.expiry_s, LONGEST_S) or unix < signed_at - CLOCK_SKEW_S:
        raise SignatureError(
            "expired", f"the signature of {auth.timestamp} is not valid now; check the clock"
        )
    secret_key = secret_of(auth.access_key)
    if secret_key is None:
        raise SignatureError("unknown", "no such access key")

    names = auth.signed_headers or tuple(
        name
        for name in headers
        if name in {"host", "content-length", "content-type", "content-md5"} or name.startswith("x-bce-")
    )
    if "host" not in names:
        raise SignatureError("malformed", "the header host is not signed")
    rest = [(name, headers.get(name, "")) for name in names if name != "host"]
    prefix = f"{VERSION}/{auth.access_key}/{auth.timestamp}/{auth.expiry_s}"
    query_line = canonical_query(query)
    matched = False
    for host in _hosts(headers.get("host", "")):
        header_lines = canonical_headers([("host", host), *rest])
        for path in _paths(raw_path):
            canonical = "\n".join((method.upper(), path, query_line, header_lines))
            matched |= hmac.compare_digest(_signature(secret_key, prefix, canonical), auth.signature)
    if not matched:
        raise SignatureError("mismatch", "the signature does not match")
    return auth.access_key
