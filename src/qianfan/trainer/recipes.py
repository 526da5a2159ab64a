"""The actions of a training, in order: what the trainers of each mode are made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qianfan.contract.enums import DataTemplateType, TrainMode
from qianfan.errors import InvalidArgumentError
from qianfan.model import runs
from qianfan.trainer.actions import (
    DeployAction,
    EvaluateAction,
    LoadDataSetAction,
    ModelPublishAction,
    TrainAction,
)
from qianfan.trainer.base import BaseAction, Pipeline
from qianfan.utils.logging import logger

TEMPLATES: Final = {
    TrainMode.SFT: DataTemplateType.NonSortedConversation,
    TrainMode.PostPretrain: DataTemplateType.GenericText,
    TrainMode.DPO: DataTemplateType.PromptChosenRejected,
}
OF_TRAINING: Final = frozenset(
    {
        "task_id",
        "job_id",
        "task_name",
        "job_name",
        "task_description",
        "job_description",
        "peft_type",
        "validate_strict",
    }
)
OTHERS: Final = frozenset({"name", "model_not_publish"})


def pipeline(
    who: str,
    mode: TrainMode,
    train_type: str | None,
    dataset: Any,
    train_config: Any,
    deploy_config: Any,
    event_handler: Any,
    base_model: str | None,
    others: Mapping[str, Any],
    *,
    publish: bool,
    eval_dataset: Any = None,
    evaluators: Sequence[Any] | None = None,
    gate: Any = None,
    dataset_bos_path: str | None = None,
    previous_trainer: Any = None,
    previous_task_id: Any = None,
) -> Pipeline:
    """Load, train, and as far as wanted publish, deploy and evaluate. Every action has the handler.

    who: the trainer, for error texts. others: the keywords of the trainer that are not named here."""
    from qianfan.trainer.configs import TrainConfig

    _check_names(who, others)
    _one_of(who, dataset=dataset, dataset_bos_path=dataset_bos_path)
    _one_of(who, previous_trainer=previous_trainer, previous_task_id=previous_task_id)
    _one_of(who, **{word: others.get(word) for word in ("name", "task_name", "job_name")})
    if dataset is None and dataset_bos_path is None:
        raise InvalidArgumentError(
            "dataset must be set: either dataset or bos_path is required",
            advice="give dataset=Dataset.load(…)",
        )
    if isinstance(train_config, (str, Path)):
        train_config = TrainConfig.load(train_config)
    previous, before = _previous(previous_trainer, previous_task_id)
    training = {name: value for name, value in others.items() if name in OF_TRAINING}
    if not training.get("task_name"):
        training["task_name"] = others.get("name")
    if before is not None:
        train_type = train_type or before.train_type
        training.setdefault("peft_type", before.peft_type)
    train = TrainAction(
        train_type,
        train_config,
        base_model,
        train_mode=mode,
        previous=previous,
        event_handler=event_handler,
        **training,
    )
    load = LoadDataSetAction(
        dataset_bos_path if dataset is None else dataset,
        TEMPLATES[mode],
        "v2" if train.is_v2 else "v1",
        event_handler=event_handler,
    )
    actions: list[BaseAction[Any, Any]] = [load, train]
    evaluate = eval_dataset is not None or bool(evaluators) or gate is not None
    if publish and not others.get("model_not_publish"):
        actions.append(ModelPublishAction(event_handler=event_handler))
    elif deploy_config is not None or evaluate:
        raise InvalidArgumentError(
            f"{who} publishes no model here, so there is nothing to deploy or to evaluate",
            advice="leave model_not_publish, or deploy_config, eval_dataset and evaluators out",
        )
    last: list[BaseAction[Any, Any]] = []
    if deploy_config is not None:
        last.append(DeployAction(deploy_config, event_handler=event_handler))
    if evaluate:
        check = EvaluateAction(eval_dataset, evaluators or (), gate, event_handler=event_handler)
        if deploy_config is None or gate is not None:
            check.must_be_on_platform("a model that is not deployed answers one")
        last.insert(len(last) if gate is None else 0, check)  # a gate stands before what it guards
    actions += last
    return Pipeline(actions, event_handler=event_handler)


def _one_of(who: str, **given: Any) -> None:
    """Raise InvalidArgumentError where two arguments say the same thing."""
    both = [name for name, value in given.items() if value is not None]
    if len(both) > 1:
        raise InvalidArgumentError(f"{who} got {' and '.join(both)}", advice="give one of them")


def _previous(trainer: Any, task_id: Any) -> tuple[runs.Run | None, TrainAction | None]:
    """The run to go on from, and the action that made it if it is known."""
    if trainer is None:
        if task_id is None:
            return None, None
        if not str(task_id).startswith("task-"):
            raise InvalidArgumentError(
                f"previous_task_id {task_id!r} is no run of the V2 interface",
                advice="give its task-… id; a run of V1 is named by task_id= and job_id=, or by previous_trainer=",
            )
        return runs.Run(str(task_id), ""), None
    found = [action for action in getattr(trainer, "actions", {}).values() if isinstance(action, TrainAction)]
    if not found:
        raise InvalidArgumentError(
            "previous_trainer has no train_action", advice="give a trainer that trains, such as PostPreTrain"
        )
    if found[0].reference is None:
        raise InvalidArgumentError(
            "previous_trainer has not trained yet", advice="run it first, then make this trainer"
        )
    return found[0].reference, found[0]


def _check_names(who: str, others: Mapping[str, Any]) -> None:
    known = sorted(OF_TRAINING | OTHERS)
    for name in others.keys() - set(known):
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        logger.warning("%s has no argument %r, so it is ignored%s", who, name, meant)
