"""Training further: from a trainer, from ids, across modes; and the trainers of the other modes."""

from __future__ import annotations

from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.contract.enums import DataTemplateType, TrainMode
from qianfan.dataset import Dataset
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import DPO, Event, EventHandler, Finetune, LLMFinetune, PostPreTrain, TrainAction
from qianfan.trainer.configs import DeployConfig, TrainConfig

CONVERSATIONS = [[{"prompt": "a", "response": [["b"]]}]]


class Ear(EventHandler):
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def dispatch(self, event: Event) -> None:
        self.heard.append(event)


def on_platform() -> Dataset:
    return Dataset(id=1)


def test_a_run_of_v1_is_gone_on_from_as_documented(platform: StubPlatform) -> None:
    """jobRunType 1 and increConfig, in the container of the run before, by its tuning method."""
    first = LLMFinetune("ERNIE-Bot-turbo-0725", on_platform(), TrainConfig(peft_type="ALL"))
    first.run()
    ear = Ear()
    second = LLMFinetune(dataset=on_platform(), previous_trainer=first, event_handler=ear)
    second.run()
    before, after = platform.bodies("finetune/createJob")
    assert "jobRunType" not in before
    assert after["jobRunType"] == 1
    assert after["increConfig"] == {"taskId": 301, "jobId": 401}
    assert (after["taskId"], after["peftType"], after["trainType"]) == (301, "ALL", "ERNIE-Bot-turbo-0725")
    assert platform.routes.count("finetune/createTask") == 1
    assert second.output["job_id"] == 402
    assert second.train_action.is_incr
    assert {event.action_class for event in ear.heard} >= {"TrainAction", "LoadDataSetAction"}


def test_two_ids_name_the_run_to_go_on_from(platform: StubPlatform) -> None:
    """Its train type is asked for where none is given; one that only the platform knows is taken as it is."""
    platform.run_words, platform.train_type = ["FINISH"], "of-my-platform"
    action = TrainAction(task_id=3, job_id=4)
    assert platform.routes == ["finetune/jobDetail"]
    result = action.exec({"datasets": [{"type": 1, "id": 77}]})
    (job,) = platform.bodies("finetune/createJob")
    assert (job["trainType"], job["baseTrainType"]) == ("of-my-platform", "of-my-platform")
    platform.train_type = ""
    with pytest.raises(InvalidArgumentError, match="3/4 trains"):
        TrainAction(task_id=3, job_id=4)
    assert (job["taskId"], job["jobRunType"], job["increConfig"]) == (3, 1, {"taskId": 3, "jobId": 4})
    assert (result["task_id"], result["job_id"]) == (3, 401)


def test_an_action_with_ids_that_is_only_resumed_waits_for_that_run(platform: StubPlatform) -> None:
    """Nothing is created."""
    result = TrainAction("ERNIE-Bot-turbo-0725", task_id=3, job_id=4).resume()
    assert result == {"task_id": 3, "job_id": 4}
    assert set(platform.routes) == {"finetune/jobDetail"}


def test_a_run_of_v2_is_gone_on_from_in_its_container(platform: StubPlatform) -> None:
    """incrementTaskId, and no other job; the name of the model comes from the run."""
    texts = PostPreTrain("ERNIE-Speed", Dataset.create_from_pyobj(["some text"]))
    texts.run()
    assert set(texts.output) >= {"datasets", "task_id", "job_id", "metrics", "checkpoints"}
    assert "modelrepo/publishTrainModel" not in platform.routes
    (made,) = platform.bodies("CreateFineTuningJob")
    assert (made["model"], made["trainMode"]) == ("ERNIE-Speed", "PostPretrain")
    assert platform.bodies("dataset/create")[0]["templateType"] == DataTemplateType.GenericText
    assert platform.bodies("CreateFineTuningTask")[0]["parameterScale"] == "FullFineTuning"
    platform.template = 2000
    tuned = Finetune(dataset=on_platform(), previous_trainer=texts)
    tuned.run()
    assert platform.bodies("CreateFineTuningTask")[1]["incrementTaskId"] == "task-bbbbbbbbbbbb"
    assert len(platform.bodies("CreateFineTuningJob")) == 2  # another mode is another container
    Finetune(dataset=on_platform(), previous_trainer=tuned).run()
    assert len(platform.bodies("CreateFineTuningJob")) == 2
    assert platform.bodies("CreateFineTuningTask")[2]["jobId"] == "job-bbbbbbbbbbbb"


