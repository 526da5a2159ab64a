"""The object stores that an operator connects: a TOML file says where they are and who may name what in them.

[stores.minio]
endpoint = "http://127.0.0.1:9000"      # BOS: https://s3.bj.bcebos.com
region = "us-east-1"                    # BOS: bj
access_key_env = "MINIO_ACCESS_KEY"     # the environment variables that hold the keys
secret_key_env = "MINIO_SECRET_KEY"
buckets = ["training-data"]
accounts = [1]                          # their numbers; without it, all accounts
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
OURS: Final = "local"  # `bos:/local/…` are uploads to the platform itself
_MEMBERS: Final[dict[str, type]] = {
    "endpoint": str,
    "region": str,
    "access_key_env": str,
    "secret_key_env": str,
    "buckets": list,
    "accounts": list,
    "host_style": str,
    "ca_file": str,
}
_NEEDED: Final = ("endpoint", "access_key_env", "secret_key_env", "buckets")
STYLES: Final = ("path", "bucket")


class StoresInvalid(ValueError):
    """The operator's file cannot be used. The text names the file, the member and what is wrong."""


@dataclass(frozen=True)
class ConnectedStore:
    """One object store. The keys are never shown.

    buckets: what may be named in it. accounts: numbers of those who may, empty: all. bucket_in_host: requests go to
    `bucket.endpoint/key` instead of `endpoint/bucket/key`. ca: certificates that are trusted besides, PEM."""

    name: str
    endpoint: str
    region: str
    buckets: tuple[str, ...]
    accounts: frozenset[int] = frozenset()
    bucket_in_host: bool = False
    ca: bytes = b""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    def may(self, account: int) -> bool:
        """Whether an account may name buckets of this store. 0 is the platform itself."""
        return not account or not self.accounts or account in self.accounts


def read(file: Path, environ: Mapping[str, str]) -> tuple[ConnectedStore, ...]:
    """The stores of a file. Raises StoresInvalid; its text holds no key."""
    try:
        plain = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoresInvalid(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoresInvalid(f"{file.name}: {error}") from None
    tables = plain.pop("stores", None)
    if plain or not isinstance(tables, dict) or not tables:
        raise StoresInvalid(
            f"{file.name} holds no store; write a table such as [stores.minio] and nothing else"
        )
    stores = tuple(
        _store(f"{file.name}: stores.{name}", name, row, file, environ) for name, row in tables.items()
    )
    owner: dict[str, str] = {}
    for store in stores:
        for bucket in store.buckets:
            if bucket in owner:
                raise StoresInvalid(
                    f"{file.name}: the bucket {bucket} is in {owner[bucket]} and {store.name}; a path could mean either"
                )
            owner[bucket] = store.name
    return stores


def _store(where: str, name: str, row: Any, file: Path, environ: Mapping[str, str]) -> ConnectedStore:
    if not isinstance(row, dict):
        raise StoresInvalid(f"{where} is no table")
    for member, value in row.items():
        if member not in _MEMBERS:
            raise StoresInvalid(f"{where}.{member} is not known; known are {', '.join(_MEMBERS)}")
        if not isinstance(value, _MEMBERS[member]):
            raise StoresInvalid(f"{where}.{member} must be a {_MEMBERS[member].__name__}")
    absent = [member for member in _NEEDED if not row.get(member)]
    if absent:
        raise StoresInvalid(f"{where} lacks {', '.join(absent)}")
    style = row.get("host_style", STYLES[0])
    if style not in STYLES:
        raise StoresInvalid(f"{where}.host_style must be one of {', '.join(STYLES)}")
    accounts = row.get("accounts", [])
    if not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in accounts):
        raise StoresInvalid(f"{where}.accounts must hold numbers of accounts, such as [1, 2]")
    if "accounts" in row and not accounts:
        raise StoresInvalid(
            f"{where}.accounts is empty, so nobody could use it; leave it out for all accounts"
        )
    return ConnectedStore(
        name=name,
        endpoint=_endpoint(where, row["endpoint"]),
        region=row.get("region", "us-east-1"),
        buckets=tuple(_bucket(where, bucket) for bucket in row["buckets"]),
        accounts=frozenset(accounts),
        bucket_in_host=style == STYLES[1],
        ca=_certificates(where, file, row.get("ca_file", "")),
        access_key=_key(where, row["access_key_env"], environ),
        secret_key=_key(where, row["secret_key_env"], environ),
    )


def _endpoint(where: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in text:
        raise StoresInvalid(
            f"{where}.endpoint must be http://HOST[:PORT] or https://HOST[:PORT], without more"
        )
    return text.rstrip("/")


def _bucket(where: str, bucket: Any) -> str:
    if not isinstance(bucket, str) or not BUCKET.fullmatch(bucket) or ".." in bucket:
        raise StoresInvalid(f"{where}.buckets: {bucket!r} is no name of a bucket")
    if bucket == OURS:
        raise StoresInvalid(
            f"{where}.buckets: {OURS!r} is what the platform calls its own storage; use another bucket"
        )
    return bucket


def _key(where: str, variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise StoresInvalid(
            f"{where}: the environment variable {variable} is not set, and a key should be in it"
        )
    return value


def _certificates(where: str, file: Path, name: str) -> bytes:
    if not name:
        return b""
    try:
        return (file.resolve().parent / name).read_bytes()
    except OSError as error:
        raise StoresInvalid(f"{where}.ca_file cannot be read: {error.strerror}") from None
