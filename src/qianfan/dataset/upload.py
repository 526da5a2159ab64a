"""Files to and from the platform: `upload` puts one there, `download` fetches what the platform exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from qianfan.config import get_config
from qianfan.errors import FileSizeOverflow, RequestError
from qianfan.resources.console.files import Files
from qianfan.resources.console.utils import OPTIONS
from qianfan.transport.call import Request
from qianfan.transport.client import client_for, options_of
from qianfan.utils.logging import logger

_LONGEST_S: Final = 3600.0  # a download may take


def transport_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that say how a console call is made, and not what it asks."""
    return {name: value for name, value in arguments.items() if name in OPTIONS and value is not None}


def tell_unused(call: str, arguments: Iterable[str]) -> None:
    """Say which keywords nothing reads; those of the transport are read."""
    unused = sorted(set(arguments) - OPTIONS)
    if unused:
        logger.warning("%s does not use %s; look at the spelling", call, ", ".join(unused))


def upload(path: Path, name: str, *, once: bool = False, **options: Any) -> dict[str, Any]:
    """Send a file to the platform; it is read while it is sent. once: the import that takes it removes it.

    Returns `path` (what an import takes: `bos:/local/<id>`), `id`, `size` (bytes) and `sha256`.
    Raises StorageNeeded where the platform takes no uploads, such as the cloud."""
    return dict(Files.upload(path, name, once=once, **options)["result"])


def download(url: str) -> bytes:
    """Fetch what an unsigned link of the platform points to; a path alone is one of the console's own.

    Raises FileSizeOverflow above the setting EXPORT_FILE_SIZE_LIMIT (bytes)."""
    config = get_config()
    if url.startswith("/"):
        url = config.CONSOLE_API_BASE_URL + url
    parts = urlsplit(url)
    request = Request(
        method="GET",
        base=f"{parts.scheme}://{parts.netloc}",
        path=quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~"),
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers={"Accept": "*/*"},
        body=b"",
        timeout_s=_LONGEST_S,
    )
    reply = client_for(options_of(config, config.CONSOLE_API_RETRY_TIMEOUT)).send(request)
    if reply.status != 200:
        raise RequestError(
            f"HTTP {reply.status} for the download from {request.base}",
            status_code=reply.status,
            advice="the link may have expired; load the dataset again",
        )
    if len(reply.body) > config.EXPORT_FILE_SIZE_LIMIT:
        raise FileSizeOverflow(
            f"the export has {len(reply.body)} bytes, the limit is {config.EXPORT_FILE_SIZE_LIMIT}",
            advice="raise QIANFAN_EXPORT_FILE_SIZE_LIMIT, or use the dataset with is_download_to_local=False",
        )
    return reply.body
