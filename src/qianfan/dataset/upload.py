"""Files to and from the platform: `upload` puts one there, `download` fetches what the platform exports."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from qianfan.config import get_config
from qianfan.errors import FileSizeOverflow
from qianfan.resources.console.download import pour
from qianfan.resources.console.files import Files
from qianfan.resources.console.utils import OPTIONS
from qianfan.utils.logging import logger


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
    """Fetch a small file that an unsigned link of the platform points to.

    Raises FileSizeOverflow above the setting EXPORT_FILE_SIZE_LIMIT (bytes)."""
    file = io.BytesIO()
    pour(url, file, limit=get_config().EXPORT_FILE_SIZE_LIMIT)
    return file.getvalue()


@contextmanager
def downloaded(url: str) -> Iterator[IO[bytes]]:
    """What an unsigned link points to, in a temporary file that is gone afterwards. Raises as `download` does."""
    with tempfile.TemporaryFile() as file:
        try:
            pour(url, file, limit=get_config().EXPORT_FILE_SIZE_LIMIT)
        except FileSizeOverflow as large:
            raise FileSizeOverflow(
                str(large),
                advice="raise QIANFAN_EXPORT_FILE_SIZE_LIMIT, or use the dataset with is_download_to_local=False",
            ) from None
        file.seek(0)
        yield file
