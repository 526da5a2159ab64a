"""A whole fine-tuning: what is sent, what is told, what is left."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.dataset import Dataset
from qianfan.errors import InternalError, InvalidArgumentError, TrainingFailed, ValidationError
from qianfan.trainer import Event, EventHandler, LLMFinetune
from qianfan.trainer.configs import DeployConfig, TrainConfig
from qianfan.trainer.consts import ActionState, FinetuneStatus, ServiceStatus

ROWS = [[{"prompt": "a", "response": [["b"]]}]]


class Ear(EventHandler):
    """Keeps what it hears, and the trainer's status at that moment."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.statuses: list[str] = []
        self.trainer: LLMFinetune | None = None

    def dispatch(self, event: Event) -> None:
        self.events.append(event)
        if self.trainer is not None:
            self.statuses.append(str(self.trainer.status.value))  # type: ignore[attr-defined]

    @property
    def told(self) -> list[tuple[str | None, str]]:
        return [(event.action_class, event.action_state.value) for event in self.events]


def on_platform() -> Dataset:
    return Dataset.load(qianfan_dataset_id=1, is_download_to_local=False)


def a_trainer(ear: EventHandler | None = None, **kwargs: Any) -> LLMFinetune:
    return LLMFinetune("ERNIE-Bot-turbo-0725", on_platform(), event_handler=ear, **kwargs)


def test_a_run_sends_exactly_the_documented_sequence(platform: StubPlatform) -> None:
    """Load, train, publish, deploy, and a question: these requests and no other."""
    trainer = a_trainer(deploy_config=DeployConfig(replicas=1, pool_type=1))
    trainer.run()
    answer = trainer.result[0]["service"].exec({"messages": [{"role": "user", "content": "hi"}]})
    assert answer["result"] == "hello"
    assert platform.routes == [
        "dataset/info",  # Dataset.load
        "dataset/info",
        "dataset/release",
        "dataset/info",
        "dataset/info",
        "finetune/createTask",
        "finetune/createJob",
        "finetune/jobDetail",
        "finetune/jobDetail",
        "modelrepo/publishTrainModel",
        "finetune/jobDetail",
        "modelrepo/modelDetail",
        "modelrepo/modelVersionDetail",
        "modelrepo/modelVersionDetail",
        "service/apply",
        "service/detail",
        "service/detail",
        "service/detail",
        "service/detail",  # Service.exec
        "chat",
    ]


def test_a_released_dataset_is_not_released_again(platform: StubPlatform) -> None:
    """One look at it is enough."""
    platform.released = True
    a_trainer().run()
    assert platform.routes[:3] == ["dataset/info", "dataset/info", "finetune/createTask"]


def test_the_job_is_described_as_documented(platform: StubPlatform) -> None:
    """Names, defaults of the train type, and the extras in camelCase."""
    config = TrainConfig(epochs=2, batch_size=4, extras={"my_flag": 1})
    a_trainer(train_config=config, task_name="mine", task_description="d", job_description="j").run()
    assert platform.bodies("finetune/createTask") == [
        {
            "name": "mine",
            "description": "d",
            "baseTrainType": "ERNIE-Bot-turbo",
            "trainType": "ERNIE-Bot-turbo-0725",
        }
    ]
    assert platform.bodies("finetune/createJob") == [
        {
            "taskId": 301,
            "description": "j",
            "baseTrainType": "ERNIE-Bot-turbo",
            "trainType": "ERNIE-Bot-turbo-0725",
            "trainMode": "SFT",
            "peftType": "LoRA",
            "trainConfig": {"epoch": 2, "batchSize": 4, "myFlag": 1, "maxSeqLen": 4096},
            "trainset": [{"type": 1, "id": 77}],
            "trainsetRate": 20,
        }
    ]


