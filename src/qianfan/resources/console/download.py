"""Large files of the platform, fetched in pieces, so that a broken download goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from qianfan.config import get_config
from qianfan.errors import FileSizeOverflow, QianfanError, RequestError
from qianfan.transport.call import Reply, Request
from qianfan.transport.client import client_for, options_of
from qianfan.utils.logging import logger as log

PIECE: Final = 8 * 1024 * 1024  # bytes asked for at once
TRIES: Final = 3  # of each piece
LONGEST_S: Final = 300.0  # for one piece


def fetch(
    url: str, out: Path, *, size: int, sha256: str, on_bytes: Callable[[int], None] | None = None
) -> None:
    """Write the file behind an unsigned link to `out`, which appears whole or not at all.

    size: bytes. sha256: hex, compared before the file gets its name. on_bytes: told of each piece, also of what
    an earlier try had left in `<out>.part`. Raises RequestError."""
    if out.is_file() and out.stat().st_size == size and _hash(out) == sha256:
        _tell(on_bytes, size)
        return
    part = out.with_name(f"{out.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    if have > size:
        part.unlink()
        have = 0
    _tell(on_bytes, have)
    with part.open("ab") as file:
        while have < size:
            piece = _piece(url, have, min(have + PIECE, size))
            file.write(piece)
            have += len(piece)
            _tell(on_bytes, len(piece))
        file.flush()
        os.fsync(file.fileno())
    if _hash(part) != sha256:
        part.unlink()
        raise RequestError(
            f"{out.name} came damaged: its hash is not what the platform says", advice="download it again"
        )
    part.replace(out)


def pour(url: str, file: IO[bytes], *, limit: int) -> int:
    """Write what an unsigned link points to into `file`, a piece at a time; returns its size in bytes.

    url: a path alone is one of the console's own. limit: most bytes. Raises FileSizeOverflow, RequestError."""
    have, size = 0, 1
    while have < size:
        reply = _asked(url, have, have + PIECE)
        size = _size(reply, have)
        if size > limit:
            raise FileSizeOverflow(f"the file has {size:,} bytes, the limit is {limit:,}")
        file.write(reply.body)
        have += len(reply.body)
        if have < size and not reply.body:
            raise RequestError("the download stopped in the middle", advice="download it again")
    return have


def _size(reply: Reply, start: int) -> int:
    """Bytes of the whole file, of which `reply` is a part; one that comes whole at the first call is the file."""
    if reply.status == 206:
        total = reply.headers.get("content-range", "").rpartition("/")[2]
        if total.isdigit():
            return int(total)
    if reply.status == 200 and start == 0:
        return len(reply.body)
    raise RequestError(
        f"HTTP {reply.status} for a download",
        status_code=reply.status,
        advice="the link may have expired; ask for it again",
    )


def _piece(url: str, start: int, end: int) -> bytes:
    """Bytes start to end, end not included; tried again when the connection breaks."""
    reply = _asked(url, start, end)
    whole = reply.status == 200 and start == 0 and len(reply.body) == end
    if not whole and (reply.status != 206 or len(reply.body) != end - start):
        parts = urlsplit(url)
        raise RequestError(
            f"HTTP {reply.status} for the download of {unquote(parts.path.rsplit('/', 1)[-1])} from "
            f"{parts.scheme}://{parts.netloc}",
            status_code=reply.status,
            advice="the link may have expired; ask for the export again",
        )
    return bytes(reply.body)


def _asked(url: str, start: int, end: int) -> Reply:
    config = get_config()
    if url.startswith("/"):
        url = config.CONSOLE_API_BASE_URL + url
    parts = urlsplit(url)
    request = Request(
        method="GET",
        base=f"{parts.scheme}://{parts.netloc}",
        path=quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~"),
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers={"Accept": "*/*", "Range": f"bytes={start}-{end - 1}"},
        body=b"",
        timeout_s=LONGEST_S,
    )
    client = client_for(options_of(config, config.CONSOLE_API_RETRY_TIMEOUT))
    for tried in range(1, TRIES):
        try:
            return client.send(request)
        except QianfanError:
            log.info("part %d of a download broke; try %d of %d", start // PIECE, tried + 1, TRIES)
    return client.send(request)


def _tell(on_bytes: Callable[[int], None] | None, count: int) -> None:
    if on_bytes is not None and count:
        on_bytes(count)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
