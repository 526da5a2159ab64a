"""`ServiceType` under its later name."""

from __future__ import annotations

from qianfan.trainer.consts import ServiceStatus, ServiceType

__all__ = ["ServiceStatus", "ServiceType"]
