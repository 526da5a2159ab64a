"""Models and services as objects, under their later name; `qianfan.trainer.model` is the same."""

from __future__ import annotations

from qianfan.trainer.model import Model, Service, model_deploy

__all__ = ["Model", "Service", "model_deploy"]