def test_the_result_has_every_documented_key(platform: StubPlatform) -> None:
    """The name given to the run reaches the model; the output keeps the input."""
    trainer = a_trainer(deploy_config=DeployConfig(endpoint_prefix="mine", pool_type=2))
    assert trainer.run(input={"name": "my_model"}) is trainer
    result = trainer.result[0]
    assert trainer.output is result
    ids = ("task_id", "job_id", "model_id", "model_version_id", "service_id", "service_endpoint")
    assert [result[key] for key in ids] == [301, 401, 501, 601, 701, "abcd_ep"]
    assert result["datasets"] == [{"id": 77, "type": 1, "name": "stub"}]
    assert result["model"].service is result["service"]
    assert platform.bodies("modelrepo/publishTrainModel") == [
        {"isNewModel": True, "modelName": "my_model", "versionMeta": {"taskId": 301, "iterationId": 401}}
    ]
    assert platform.bodies("service/apply")[0]["uri"] == "mine"


def test_a_local_dataset_is_saved_first(platform: StubPlatform) -> None:
    """Upload, create, import, wait, release, wait; then the training uses its id."""
    LLMFinetune("SmolLM2-135M-Instruct", Dataset.create_from_pyobj(ROWS)).run()
    assert platform.routes[:8] == [
        "files",
        "dataset/create",
        "dataset/import",
        "dataset/info",
        "dataset/info",
        "dataset/release",
        "dataset/info",
        "dataset/info",
    ]
    assert platform.bodies("finetune/createJob")[0]["trainset"] == [{"type": 1, "id": 77}]


def test_a_local_dataset_without_answers_is_refused(platform: StubPlatform) -> None:
    """Nothing is sent; the error names the line."""
    trainer = LLMFinetune("SmolLM2-135M-Instruct", Dataset.create_from_pyobj([*ROWS, [{"prompt": "x"}]]))
    with pytest.raises(ValidationError, match="line 2: the conversation has no answer"):
        trainer.run()
    assert platform.routes == []


def test_events_come_in_the_documented_order(platform: StubPlatform) -> None:
    """Pipeline first and last; each action between its Preceding and its Done."""
    ear = Ear()
    trainer = a_trainer(ear, deploy_config=DeployConfig())
    trainer.run()
    pipeline = ("Pipeline", "Running")
    assert ear.told == [
        ("Pipeline", "Preceding"),
        pipeline,
        ("LoadDataSetAction", "Preceding"),
        ("LoadDataSetAction", "Done"),
        pipeline,
        ("TrainAction", "Preceding"),
        ("TrainAction", "Running"),
        ("TrainAction", "Running"),
        ("TrainAction", "Done"),
        pipeline,
        ("ModelPublishAction", "Preceding"),
        ("ModelPublishAction", "Running"),
        ("ModelPublishAction", "Done"),
        pipeline,
        ("DeployAction", "Preceding"),
        ("DeployAction", "Running"),
        ("DeployAction", "Done"),
        ("Pipeline", "Done"),
    ]
    load, train, publish, deploy = trainer.actions
    by_action = [event.data for event in ear.events if event.action_class == "Pipeline"]
    assert by_action == [{}, *({"action": id} for id in (load, train, publish, deploy)), trainer.result[0]]
    data = {(e.action_class, e.action_state): e.data for e in ear.events}
    assert data["TrainAction", ActionState.Preceding] == {}
    assert data["TrainAction", ActionState.Running]["result"]["trainStatus"] == "FINISH"
    assert data["ModelPublishAction", ActionState.Running] == {"task_id": 301, "job_id": 401}
    assert data["DeployAction", ActionState.Running]["model"].id == 501
    assert data["LoadDataSetAction", ActionState.Done] == {
        "datasets": [{"id": 77, "type": 1, "name": "stub"}]
    }
    assert {event.action_id for event in ear.events} == {load, train, publish, deploy, trainer.ppls[0].id}
    assert "action_event" in str(ear.events[0])


def test_the_status_follows_the_table(platform: StubPlatform) -> None:
    """Each event changes the status before it is told."""
    ear = Ear()
    trainer = ear.trainer = a_trainer(ear, deploy_config=DeployConfig())
    assert trainer.status == FinetuneStatus.Unknown
    trainer.run()
    seen = list(dict.fromkeys(ear.statuses))
    assert seen == [
        "Unknown",
        "DatasetLoading",
        "DatasetLoaded",
        "TrainCreated",
        "Training",
        "TrainFinished",
        "ModelPublishing",
        "ModelPublished",
        "Created",
        "Deploying",
        "Deployed",
    ]
    assert trainer.status == ServiceStatus.Deployed


