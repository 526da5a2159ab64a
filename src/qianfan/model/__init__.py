"""Models and services: publish, deploy, ask. The trainer's pages know them as `qianfan.trainer.model`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Model as Model
    from .service import Service as Service
    from .service import model_deploy as model_deploy

__all__ = ["Model", "Service", "model_deploy"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'qianfan.model' has no attribute {name!r}")
    module = "model" if name == "Model" else "service"
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
