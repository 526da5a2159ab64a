"""Training in one call, and its parts: actions, pipelines, events."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .actions import DeployAction as DeployAction
    from .actions import LoadDataSetAction as LoadDataSetAction
    from .actions import ModelPublishAction as ModelPublishAction
    from .actions import TrainAction as TrainAction
    from .event import Event as Event
    from .event import EventHandler as EventHandler
    from .finetune import LLMFinetune as LLMFinetune
    from .model import Model as Model
    from .model import Service as Service

_NAMES = {
    "DeployAction": "actions",
    "LoadDataSetAction": "actions",
    "ModelPublishAction": "actions",
    "TrainAction": "actions",
    "Event": "event",
    "EventHandler": "event",
    "LLMFinetune": "finetune",
    "Finetune": "finetune",
    "Model": "model",
    "Service": "model",
}

__all__ = [
    "DeployAction",
    "Event",
    "EventHandler",
    "LLMFinetune",
    "LoadDataSetAction",
    "Model",
    "ModelPublishAction",
    "Service",
    "TrainAction",
    "loads",
]


def loads(data: bytes, wanted: type | None = None) -> Any:
    """The trainer, pipeline, action, model, service or dataset that `dumps` wrote.

    wanted: the class it must be of, else InvalidArgumentError. Pickled bytes raise UnsafeState."""
    from importlib import import_module

    from qianfan.dataset.state import unpack

    for module in ("qianfan.dataset.dataset", "qianfan.trainer.finetune"):  # they make their kinds known
        import_module(module)
    return unpack(data, wanted)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _NAMES:
        raise AttributeError(f"module 'qianfan.trainer' has no attribute {name!r}")
    attribute = "LLMFinetune" if name == "Finetune" else name
    value: object = getattr(import_module(f"{__name__}.{_NAMES[name]}"), attribute)
    globals()[name] = value
    return value
