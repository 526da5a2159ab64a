"""Rows of services: the desired state. `broken` and Done ones are kept up by `reconciler.py`; what runs is `fleet.py`'s business."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import ServiceStatus
from qianfan_platform.store import Json, Row, UtcTime


class Service(Row):
    """A deployed model version under an endpoint."""

    __tablename__ = "service"
    PREFIX = "svco"

    name: Mapped[str]
    uri: Mapped[str] = mapped_column(unique=True)  # what `endpoint=` takes
    description: Mapped[str] = mapped_column(default="")
    api_type: Mapped[str] = mapped_column(default="chat")
    model_id: Mapped[int]
    version_id: Mapped[int] = mapped_column(index=True)
    replicas: Mapped[int]
    pool_type: Mapped[int]
    status: Mapped[str] = mapped_column(default=ServiceStatus.New.value)
    reason: Mapped[str] = mapped_column(default="")
    broken: Mapped[bool] = mapped_column(
        default=False, server_default="0"
    )  # Failed, but tried again by itself
    online_at: Mapped[datetime | None] = mapped_column(UtcTime)
    job_id: Mapped[int | None]
    next_version_id: Mapped[int | None] = mapped_column(index=True)  # while it is being updated
    update_status: Mapped[str] = mapped_column(default="", server_default="")  # Updating, Failed
    update_reason: Mapped[str] = mapped_column(default="", server_default="")
    update_job_id: Mapped[int | None]
    terms: Mapped[Any] = mapped_column(
        Json, nullable=True
    )  # V2's resourceConfig and billing, as they were sent
