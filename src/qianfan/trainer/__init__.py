"""Training in one call, and its parts: actions, pipelines, events."""

from __future__ import annotations

from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .actions import DeployAction as DeployAction
    from .actions import EvaluateAction as EvaluateAction
    from .actions import LoadDataSetAction as LoadDataSetAction
    from .actions import ModelPublishAction as ModelPublishAction
    from .actions import TrainAction as TrainAction
    from .dpo import DPO as DPO
    from .event import Event as Event
    from .event import EventHandler as EventHandler
    from .finetune import Finetune as Finetune
    from .finetune import LLMFinetune as LLMFinetune
    from .model import Model as Model
    from .model import Service as Service
    from .model import model_deploy as model_deploy
    from .post_pretrain import PostPreTrain as PostPreTrain

_NAMES = {
    "DPO": "dpo",
    "DeployAction": "actions",
    "EvaluateAction": "actions",
    "LoadDataSetAction": "actions",
    "ModelPublishAction": "actions",
    "TrainAction": "actions",
    "Event": "event",
    "EventHandler": "event",
    "LLMFinetune": "finetune",
    "Finetune": "finetune",
    "Model": "model",
    "PostPreTrain": "post_pretrain",
    "Service": "model",
    "model_deploy": "model",
}

_KINDS = (
    "dataset.dataset",
    "evaluation.evaluation_result",
    "evaluation.evaluator",
    "trainer.configs",
    "trainer.dpo",
    "trainer.post_pretrain",
)

__all__ = [
    "DPO",
    "DeployAction",
    "EvaluateAction",
    "Event",
    "EventHandler",
    "Finetune",
    "LLMFinetune",
    "LoadDataSetAction",
    "Model",
    "ModelPublishAction",
    "PostPreTrain",
    "Service",
    "TrainAction",
    "loads",
    "model_deploy",
]


def loads(data: bytes, wanted: type | None = None) -> Any:
    """The trainer, pipeline, action, model, service or dataset that `dumps` wrote.

    wanted: the class it must be of, else InvalidArgumentError. Pickled bytes raise UnsafeState."""
    from importlib import import_module

    from qianfan.dataset.state import unpack

    for name in _KINDS:
        import_module(f"qianfan.{name}")  # they make their kinds known
    return unpack(data, wanted)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _NAMES:
        raise AttributeError(f"module 'qianfan.trainer' has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
