"""Uploads: a file of this machine becomes something the dataset import can take. Of our platform only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qianfan.contract import routes
from qianfan.errors import InvalidArgumentError, RequestError, StorageNeeded
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .utils import console_call

SLOWEST = 1_000_000  # bytes a second that an upload is given time for


class Files:
    """Files of the platform."""

    @classmethod
    def upload(
        cls, source: str | Path | bytes, name: str | None = None, *, once: bool = False, **kwargs: Any
    ) -> QfResponse:
        """Send a file, or bytes; `result.path` is `bos:/local/<file id>`, which `create_data_import_task` takes.

        once: the import that takes it removes it when it has ended. A file is read while it is sent. `result` has `id`, `size` (bytes) and `sha256`, too.
        Raises StorageNeeded where the platform takes no uploads."""
        source = _content(source)
        try:
            return cls._upload(source, name=_name(source, name), once=once, **_patient(source, kwargs))
        except RequestError as error:
            raise _explained(error) from None

    @classmethod
    async def aupload(
        cls, source: str | Path | bytes, name: str | None = None, *, once: bool = False, **kwargs: Any
    ) -> QfResponse:
        """The same for asyncio."""
        source = _content(source)
        try:
            return await cls._upload.aio(
                source, name=_name(source, name), once=once, **_patient(source, kwargs)
            )
        except RequestError as error:
            raise _explained(error) from None

    @console_call
    def _upload(cls, /, source: Path | bytes, name: str, once: bool) -> Call:
        query = {"name": name, "once": "1"} if once else {"name": name}
        return Call(routes.FILE_UPLOAD, query=query, content=source, creates=True)


def _content(source: str | Path | bytes) -> Path | bytes:
    if isinstance(source, bytes):
        return source
    path = Path(source)
    if not path.is_file():
        raise InvalidArgumentError(f"there is no file {path}", advice="give the path of a file that exists")
    return path


def _name(source: Path | bytes, name: str | None) -> str:
    return name or (source.name if isinstance(source, Path) else "data.jsonl")


def _patient(source: Path | bytes, options: dict[str, Any]) -> dict[str, Any]:
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    return {"request_timeout": 60.0 + size / SLOWEST, **options}


def _explained(error: RequestError) -> RequestError | StorageNeeded:
    if error.status_code not in (400, 404, 405):
        return error
    return StorageNeeded(
        f"this platform takes no uploads (HTTP {error.status_code})",
        status_code=error.status_code,
        cause=error,
        advice="put the file into object storage (BOS) and give storage_id, storage_path and storage_region,"
        " or use a server of your own (qianfan serve)",
    )
