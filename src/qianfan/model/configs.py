"""`DeployConfig` under its later name."""

from __future__ import annotations

from qianfan.trainer.configs import DeployConfig

__all__ = ["DeployConfig"]