def test_a_failed_training_raises_and_is_kept(platform: StubPlatform) -> None:
    """The text has step and reason; events and status say Error."""
    platform.run_words, platform.reason = ["RUNNING", "FAIL"], "out of memory"
    platform.details = [{"step": 3, "steps": 10}]
    ear = Ear()
    trainer = a_trainer(ear)
    with pytest.raises(TrainingFailed, match=r"301/401 failed at step 3 of 10: out of memory") as caught:
        trainer.run()
    assert isinstance(caught.value, InternalError)
    assert "get_log" in str(caught.value)
    assert trainer.result[0] == {"error": caught.value}
    assert trainer.status == FinetuneStatus.TrainFailed
    assert ear.told[-2:] == [("TrainAction", "Error"), ("Pipeline", "Error")]
    assert ear.events[-1].data == {"error": str(caught.value)}
    assert "modelrepo/publishTrainModel" not in platform.routes


def test_a_failed_publication_says_why(platform: StubPlatform) -> None:
    """The platform's reason is in the error."""
    platform.version_words, platform.reason = ["Creating", "Fail"], "parity failed at token 3"
    trainer = a_trainer()
    with pytest.raises(InternalError, match="parity failed at token 3"):
        trainer.run()
    assert trainer.status == FinetuneStatus.ModelPublishFailed


def test_a_service_that_does_not_come_up_says_why(platform: StubPlatform) -> None:
    """State and reason are in the error."""
    platform.service_words, platform.reason = ["New", "Failed"], "no engine"
    trainer = a_trainer(deploy_config=DeployConfig())
    with pytest.raises(InternalError, match="it is Failed: no engine"):
        trainer.run()
    assert trainer.status == ServiceStatus.DeployFailed


def test_a_failing_handler_is_logged_and_stops_nothing(
    platform: StubPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """The run ends well, and the log has the handler's error."""

    class Broken(EventHandler):
        def dispatch(self, event: Event) -> None:
            raise RuntimeError("my mistake")

    with caplog.at_level(logging.ERROR, logger="qianfan"):
        trainer = a_trainer(Broken())
        trainer.run()
    assert trainer.result[0]["model_id"] == 501
    assert "my mistake" in caplog.text


def test_a_handler_may_be_given_to_one_action(platform: StubPlatform) -> None:
    """With an id only that action is heard."""
    trainer, ear = a_trainer(), Ear()
    trainer.ppls[0].register_event_handler(ear, list(trainer.actions)[1])
    trainer.run()
    assert {name for name, _ in ear.told} == {"TrainAction"}
    everything = Ear()
    trainer.register_event_handler(everything)
    trainer.run()
    assert {name for name, _ in everything.told} >= {"Pipeline", "LoadDataSetAction"}
    with pytest.raises(InvalidArgumentError, match="no pipeline"):
        trainer.register_event_handler(ear, "none")


def test_train_types_of_the_second_interface_use_it(platform: StubPlatform) -> None:
    """ERNIE-Speed is of V2: string ids, other words, and a publication by container and run."""
    config = TrainConfig(epoch=1, logging_steps=5, peft_type="ALL")
    trainer = LLMFinetune("ERNIE-Speed", on_platform(), train_config=config)
    trainer.run()
    assert platform.routes[5:] == [
        "CreateFineTuningJob",
        "CreateFineTuningTask",
        "DescribeFineTuningTask",
        "DescribeFineTuningTask",
        "modelrepo/publishTrainModel",
        "DescribeFineTuningTask",
        "modelrepo/modelDetail",
        "modelrepo/modelVersionDetail",
        "modelrepo/modelVersionDetail",
    ]
    task = platform.bodies("CreateFineTuningTask")[0]
    assert task["parameterScale"] == "FullFineTuning"
    assert task["hyperParameterConfig"] == {"epoch": 1, "loggingSteps": 5, "maxSeqLen": 4096}
    assert task["datasetConfig"] == {
        "sourceType": "Platform",
        "versions": [{"versionId": "ds-0000000000000077"}],
        "splitRatio": 20,
    }
    meta = platform.bodies("modelrepo/publishTrainModel")[0]["versionMeta"]
    assert meta == {"taskId": "job-bbbbbbbbbbbb", "iterationId": "task-bbbbbbbbbbbb"}
    assert trainer.output["model_version_id"] == "amv-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train_type": "ERNIE-bot-turbo-725"}, "ERNIE-Bot-turbo-0725"),
        ({"base_model": "Llama2"}, "Llama-2"),
        ({"dataset": None}, "dataset must be set"),
        ({"train_config": TrainConfig(peft_type="P-tuning")}, "ALL, LoRA"),
        ({"eval_dataset": 1}, "evaluators"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    platform: StubPlatform, arguments: dict[str, Any], words: str
) -> None:
    """The error names what was meant."""
    given = {"train_type": "ERNIE-Bot-turbo-0725", "dataset": Dataset(id=1), **arguments}
    with pytest.raises(InvalidArgumentError, match=words):
        LLMFinetune(**given)
    assert platform.routes == []


