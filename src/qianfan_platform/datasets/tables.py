"""Rows of datasets. A group holds versions; a version is what the interface calls a dataset."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import DataExportStatus, DataImportStatus, DataReleaseStatus
from qianfan_platform.store import Json, Row, UtcTime


class DatasetGroup(Row):
    """A name under which versions stand."""

    __tablename__ = "dataset_group"
    PREFIX = "dg"

    name: Mapped[str]


class Dataset(Row):
    """One version. `file_id` is its content, a normalised JSONL file; it is frozen once released."""

    __tablename__ = "dataset"
    PREFIX = "ds"

    group_id: Mapped[int] = mapped_column(ForeignKey("dataset_group.id"), index=True)
    name: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    data_type: Mapped[int]
    project_type: Mapped[int]
    template_type: Mapped[int]
    storage_type: Mapped[str]
    storage_id: Mapped[str] = mapped_column(default="")
    raw_path: Mapped[str] = mapped_column(default="")

    import_status: Mapped[int] = mapped_column(default=DataImportStatus.NotStarted.value)
    import_progress: Mapped[int] = mapped_column(default=0)  # percent
    import_problems: Mapped[Any] = mapped_column(
        Json, default=list
    )  # [{code, source, line, field, what, fix}]
    import_count: Mapped[int] = mapped_column(default=0)
    release_status: Mapped[int] = mapped_column(default=DataReleaseStatus.NotStarted.value)
    export_status: Mapped[int] = mapped_column(default=DataExportStatus.NotStarted.value)
    exports: Mapped[Any] = mapped_column(Json, default=list)  # [{id, file, size, records, started, finished}]

    file_id: Mapped[str | None]
    entity_count: Mapped[int] = mapped_column(default=0)
    annotated_count: Mapped[int] = mapped_column(default=0)
    character_count: Mapped[int] = mapped_column(default=0)
    size_bytes: Mapped[int] = mapped_column(default=0)
    content_at: Mapped[datetime | None] = mapped_column(UtcTime)  # when the content last changed
