"""`Model` and `Service`, where the trainer's pages have them; they live in `qianfan.model`."""

from __future__ import annotations

from qianfan.model.model import Model
from qianfan.model.service import Service, model_deploy

__all__ = ["Model", "Service", "model_deploy"]