def test_a_dataset_of_another_template_is_refused(platform: StubPlatform) -> None:
    """At construction when the template is known, at the run when it is not."""
    platform.template, platform.project = 2001, 20
    with pytest.raises(InvalidArgumentError, match="dataset must be `NonSortedConversation` template"):
        a_trainer()
    trainer = LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1))
    with pytest.raises(InvalidArgumentError, match="SortedConversation"):
        trainer.run()


def test_an_unknown_argument_is_named(platform: StubPlatform, caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored, with the name that was meant in the log."""
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        a_trainer(task_nam="x")
    assert "did you mean 'task_name'" in caplog.text


def test_the_log_is_the_runs_own(platform: StubPlatform) -> None:
    """All pages, as lines, with metrics and ledger; a cloud that keeps none says so."""
    trainer = a_trainer()
    with pytest.raises(InternalError, match="no log yet"):
        trainer.get_log()
    trainer.run()
    log = trainer.get_log()
    assert len(log) == 3
    assert str(log).splitlines()[1] == "12:00:02 INFO line 2"
    assert log.metrics == [{"kind": "step", "step": 1, "loss": 2.0}]
    assert log.ledger == {"samples": 1, "kept": 1}
    assert platform.bodies("DescribeFineTuningTaskLog")[0] == {"taskId": 401, "after": 0}
    platform.keeps_logs = False
    with pytest.raises(InternalError, match="console"):
        trainer.get_log()
    with pytest.raises(NotImplementedError, match="evaluation"):
        trainer.get_evaluate_result()


def test_a_downloaded_dataset_is_trained_on_where_it_lies(platform: StubPlatform) -> None:
    """Only rows that were changed here are saved as a new dataset."""
    dataset = Dataset.load(qianfan_dataset_id=1)
    LLMFinetune("ERNIE-Bot-turbo-0725", dataset).run()
    assert platform.uploads == []
    LLMFinetune("ERNIE-Bot-turbo-0725", dataset.filter(lambda row: True)).run()
    assert len(platform.uploads) == 1


def test_warnings_of_the_platform_are_logged_once(
    platform: StubPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no progress is shown they are in the log."""
    platform.details = [{"warnings": ["learning rate is low"]}]
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        a_trainer().run()
    assert caplog.text.count("learning rate is low") == 1


def test_a_train_type_of_ones_own_platform_passes_when_asked(platform: StubPlatform) -> None:
    """With validate_strict=False the platform decides."""
    LLMFinetune("my-model", on_platform(), validate_strict=False, train_config=TrainConfig(epoch=1)).run()
    job = platform.bodies("finetune/createJob")[0]
    assert (job["trainType"], job["baseTrainType"], job["peftType"]) == ("my-model", "my-model", "LoRA")
