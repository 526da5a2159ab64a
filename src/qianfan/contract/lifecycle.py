"""Status is a table: what may become what. The store enforces it with one UPDATE, the docs draw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from .enums import (
    AugmentationStatus,
    BatchInferenceStatus,
    DataImportStatus,
    DataReleaseStatus,
    DocumentStatus,
    ETLTaskStatus,
    EvaluationTaskStatus,
    ModelExportStatus,
    ModelState,
    PromptTaskStatus,
    ServiceStatus,
    TrainStatus,
    V1TrainStatus,
)


@dataclass(frozen=True)
class Lifecycle:
    """The states of one kind of thing. A move from a state to itself is never made."""

    noun: str
    start: Enum
    moves: Mapping[Any, frozenset[Any]]

    def before(self, to: Enum) -> frozenset[Any]:
        """States from which `to` may be reached."""
        return frozenset(state for state, after in self.moves.items() if to in after)

    def is_final(self, state: Any) -> bool:
        """True when nothing follows `state`; a value that is no state of this table is not final."""
        return any(state == known and not after for known, after in self.moves.items())


def _moves(table: dict[Any, set[Any]]) -> dict[Any, frozenset[Any]]:
    return {state: frozenset(after) for state, after in table.items()}


TRAIN_RUN: Final = Lifecycle(
    "training run",
    start=TrainStatus.Running,
    moves=_moves(
        {
            TrainStatus.Running: {TrainStatus.Finish, TrainStatus.Fail, TrainStatus.Stop},
            TrainStatus.Finish: set(),
            TrainStatus.Fail: set(),
            TrainStatus.Stop: set(),  # final: resuming makes a new run from the last checkpoint
        }
    ),
)

MODEL_VERSION: Final = Lifecycle(
    "model version",
    start=ModelState.Creating,
    moves=_moves(
        {
            ModelState.Creating: {ModelState.Ready, ModelState.Fail},
            ModelState.Ready: set(),
            ModelState.Fail: set(),
        }
    ),
)

MODEL_EXPORT: Final = Lifecycle(
    "model export",
    start=ModelExportStatus.Creating,
    moves=_moves(
        {
            ModelExportStatus.Creating: {ModelExportStatus.Running, ModelExportStatus.Failed},
            ModelExportStatus.Running: {ModelExportStatus.Succeeded, ModelExportStatus.Failed},
            ModelExportStatus.Succeeded: set(),
            ModelExportStatus.Failed: set(),
        }
    ),
)

SERVICE: Final = Lifecycle(
    "service",
    start=ServiceStatus.New,
    moves=_moves(
        {
            ServiceStatus.New: {ServiceStatus.Deploying, ServiceStatus.Failed, ServiceStatus.Stopped},
            ServiceStatus.Deploying: {ServiceStatus.Done, ServiceStatus.Failed, ServiceStatus.Stopped},
            ServiceStatus.Done: {ServiceStatus.Deploying, ServiceStatus.Failed, ServiceStatus.Stopped},
            ServiceStatus.Failed: {ServiceStatus.Deploying, ServiceStatus.Stopped},
            ServiceStatus.Stopped: {ServiceStatus.Deploying},
        }
    ),
)

DATASET_IMPORT: Final = Lifecycle(
    "dataset import",
    start=DataImportStatus.NotStarted,
    moves=_moves(
        {
            DataImportStatus.NotStarted: {DataImportStatus.Running},
            DataImportStatus.Running: {
                DataImportStatus.Finished,
                DataImportStatus.Failed,
                DataImportStatus.Terminated,
            },
            DataImportStatus.Finished: {DataImportStatus.Running},
            DataImportStatus.Failed: {DataImportStatus.Running},
            DataImportStatus.Terminated: {DataImportStatus.Running},
        }
    ),
)

DATASET_RELEASE: Final = Lifecycle(
    "dataset release",
    start=DataReleaseStatus.NotStarted,
    moves=_moves(
        {
            DataReleaseStatus.NotStarted: {DataReleaseStatus.Running},
            DataReleaseStatus.Running: {DataReleaseStatus.Finished, DataReleaseStatus.Failed},
            DataReleaseStatus.Finished: set(),
            DataReleaseStatus.Failed: {DataReleaseStatus.Running},
        }
    ),
)

KNOWLEDGE_DOCUMENT: Final = Lifecycle(
    "document",
    start=DocumentStatus.New,
    moves=_moves(
        {
            DocumentStatus.New: {DocumentStatus.Running, DocumentStatus.Fail},
            DocumentStatus.Running: {DocumentStatus.Done, DocumentStatus.Fail},
            DocumentStatus.Done: set(),
            DocumentStatus.Fail: set(),
        }
    ),
)

EVALUATION: Final = Lifecycle(
    "evaluation",
    start=EvaluationTaskStatus.Pending,
    moves=_moves(
        {
            EvaluationTaskStatus.Pending: {
                EvaluationTaskStatus.Doing,
                EvaluationTaskStatus.Stopping,
                EvaluationTaskStatus.Failed,
            },
            EvaluationTaskStatus.Doing: {
                EvaluationTaskStatus.DoingWithManualBegin,
                EvaluationTaskStatus.Done,
                EvaluationTaskStatus.PartlyDone,
                EvaluationTaskStatus.Failed,
                EvaluationTaskStatus.Stopping,
            },
            EvaluationTaskStatus.DoingWithManualBegin: {
                EvaluationTaskStatus.Done,
                EvaluationTaskStatus.PartlyDone,
                EvaluationTaskStatus.Stopping,
            },
            EvaluationTaskStatus.Stopping: {EvaluationTaskStatus.Stopped},
            EvaluationTaskStatus.Done: set(),
            EvaluationTaskStatus.PartlyDone: set(),
            EvaluationTaskStatus.Failed: set(),
            EvaluationTaskStatus.Stopped: set(),
        }
    ),
)

BATCH_INFERENCE: Final = Lifecycle(
    "batch inference",
    start=BatchInferenceStatus.Running,
    moves=_moves(
        {
            BatchInferenceStatus.Running: {
                BatchInferenceStatus.Done,
                BatchInferenceStatus.Failed,
                BatchInferenceStatus.Stopping,
            },
            BatchInferenceStatus.Stopping: {BatchInferenceStatus.Stopped},
            BatchInferenceStatus.Done: set(),
            BatchInferenceStatus.Failed: set(),
            BatchInferenceStatus.Stopped: set(),
        }
    ),
)

PROMPT_OPTIMISATION: Final = Lifecycle(
    "prompt optimisation",
    start=PromptTaskStatus.Running,
    moves=_moves(
        {
            PromptTaskStatus.Running: {PromptTaskStatus.Done, PromptTaskStatus.Failed},
            PromptTaskStatus.Done: set(),
            PromptTaskStatus.Failed: set(),
        }
    ),
)

CLEANING: Final = Lifecycle(
    "cleaning task",
    start=ETLTaskStatus.Running,
    moves=_moves(
        {
            ETLTaskStatus.Running: {
                ETLTaskStatus.Finished,
                ETLTaskStatus.Failed,
                ETLTaskStatus.Interrupted,
            },
            ETLTaskStatus.Finished: set(),
            ETLTaskStatus.Failed: set(),
            ETLTaskStatus.Interrupted: set(),
        }
    ),
)

AUGMENTATION: Final = Lifecycle(
    "augmentation task",
    start=AugmentationStatus.Created,
    moves=_moves(
        {
            AugmentationStatus.Created: {
                AugmentationStatus.Running,
                AugmentationStatus.Failed,
                AugmentationStatus.Terminated,
            },
            AugmentationStatus.Running: {
                AugmentationStatus.Finished,
                AugmentationStatus.Failed,
                AugmentationStatus.Terminated,
            },
            AugmentationStatus.Finished: set(),
            AugmentationStatus.Failed: set(),
            AugmentationStatus.Terminated: set(),
        }
    ),
)

ALL: Final = (
    TRAIN_RUN,
    MODEL_VERSION,
    MODEL_EXPORT,
    SERVICE,
    DATASET_IMPORT,
    DATASET_RELEASE,
    KNOWLEDGE_DOCUMENT,
    EVALUATION,
    BATCH_INFERENCE,
    PROMPT_OPTIMISATION,
    CLEANING,
    AUGMENTATION,
)

# One meaning, four vocabularies: V1 answers upper case, V2 mixed case, later clouds other words again.
_RUN_WORDS: Final[dict[str, TrainStatus]] = {
    "FINISH": TrainStatus.Finish,
    "Finish": TrainStatus.Finish,
    "Done": TrainStatus.Finish,
    "FAIL": TrainStatus.Fail,
    "Fail": TrainStatus.Fail,
    "Failed": TrainStatus.Fail,
    "STOP": TrainStatus.Stop,
    "Stop": TrainStatus.Stop,
    "Stopped": TrainStatus.Stop,
    "RUNNING": TrainStatus.Running,
    "Running": TrainStatus.Running,
    "Waiting": TrainStatus.Running,
    "": TrainStatus.Running,
}

V1_WORD: Final[dict[TrainStatus, V1TrainStatus]] = {
    TrainStatus.Running: V1TrainStatus.Running,
    TrainStatus.Finish: V1TrainStatus.Finish,
    TrainStatus.Fail: V1TrainStatus.Fail,
    TrainStatus.Stop: V1TrainStatus.Stop,
}


def run_status(word: str) -> TrainStatus:
    """What a run's status word means, whichever generation of the interface it comes from.

    Raises ValueError for a word that none of them uses."""
    try:
        return _RUN_WORDS[str(word.value if isinstance(word, Enum) else word)]
    except KeyError:
        raise ValueError(f"unknown status of a training run: {word!r}") from None
