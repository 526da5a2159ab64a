"""Arguments: each is used, or refused, or named in the log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.dataset import Dataset
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import (
    DPO,
    DeployAction,
    EventHandler,
    LLMFinetune,
    LoadDataSetAction,
    ModelPublishAction,
    Service,
    TrainAction,
)
from qianfan.trainer.base import Pipeline
from qianfan.trainer.configs import DatasetConfig, DeployConfig, TrainConfig

TYPE = "ERNIE-Bot-turbo-0725"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrainAction(TYPE, epochs=3), "TrainAction has no argument 'epochs'"),
        (lambda: TrainAction(TYPE, trainconfig=None), "did you mean 'train_config'"),
        (lambda: LoadDataSetAction(datset=1), "did you mean 'dataset'"),
        (lambda: ModelPublishAction(model_name="n"), "ModelPublishAction has no argument 'model_name'"),
        (lambda: DeployAction(config=1), "did you mean 'deploy_config'"),
        (lambda: Pipeline([], handler=EventHandler()), "did you mean 'event_handler'"),
        (lambda: Pipeline([]).exec({}, retries=2), None),  # actions of one's own may take it
        (lambda: DeployConfig.of({"replica": 1}), "did you mean 'replicas'"),
    ],
)
def test_an_argument_that_nobody_takes_is_named_in_the_log(
    make: Any, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """With the name that was meant, where one is near."""
    with caplog.at_level(logging.WARNING):
        make()
    assert caplog.text == "" if words is None else words in caplog.text


def test_an_option_that_no_call_has_is_named_in_the_log(
    platform: StubPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """Of run(), and of an action alone."""
    platform.released = True
    with caplog.at_level(logging.WARNING):
        LoadDataSetAction(1).exec(retry_cont=2)
        LLMFinetune(TYPE, Dataset(id=1)).run(inputs={"name": "n"}, retry_count=1)
    assert "option 'retry_cont'" in caplog.text
    assert "did you mean 'retry_count'" in caplog.text
    assert "option 'inputs'" in caplog.text
    assert "did you mean 'input'" in caplog.text
    assert caplog.text.count("has the option") == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LLMFinetune(TYPE, 1, event_handler=print), "cannot hear events"),  # type: ignore[arg-type]
        (lambda: LLMFinetune(TYPE, 1, event_handler=EventHandler), "give an object of it"),  # type: ignore[arg-type]
        (lambda: Pipeline([]).register_event_handler(print), "cannot hear events"),  # type: ignore[arg-type]
        (lambda: Pipeline(["load"]), "'load' is none"),  # type: ignore[list-item]
        (lambda: LLMFinetune(TYPE, 1, train_mode="SFTT"), "it is one of SFT, PostPretrain"),
        (lambda: DPO("ERNIE-Speed", 1, train_mode="SFT"), "DPO trains by DPO, not by SFT"),
        (lambda: LLMFinetune(TYPE, 1, dataset_bos_path="bos:/b/d"), "got dataset and dataset_bos_path"),
        (lambda: LLMFinetune(TYPE, 1, name="a", task_name="b"), "got name and task_name"),
        (lambda: TrainAction(TYPE, task_name="a", job_name="b"), "got task_name and job_name"),
        (lambda: TrainAction(TYPE, 3), "3 is no TrainConfig"),  # type: ignore[arg-type]
        (lambda: LLMFinetune(TYPE, 1, deploy_config=[1]), "is no DeployConfig"),  # type: ignore[arg-type]
        (lambda: LoadDataSetAction(1, "chat"), "'chat' is not a valid DataTemplateType"),  # type: ignore[arg-type]
        (lambda: LoadDataSetAction(1, generation="v3"), "it is v1 or v2"),
        (lambda: TrainAction(TYPE).exec("ds-1"), "the input of TrainAction is a dict"),  # type: ignore[arg-type]
        (lambda: Service(endpoint="e", service_type="chat"), "one of Chat, Completion"),  # type: ignore[arg-type]
        (lambda: DeployConfig(extras=[1]), "extras"),
        (lambda: DeployConfig(months=1, hours=2), "by months or by hours"),
        (lambda: DatasetConfig(datasets=[1], corpus_proportion="1:2"), "corpus_type"),
        (lambda: LoadDataSetAction(DatasetConfig(datasets=[1], source_type="Bos")), "are of Platform"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_at_once(make: Any, words: str) -> None:
    """Before anything is asked of the platform, which is not there."""
    with pytest.raises(InvalidArgumentError, match=words):
        make()


def test_a_configuration_may_be_a_dict_or_a_file(tmp_path: Path) -> None:
    """Wherever one is taken."""
    file = tmp_path / "train.json"
    file.write_text('{"epoch": 2}', encoding="utf-8")
    assert TrainAction(TYPE, {"epoch": 2}).train_config == TrainConfig(epoch=2)  # type: ignore[arg-type]
    assert TrainAction(TYPE, str(file)).train_config == TrainConfig(epoch=2)  # type: ignore[arg-type]
    deploy = LLMFinetune(TYPE, 1, deploy_config={"replicas": 2}).ppls[0].actions.values()  # type: ignore[arg-type]
    assert [one.deploy_config for one in deploy if isinstance(one, DeployAction)] == [
        DeployConfig(replicas=2)
    ]


def test_ids_may_be_given_to_the_action_itself(platform: StubPlatform) -> None:
    """An action that is used alone needs no input then; what the input has goes before."""
    published = ModelPublishAction(task_id=301, job_id="401").exec({"name": "mine"})
    assert (published["task_id"], published["job_id"], published["model_id"]) == (301, 401, 501)
    deployed = DeployAction(DeployConfig(), model_id=501, model_version_id=601).exec()
    assert deployed["service_endpoint"] == "abcd_ep"
    again = DeployAction(DeployConfig(), model_id=1, model_version_id=2)
    saved = again.loads(again.dumps() or b"")
    saved.exec({"model_id": 501, "model_version_id": 601})
    assert platform.bodies("service/apply")[-1]["modelVersionId"] == 601
    assert (saved.model_id, saved.model_version_id) == (501, 601)


def test_what_extras_of_a_deployment_say_is_sent(platform: StubPlatform) -> None:
    """Beside the documented members, in place of none."""
    DeployAction(DeployConfig(extras={"note": "mine", "replicas": 9})).exec(
        {"model_id": 501, "model_version_id": 601}
    )
    (sent,) = platform.bodies("service/apply")
    assert (sent["note"], sent["replicas"]) == ("mine", 1)
