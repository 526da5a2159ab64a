"""Objects in connected stores: S3 and what speaks it, such as BOS and MinIO.

Only these are asked. A store is trusted: where it redirects to is followed, without the keys.

A path is `bos:/bucket/key`; `bos://bucket/key`, `s3://bucket/key` and `bucket/key` mean the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qianfan.contract.errors import CONSOLE_ACCESS, CONSOLE_INTERNAL, CONSOLE_PARAMETER, Fault
from qianfan_platform.files import stores
from qianfan_platform.files.stores import BUCKET, OURS, ConnectedStore, StoresInvalid

if TYPE_CHECKING:
    from obstore.store import S3Store

log = logging.getLogger("qianfan_platform.objects")

PIECE: Final = 8 * 1024 * 1024  # bytes read or sent at once
LONGEST_KEY: Final = 1024  # bytes, as S3 and BOS allow
MOST_LISTED: Final = 10_000
ABSENT, NETWORK = 300, 100  # errCode of an import: no such object; the store cannot be reached
_CONNECT: Final = timedelta(seconds=5)
_SILENCE: Final = timedelta(seconds=60)  # between two pieces of an answer
_LONGEST: Final = timedelta(hours=1)  # one request
_RETRIES: Final = 3
_RETRY_FOR: Final = timedelta(seconds=30)
# A slash before `bos:/` is what published clients send for some paths.
_SPELLED: Final = re.compile(r"(?:/?bos:/{1,2}|s3://|/)?([^/]+)(?:/+(.*))?", re.DOTALL)
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")


@dataclass(frozen=True)
class ObjectPath:
    """Where an object lies. key: "" or with a `/` at the end for all that begins with it."""

    bucket: str
    key: str = ""

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_folder(self) -> bool:
        """True when it can only be a beginning of keys."""
        return not self.key or self.key.endswith("/")

    def __str__(self) -> str:
        return f"bos:/{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Listed:
    """An object that `list` found. size: bytes."""

    path: ObjectPath
    size: int


class ObjectFault(Fault):
    """An object cannot be had or kept. import_code: what `importErrorInfo` says of it, 300 absent or 100 else."""

    import_code = NETWORK


class ObjectMissing(ObjectFault):
    """There is no such object, or no such bucket."""

    import_code = ABSENT


def parse(text: str) -> ObjectPath | None:
    """The path that a text spells, else None. Uploads (`bos:/local/…`) and links are none.

    Slashes at the beginning of a key count for nothing; a key with `..`, `.` or an empty part, control
    characters or backslashes is no key."""
    found = _SPELLED.fullmatch(text) if len(text) <= 2 * LONGEST_KEY else None
    if found is None:
        return None
    bucket, key = found.group(1), found.group(2) or ""
    if not BUCKET.fullmatch(bucket) or ".." in bucket or bucket == OURS:
        return None
    parts = key.removesuffix("/").split("/") if key else []
    if any(part in ("", ".", "..") for part in parts) or not _is_plain(key):
        return None
    return ObjectPath(bucket, key)


def _is_plain(key: str) -> bool:
    if "\\" in key or not key.replace(" ", "").isprintable():
        return False
    try:
        return len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:  # half of a character
        return False


class Objects:
    """All connected stores, as one. Methods raise Fault; no text of theirs holds a key or a signature."""

    def __init__(self, connected: Sequence[ConnectedStore] = ()) -> None:
        self._stores = {bucket: store for store in connected for bucket in store.buckets}
        self._clients: dict[str, S3Store] = {}

    @classmethod
    def load(cls, file: Path | None, environ: Mapping[str, str] | None = None) -> Objects:
        """The stores of an operator's file, or none. Raises StoresInvalid."""
        if file is None:
            return cls()
        if find_spec("obstore") is None:
            raise StoresInvalid(f"{file.name}: object stores need obstore; pip install 'open-qianfan[s3]'")
        return cls(stores.read(file, os.environ if environ is None else environ))

    @property
    def is_connected(self) -> bool:
        """True when there is any store."""
        return bool(self._stores)

    def at(self, text: str, owner: int) -> ObjectPath:
        """The path that a text spells, if the account may name it: else a Fault that says why not.

        A bucket of somebody else answers like one that is not connected."""
        path = parse(text)
        if path is None:
            raise Fault(
                CONSOLE_PARAMETER,
                f"{text[:200]!a} is no path in a bucket",
                "give bos:/bucket/path/to/file",
            )
        self.bucket(path.bucket, owner)
        return path

    def bucket(self, name: str, owner: int) -> ConnectedStore:
        """The store that has this bucket, if the account may name it; else a Fault."""
        store = self._stores.get(name)
        if store is not None and store.may(owner):
            return store
        if not self._stores:
            raise Fault(
                CONSOLE_PARAMETER,
                f"{name[:80]!a} lies in an object store, and this platform has none connected",
                "an operator connects one (qianfan serve --objects FILE); without it, upload the file to /v2/files "
                f"and import the path it answers (bos:/{OURS}/…)",
            )
        raise Fault(
            CONSOLE_PARAMETER,
            f"the bucket {name[:80]!a} is not connected for this account",
            "an operator lists it under buckets in the file of qianfan serve --objects",
        )

    async def fetch(self, path: ObjectPath, target: Path, limit: int | None = None) -> int:
        """Bring an object into the file `target`, whole or not at all. Returns and takes sizes in bytes."""
        with self._told(path):
            found = await self._client(path.bucket).get_async(path.key)
            size = found.meta["size"]
            if limit is not None and size > limit:
                raise Fault(CONSOLE_PARAMETER, f"{path} has {size} bytes, more than {limit}", "split it")
            draft = target.with_name(f".{target.name}.part")
            try:
                got = await _written(found.stream(PIECE), draft)
                if got != size:
                    raise _broken(path, f"{got} of {size} bytes came")
                await asyncio.to_thread(draft.replace, target)
            finally:
                draft.unlink(missing_ok=True)
        return int(size)

    async def put(self, path: ObjectPath, source: Path | bytes) -> int:
        """Keep a file, or bytes, as an object, in the place of what was there. Returns its size in bytes."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        with self._told(path):
            await self._client(path.bucket).put_async(
                path.key, source, use_multipart=size > PIECE, chunk_size=PIECE, max_concurrency=4
            )
        return size

    async def list(self, prefix: ObjectPath) -> list[Listed]:
        """What lies under a path taken as a folder, by name. Raises Fault above 10,000 objects."""
        found: list[Listed] = []
        with self._told(prefix):
            async for batch in self._client(prefix.bucket).list(
                prefix.key.rstrip("/") or None, chunk_size=1000
            ):
                found += [Listed(ObjectPath(prefix.bucket, one["path"]), one["size"]) for one in batch]
                if len(found) > MOST_LISTED:
                    raise Fault(
                        CONSOLE_PARAMETER,
                        f"{prefix} holds more than {MOST_LISTED} objects",
                        "name a narrower folder",
                    )
        return sorted(found, key=lambda one: one.path.key)

    async def delete(self, path: ObjectPath) -> None:
        """Remove an object; a missing one is no error."""
        with self._told(path):
            await self._client(path.bucket).delete_async(path.key)

    def _client(self, bucket: str) -> S3Store:
        client = self._clients.get(bucket)
        if client is None:
            client = self._clients[bucket] = _client(self._stores[bucket], bucket)
        return client

    @contextmanager
    def _told(self, path: ObjectPath) -> Iterator[None]:
        """What goes wrong with an object, in words."""
        if path.bucket not in self._stores:
            raise ObjectMissing(CONSOLE_PARAMETER, f"the bucket of {path} is not connected any more")
        try:
            yield
        except Fault:
            raise
        except Exception as error:
            # obstore keeps its errors in a module of its own; a text of them is shown to nobody.
            told = _explained(error, path, self._stores[path.bucket])
            if told is None:
                raise
            log.warning("%s: %s", path, told.message)
            raise told from None


async def _written(pieces: AsyncIterator[Any], draft: Path) -> int:
    size = 0
    file = await asyncio.to_thread(draft.open, "wb")
    try:
        async for piece in pieces:
            size += await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(os.fsync, file.fileno())
    finally:
        file.close()
    return size


def _client(store: ConnectedStore, bucket: str) -> S3Store:
    from obstore.store import S3Store

    options: dict[str, Any] = {
        "allow_http": store.endpoint.startswith("http://"),
        "connect_timeout": _CONNECT,
        "read_timeout": _SILENCE,
        "timeout": _LONGEST,
        "user_agent": "open-qianfan",
    }
    if store.ca:
        options["root_certificate"] = store.ca
    keys: Any = {"access_key_id": store.access_key, "secret_access_key": store.secret_key, "expires_at": None}
    host = store.endpoint
    if store.bucket_in_host:
        host = host.replace("://", f"://{bucket}.", 1)
    return S3Store(
        bucket,
        endpoint=host,
        region=store.region,
        virtual_hosted_style_request=store.bucket_in_host,
        skip_signature=False,  # whatever AWS_… of the environment says; its session token is kept out likewise
        credential_provider=lambda: keys,
        client_options=options,  # type: ignore[arg-type]
        retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
    )


def _broken(path: ObjectPath, why: str) -> ObjectFault:
    return ObjectFault(CONSOLE_INTERNAL, f"{path} did not come whole: {why}", "try again")


def _explained(error: Exception, path: ObjectPath, store: ConnectedStore) -> ObjectFault | None:
    """Our fault for an error of the client; None for what is none of the store's, such as a full disk."""
    kind, text = type(error).__name__, str(error)
    found = _CODE.search(text)
    code = found.group(1) if found else ""
    advice = f"an operator looks at [stores.{store.name}] in the file of qianfan serve --objects"
    if code == "NoSuchBucket":
        return ObjectMissing(CONSOLE_PARAMETER, f"the store {store.name} has no bucket {path.bucket}", advice)
    if (
        isinstance(error, FileNotFoundError) and error.errno is None
    ):  # with a number it is a file of this machine
        return ObjectMissing(
            CONSOLE_PARAMETER, f"there is no object {path}", "check the path, and its capitals"
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or code in _DENIED:
        said = f" ({code})" if code else ""
        return ObjectFault(
            CONSOLE_ACCESS, f"the store {store.name} does not let the platform use {path}{said}", advice
        )
    if kind.endswith("Error") and type(error).__module__.startswith("obstore"):
        said = f" ({code})" if code else ""
        told = f"the store {store.name} did not answer, or not as a store does, when asked for {path}{said}"
        return ObjectFault(CONSOLE_INTERNAL, told, advice)
    return None


_DENIED: Final = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed")
