"""States and types of the trainer. The words of the wire are in `qianfan.resources.console.consts`."""

from __future__ import annotations

from enum import Enum

from qianfan.model.consts import ServiceStatus, ServiceType

__all__ = [
    "ActionState",
    "FinetuneStatus",
    "PeftType",
    "ServiceStatus",
    "ServiceType",
    "TrainStatus",
    "status_of",
]


class ActionState(str, Enum):
    """Where an action stands; each event carries one."""

    Preceding = "Preceding"
    Running = "Running"
    Done = "Done"
    Error = "Error"
    Stopped = "Stopped"


class FinetuneStatus(str, Enum):
    """Where a trainer stands: the current action and its state, in one word."""

    Unknown = "Unknown"
    DatasetLoading = "DatasetLoading"
    DatasetLoaded = "DatasetLoaded"
    DatasetLoadFailed = "DatasetLoadFailed"
    DatasetLoadStopped = "DatasetLoadStopped"
    TrainCreated = "TrainCreated"
    Training = "Training"
    TrainFinished = "TrainFinished"
    TrainFailed = "TrainFailed"
    TrainStopped = "TrainStopped"
    ModelPublishing = "ModelPublishing"
    ModelPublishFailed = "ModelPublishFailed"
    ModelPublished = "ModelPublished"
    EvaluationCreated = "EvaluationCreated"
    EvaluationRunning = "EvaluationRunning"
    EvaluationFailed = "EvaluationFailed"
    EvaluationStopped = "EvaluationStopped"
    EvaluationFinished = "EvaluationFinished"


TrainStatus = FinetuneStatus  # its later name


class PeftType(str, Enum):
    """Tuning method in the words of the V2 interface. V1 says `ALL`, `P-tuning`, `LoRA`; both are taken."""

    ALL = "FullFineTuning"
    PTuning = "PromptTuning"
    LoRA = "LoRA"


_S = ActionState
_STATUS: dict[str, dict[ActionState, FinetuneStatus | ServiceStatus]] = {
    "LoadDataSetAction": {
        _S.Preceding: FinetuneStatus.DatasetLoading,
        _S.Running: FinetuneStatus.DatasetLoading,
        _S.Done: FinetuneStatus.DatasetLoaded,
        _S.Error: FinetuneStatus.DatasetLoadFailed,
        _S.Stopped: FinetuneStatus.DatasetLoadStopped,
    },
    "TrainAction": {
        _S.Preceding: FinetuneStatus.TrainCreated,
        _S.Running: FinetuneStatus.Training,
        _S.Done: FinetuneStatus.TrainFinished,
        _S.Error: FinetuneStatus.TrainFailed,
        _S.Stopped: FinetuneStatus.TrainStopped,
    },
    "ModelPublishAction": {
        _S.Preceding: FinetuneStatus.ModelPublishing,
        _S.Running: FinetuneStatus.ModelPublishing,
        _S.Done: FinetuneStatus.ModelPublished,
        _S.Error: FinetuneStatus.ModelPublishFailed,
        _S.Stopped: FinetuneStatus.ModelPublishFailed,
    },
    "DeployAction": {
        _S.Preceding: ServiceStatus.Created,
        _S.Running: ServiceStatus.Deploying,
        _S.Done: ServiceStatus.Deployed,
        _S.Error: ServiceStatus.DeployFailed,
        _S.Stopped: ServiceStatus.DeployStopped,
    },
    "EvaluateAction": {
        _S.Preceding: FinetuneStatus.EvaluationCreated,
        _S.Running: FinetuneStatus.EvaluationRunning,
        _S.Done: FinetuneStatus.EvaluationFinished,
        _S.Error: FinetuneStatus.EvaluationFailed,
        _S.Stopped: FinetuneStatus.EvaluationStopped,
    },
}


def status_of(action: type, state: ActionState) -> str:
    """The word for an action in a state; a subclass of a known action counts as that action."""
    for kind in action.__mro__:
        if kind.__name__ in _STATUS:
            return _STATUS[kind.__name__][state]
    return FinetuneStatus.Unknown
