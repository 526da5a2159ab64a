"""A bucket as a client sees it: objects to files and files to objects, by the S3 interface that BOS has as well."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from qianfan.config import get_config
from qianfan.dataset.sigv4 import EMPTY, encoded_path, signed
from qianfan.errors import (
    ConnectionLost,
    FileSizeOverflow,
    InvalidArgumentError,
    RequestError,
    RequestTimeoutError,
)
from qianfan.transport.call import Reply, Request
from qianfan.transport.client import client_for, options_of

PIECE: Final = 8 * 1024 * 1024  # bytes asked for at once
LARGEST: Final = 5 * 1024**3  # bytes of one upload, as S3 and BOS allow
TRIES: Final = 4  # of each request
PAUSE_S: Final = 0.2  # before the second try; doubled from then on
SLOWEST: Final = 1_000_000  # bytes a second that a transfer is given time for
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_CODE: Final = re.compile(rb"<Code>(\w{1,60})</Code>")
_TOTAL: Final = re.compile(r"bytes \d+-\d+/(\d+)")


@dataclass(frozen=True)
class Bucket:
    """A bucket and how it is reached. endpoint: scheme and host. ak, sk: never shown, in errors neither."""

    name: str
    endpoint: str
    region: str
    ak: str = field(repr=False)
    sk: str = field(repr=False)

    @classmethod
    def of(cls, name: str, region: str | None = None, ak: str | None = None, sk: str | None = None) -> Bucket:
        """A bucket by the settings: BOS_ENDPOINT, else BOS of the region (BOS_HOST_REGION). Its keys are ak
        and sk, else BOS_ACCESS_KEY and BOS_SECRET_KEY, else those of the console, which are BOS's in the cloud.

        Raises InvalidArgumentError without keys, and for what is no name of a bucket."""
        config = get_config()
        if not NAME.fullmatch(name or "") or ".." in name:
            raise InvalidArgumentError(
                f"{name!r} is no name of a bucket", advice="give it without bos:/ and path"
            )
        region = region or config.BOS_HOST_REGION
        endpoint = config.BOS_ENDPOINT or f"https://s3.{region}.bcebos.com"
        parts = urlsplit(endpoint)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path.strip("/")
            or "@" in endpoint
        ):
            raise InvalidArgumentError(
                "the setting BOS_ENDPOINT is no address of a store",
                advice="set it to http(s)://HOST[:PORT] and no more",
            )
        own = (config.BOS_ACCESS_KEY, config.BOS_SECRET_KEY)
        if not (ak and sk):
            ak, sk = own if all(own) else (config.ACCESS_KEY, config.SECRET_KEY)
        if not ak or not sk:
            raise InvalidArgumentError(
                f"no keys for the bucket {name}",
                advice="give ak and sk, or set QIANFAN_BOS_ACCESS_KEY and QIANFAN_BOS_SECRET_KEY",
            )
        return cls(name, endpoint.rstrip("/"), region, ak, sk)

    def get(self, key: str, target: Path, etag: str | None = None) -> str | None:
        """Write an object to a file, whole or not at all. Returns its ETag, None when `etag` is still the newest.

        Raises RequestError; its status_code is 404 where there is no such object."""
        first = self._piece(key, 0, {"If-None-Match": etag} if etag else {})
        if first.status == 304:
            return None
        newest = first.headers.get("etag", "")
        draft = target.with_name(f".{target.name}.part")
        try:
            with draft.open("wb") as file:
                self._rest(key, first, newest, file)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        return newest

    def put(self, key: str, source: Path) -> str:
        """Keep a file as an object; it is read twice, once for its hash. Returns the object's ETag."""
        size = source.stat().st_size
        if size > LARGEST:
            raise FileSizeOverflow(
                f"{source.name} has {size} bytes, and an upload to a bucket at most {LARGEST}",
                advice="split it, or upload it with the store's own tools",
            )
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        reply = self._ask("PUT", key, {}, source, digest, timeout_s=60 + size / SLOWEST)
        if reply.status != 200:
            raise self._refused(reply, key)
        return reply.headers.get("etag", "")

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        reply = self._ask("GET", key, {"Range": "bytes=0-0"})
        if reply.status not in (200, 206, 404, 416):
            raise self._refused(reply, key)
        return reply.status != 404

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        reply = self._ask("DELETE", key, {})
        if reply.status not in (200, 204, 404):
            raise self._refused(reply, key)

    def _rest(self, key: str, first: Reply, etag: str, file: IO[bytes]) -> None:
        file.write(first.body)
        if first.status != 206:  # the whole object: an empty one, or a store that knows no ranges
            return
        found = _TOTAL.fullmatch(first.headers.get("content-range", ""))
        total, have = int(found.group(1)) if found else len(first.body), len(first.body)
        while have < total:
            piece = self._piece(key, have, {"If-Match": etag} if etag else {}).body
            if not piece:
                raise ConnectionLost(f"{self._shown(key)} did not come whole", advice="try again")
            file.write(piece)
            have += len(piece)

    def _piece(self, key: str, start: int, more: Mapping[str, str]) -> Reply:
        reply = self._ask("GET", key, {"Range": f"bytes={start}-{start + PIECE - 1}", **more})
        if reply.status == 416 and not start:
            return Reply(200, reply.headers)  # an empty object has no range
        if reply.status == 412:
            raise ConnectionLost(f"{self._shown(key)} was changed while it was read", advice="try again")
        if reply.status not in (200, 206, 304):
            raise self._refused(reply, key)
        return reply

    def _ask(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        body: bytes | Path = b"",
        digest: str = EMPTY,
        *,
        timeout_s: float = 60.0 + PIECE / SLOWEST,
    ) -> Reply:
        config = get_config()
        client = client_for(options_of(config, config.CONSOLE_API_RETRY_TIMEOUT))
        path = encoded_path(self.name, key)
        for tried in range(1, TRIES + 1):
            bare = Request(method, self.endpoint, path, (), {}, body, timeout_s)
            own = signed(
                self.ak,
                self.sk,
                self.region,
                method=method,
                path=path,
                headers={"host": bare.host},
                payload_sha256=digest,
                unix=time.time(),
            )
            try:
                reply = client.send(bare.with_headers({"Accept-Encoding": "identity", **headers, **own}))
                if reply.status < 500 or tried == TRIES:
                    return reply
            except (ConnectionLost, RequestTimeoutError):
                if tried == TRIES:
                    raise
            time.sleep(PAUSE_S * 2 ** (tried - 1))
        raise AssertionError("unreachable")

    def _refused(self, reply: Reply, key: str) -> RequestError:
        found = _CODE.search(reply.body[:4096])
        code = found.group(1).decode() if found else f"HTTP {reply.status}"
        what, advice = f"the store {self.endpoint} refused {self._shown(key)}", "try again later"
        if code == "NoSuchBucket":
            what, advice = f"the store {self.endpoint} has no bucket {self.name}", "check bucket and region"
        elif reply.status == 404:
            what, advice = f"there is no object {self._shown(key)}", "check the path, and its capitals"
        elif reply.status in (401, 403):
            advice = "check ak and sk, what they may do in this bucket, and the clock of this machine"
        elif reply.status < 500:
            advice = "check endpoint (QIANFAN_BOS_ENDPOINT) and region"
        return RequestError(f"{what} ({code})", status_code=reply.status, advice=advice)

    def _shown(self, key: str) -> str:
        return f"bos:/{self.name}/{key}"
