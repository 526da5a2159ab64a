"""Rows of datasets. A group holds versions; a version is what the interface calls a dataset."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import DataExportStatus, DataImportStatus, DataReleaseStatus
from qianfan_platform.store import Base, Json, Row, UtcTime


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
    import_problems: Mapped[Any] = mapped_column(Json, default=list)  # of imports before `import_report` was
    import_count: Mapped[int] = mapped_column(default=0)
    # What the last import said of its lines, as `reading.Report`; `quarantine`: the file of the refused ones.
    import_report: Mapped[Any] = mapped_column(Json, default=dict, server_default="{}")
    release_status: Mapped[int] = mapped_column(default=DataReleaseStatus.NotStarted.value)
    export_status: Mapped[int] = mapped_column(default=DataExportStatus.NotStarted.value)
    export_progress: Mapped[int] = mapped_column(default=0, server_default="0")  # percent
    exports: Mapped[Any] = mapped_column(Json, default=list)  # [{id, file, size, records, started, finished}]

    file_id: Mapped[str | None]
    entity_count: Mapped[int] = mapped_column(default=0)
    annotated_count: Mapped[int] = mapped_column(default=0)
    character_count: Mapped[int] = mapped_column(default=0)
    size_bytes: Mapped[int] = mapped_column(default=0)
    content_at: Mapped[datetime | None] = mapped_column(UtcTime)  # when the content last changed
    failure: Mapped[str] = mapped_column(default="", server_default="")  # of its newest release or export
    label_count: Mapped[int] = mapped_column(default=0, server_default="0")
    # One for each import, in order: [{entities, at: ISO, pack: the file of its pictures}].
    batches: Mapped[Any] = mapped_column(Json, default=list, server_default="[]")
    changes: Mapped[int] = mapped_column(default=0, server_default="0")  # counts those of single entities
    description: Mapped[str] = mapped_column(default="", server_default="")
    # Of its newest augmentation, as source or destination: an AugmentationStatus, -1 for none yet.
    enhance_status: Mapped[int] = mapped_column(default=-1, server_default="-1")
    enhanced: Mapped[bool] = mapped_column(default=False, server_default="0")  # one has been finished


class EntityChange(Base):
    """What became of one entity since it was imported. It lies over the content until it is baked into it.

    A baked row stays: a deletion as the gap in the numbers, an annotation for its time."""

    __tablename__ = "dataset_entity_change"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"))
    number: Mapped[int]  # of the entity among all that were ever imported, from 0; never given twice
    deleted: Mapped[bool] = mapped_column(default=False)
    content: Mapped[Any] = mapped_column(Json, nullable=True)  # the record in place of the imported one
    annotated: Mapped[bool] = mapped_column(default=False)  # whether `content` is
    annotated_at: Mapped[datetime | None] = mapped_column(UtcTime)
    baked: Mapped[bool] = mapped_column(default=False)  # the content of the dataset has it
    revision: Mapped[int]  # `Dataset.changes` when this was written