def test_a_previous_task_is_asked_what_it_trained(platform: StubPlatform) -> None:
    """Once, when the trainer is made; the run goes through V2 whatever the train type is."""
    trainer = LLMFinetune(dataset=on_platform(), previous_task_id="task-0000000000aa")
    assert platform.routes == ["DescribeFineTuningTask"]
    trainer.run()
    (task,) = platform.bodies("CreateFineTuningTask")
    assert task["incrementTaskId"] == "task-0000000000aa"
    assert platform.bodies("CreateFineTuningJob")[0]["model"] == "ERNIE-Speed"
    of_v1 = LLMFinetune("ERNIE-Bot-turbo-0922", on_platform(), previous_task_id="task-0000000000aa")
    assert of_v1.train_action.is_v2


def test_preferences_go_on_from_a_run_of_v1_by_its_other_id(platform: StubPlatform) -> None:
    """DPO is of V2 only; it names the run by its task-…, and asks for rows with two answers."""
    tuned = LLMFinetune("tiny", on_platform())
    tuned.run()
    platform.template = 2002
    trainer = DPO("tiny", on_platform(), previous_trainer=tuned, deploy_config=DeployConfig())
    trainer.run()
    assert platform.bodies("CreateFineTuningJob")[0]["trainMode"] == "DPO"
    assert platform.bodies("CreateFineTuningTask")[0]["incrementTaskId"] == "task-aaaaaaaaaaaa"
    assert trainer.output["service_endpoint"] == "abcd_ep"
    platform.template = 2000
    with pytest.raises(InvalidArgumentError, match="PromptChosenRejected"):
        DPO("tiny", Dataset.load(qianfan_dataset_id=1, is_download_to_local=False))


def test_a_saved_increment_keeps_what_it_goes_on_from(platform: StubPlatform) -> None:
    """Before it ran and after it."""
    first = LLMFinetune("ERNIE-Bot-turbo-0725", on_platform())
    first.run()
    second = LLMFinetune(dataset=on_platform(), previous_trainer=first)
    again = second.loads(second.dumps())
    again.run()
    assert platform.bodies("finetune/createJob")[1]["increConfig"] == {"taskId": 301, "jobId": 401}
    done = again.loads(again.dumps())
    assert done.train_action.reference == again.train_action.reference
    assert done.train_action.reference.mode is TrainMode.SFT


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"previous_trainer": object()}, "no train_action"),
        ({"previous_task_id": "7"}, "no run of the V2 interface"),
        ({"model_not_publish": True, "deploy_config": DeployConfig()}, "nothing to deploy"),
        ({"eval_dataset": 1, "evaluators": [], "model_not_publish": True}, "nothing to deploy"),
    ],
)
def test_what_does_not_go_together_is_refused(
    platform: StubPlatform, arguments: dict[str, Any], words: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgumentError, match=words):
        LLMFinetune("ERNIE-Bot-turbo-0725", on_platform(), **arguments)
    assert platform.routes == []


def test_a_trainer_that_has_not_run_cannot_be_gone_on_from(platform: StubPlatform) -> None:
    """The error says so."""
    first = LLMFinetune("ERNIE-Bot-turbo-0725", on_platform())
    with pytest.raises(InvalidArgumentError, match="run it first"):
        LLMFinetune(dataset=on_platform(), previous_trainer=first)
    with pytest.raises(InvalidArgumentError, match="train_type"):
        PostPreTrain("", on_platform())


def test_a_model_need_not_be_published(platform: StubPlatform) -> None:
    """model_not_publish leaves load and train."""
    trainer = LLMFinetune("ERNIE-Bot-turbo-0725", on_platform(), model_not_publish=True)
    trainer.run()
    assert [type(action).__name__ for action in trainer.actions.values()] == [
        "LoadDataSetAction",
        "TrainAction",
    ]
    assert "modelrepo/publishTrainModel" not in platform.routes


def test_each_trainer_lists_what_it_can_train() -> None:
    """By name; texts cannot be read by every model."""
    assert {"ERNIE-Speed", "ERNIE-Bot-turbo-0725", "tiny"} <= set(LLMFinetune.train_type_list())
    texts = PostPreTrain.train_type_list()
    assert "ERNIE-Speed" in texts
    assert "ERNIE-Bot-turbo-0725" not in texts
    assert LLMFinetune.train_type_list()["ERNIE-Speed"].base == "ERNIE-Speed"
    assert "tiny" in DPO.train_type_list()
