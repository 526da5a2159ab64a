"""Bringing a text of records, or an archive as it is, into a dataset that is on the platform."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import bos
from qianfan.dataset.upload import transport_options
from qianfan.errors import InvalidArgumentError

if TYPE_CHECKING:
    from qianfan.dataset.sources import QianfanDataSource


def save(
    source: QianfanDataSource,
    data: str | None,
    zip_file_path: str | Path | None,
    *,
    annotated: bool,
    storage: dict[str, str | None],
    **options: Any,
) -> None:
    """Upload one of the two, import it into the dataset, and wait for the end.

    data: the lines of a JSONL file, or of a text for a set of texts. storage: sup_storage_id, sup_storage_path,
    sup_storage_region. Raises ValueError for both or neither and for a file that is no zip."""
    if (data is None) == (zip_file_path is None):
        raise InvalidArgumentError("nothing, or two things, to save", advice="give data or zip_file_path")
    options = transport_options(options)
    if source.template_type is None:
        source.refresh(**options)
    if zip_file_path is not None:
        path = Path(zip_file_path)
        if not zipfile.is_zipfile(path):
            raise InvalidArgumentError(f"{path.name} is no zip file", advice="pack the files with zip")
        _bring(source, path, path.name, annotated, storage, options)
        return
    if source.template_type is DataTemplateType.Text2Image:
        raise InvalidArgumentError("a set of pictures is not made of text", advice="give zip_file_path")
    name = "data.txt" if source.template_type is DataTemplateType.GenericText else "data.jsonl"
    with tempfile.TemporaryDirectory(prefix="qianfan-") as folder:
        path = Path(folder, name)
        path.write_text(str(data), encoding="utf-8")
        _bring(source, path, name, annotated, storage, options)


def _bring(
    source: QianfanDataSource,
    path: Path,
    name: str,
    annotated: bool,
    storage: dict[str, str | None],
    options: dict[str, Any],
) -> None:
    remote = bos.bring(path, name, source, storage, **source._options(options))
    source.start_import(remote, annotated=annotated, **options)
    source.wait_for_import(**options)
