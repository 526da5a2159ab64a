"""Rows of services: the desired state. What runs is `fleet.py`'s business."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import ServiceStatus
from qianfan_platform.store import Row, UtcTime


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
    online_at: Mapped[datetime | None] = mapped_column(UtcTime)
    job_id: Mapped[int | None]
