"""Large files of the platform, fetched in pieces, so that a broken download goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from qianfan.config import get_config
from qianfan.errors import QianfanError, RequestError
from qianfan.transport.call import Request
from qianfan.transport.client import client_for, options_of

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


def _piece(url: str, start: int, end: int) -> bytes:
    """Bytes start to end, end not included; tried again when the connection breaks."""
    config = get_config()
    parts = urlsplit(url)
    request = Request(
        method="GET",
        base=f"{parts.scheme}://{parts.netloc}",
        path=parts.path,
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers={"Accept": "*/*", "Range": f"bytes={start}-{end - 1}"},
        body=b"",
        timeout_s=LONGEST_S,
    )
    client = client_for(options_of(config, config.CONSOLE_API_RETRY_TIMEOUT))
    reply: Any = None
    for tried in range(1, TRIES + 1):
        try:
            reply = client.send(request)
            break
        except QianfanError:
            if tried == TRIES:
                raise
    name = unquote(parts.path.rsplit("/", 1)[-1])
    whole = reply.status == 200 and start == 0 and len(reply.body) == end
    if not whole and (reply.status != 206 or len(reply.body) != end - start):
        raise RequestError(
            f"HTTP {reply.status} for the download of {name} from {request.base}",
            status_code=reply.status,
            advice="the link may have expired; ask for the export again",
        )
    return bytes(reply.body)


def _tell(on_bytes: Callable[[int], None] | None, count: int) -> None:
    if on_bytes is not None and count:
        on_bytes(count)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
