"""`Model` and `Service` by themselves."""

from __future__ import annotations

import logging

import pytest
from stub_platform import StubPlatform

from qianfan.dataset import Dataset
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model import Model, Service, model_deploy
from qianfan.trainer.configs import DeployConfig
from qianfan.trainer.consts import ServiceType


def test_a_version_that_is_ready_is_not_published_again(platform: StubPlatform) -> None:
    """One look, and the model is returned."""
    platform.version_words = ["Ready"]
    model = Model(version_id=601)
    assert model.publish() is model
    assert platform.routes == ["modelrepo/modelVersionDetail"]
    assert (model.id, model.name) == (501, "m")


def test_a_training_run_is_published_under_a_name(platform: StubPlatform) -> None:
    """By default one made of its ids; the run is waited for."""
    Model(task_id=1, job_id=2).publish()
    assert platform.bodies("modelrepo/publishTrainModel")[0]["modelName"] == "m_1_2"
    assert platform.routes.count("finetune/jobDetail") == 2


def test_a_failed_run_cannot_be_published(platform: StubPlatform) -> None:
    """The error names its end and the reason."""
    platform.run_words, platform.reason = ["FAIL"], "no memory"
    with pytest.raises(InvalidArgumentError, match="ended as Fail: no memory"):
        Model(task_id=1, job_id=2).publish()
    with pytest.raises(InvalidArgumentError, match="nothing to publish"):
        Model().publish()


def test_a_model_is_deployed_once(platform: StubPlatform) -> None:
    """A model with a service gives it back; one without asks first."""
    model = Model(id=501)
    with pytest.raises(InternalError, match="deploy it first"):
        model.exec({"messages": []})
    service = model.deploy(DeployConfig(name="n", endpoint_prefix="e", description="d", replicas=2))
    assert model.deploy(DeployConfig()) is service is model.service
    assert platform.bodies("service/apply") == [
        {
            "modelId": 501,
            "modelVersionId": 601,
            "name": "n",
            "uri": "e",
            "replicas": 2,
            "poolType": 2,
            "description": "d",
        }
    ]
    assert model.exec({"messages": [{"role": "user", "content": "hi"}]})["result"] == "hello"
    assert service.status == "Done"


def test_a_failed_deployment_can_be_made_again(platform: StubPlatform) -> None:
    """The next one is another service."""
    platform.service_words = ["Failed"]
    model = Model(id=501, version_id=601)
    with pytest.raises(InternalError, match="it is Failed"):
        model_deploy(model, DeployConfig())
    platform.service_words = ["Done"]
    assert model_deploy(model, DeployConfig()).endpoint == "abcd_ep"
    assert platform.routes.count("service/apply") == 2


def test_a_service_by_endpoint_answers_without_an_id(platform: StubPlatform) -> None:
    """No status is asked for; a type is wanted, and an input."""
    service = Service(endpoint="mine", service_type=ServiceType.Chat)
    assert service.exec({"messages": [{"role": "user", "content": "hi"}]})["result"] == "hello"
    assert platform.routes == ["chat"]
    with pytest.raises(InternalError, match="no id"):
        service.status
    with pytest.raises(InvalidArgumentError, match="service_type"):
        Service(endpoint="mine").get_res()
    with pytest.raises(InvalidArgumentError, match="no input"):
        service.exec()
    with pytest.raises(InvalidArgumentError, match="invalid model service"):
        Service()


def test_each_type_has_its_class(platform: StubPlatform) -> None:
    """The documented four."""
    for kind, name in (("Chat", "ChatCompletion"), ("Completion", "Completion"), ("Embedding", "Embedding")):
        assert type(Service(endpoint="e", service_type=ServiceType(kind)).get_res()).__name__ == name
    assert (
        type(Service(model="ERNIE-Bot", service_type=ServiceType.Chat).get_res()).__name__ == "ChatCompletion"
    )


def test_a_service_that_is_not_ready_is_warned_about(
    platform: StubPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked all the same."""
    platform.service_words = ["Deploying"]
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        Service(id=701, endpoint="e", service_type=ServiceType.Chat).get_res()
    assert "is Deploying" in caplog.text or "Deploying, not Done" in caplog.text


def test_a_batch_run_answers_a_dataset_of_the_platform(platform: StubPlatform) -> None:
    """An evaluation is created and waited for; its result is loaded."""
    platform.rows = [[{"prompt": "a", "response": [["b"]], "model_response": [{"content": "c"}]}]]
    answers = Model(id=501, version_id=601).batch_run_on_qianfan(Dataset(id=1))
    assert answers.to_pylist() == platform.rows
    created = platform.bodies("modelrepo/eval/create")[0]
    assert created["versionEvalInfo"] == [{"modelId": 501, "modelVersionId": 601}]
    assert created["evalStandardConf"]["evalMode"] == "manual"
    with pytest.raises(ValueError, match="not on the platform"):
        Model(id=501).batch_run_on_qianfan(Dataset.create_from_pyobj([{"prompt": "a"}]))


def test_what_is_missing_of_the_ids_is_found(platform: StubPlatform) -> None:
    """The newest version of a model, or the model of a version; the int ids beside."""
    model = Model(id="am-aaaaaaaaaaaa", auto_complete=True)
    assert (model.version_id, model.old_version_id, model.old_id) == ("amv-aaaaaaaaaaaa", 601, 501)
    assert Model(version_id="amv-aaaaaaaaaaaa").auto_complete_info().id == "am-aaaaaaaaaaaa"
    assert Model(version_id=601, auto_complete=True).id == 501
    with pytest.raises(InvalidArgumentError, match="no ids"):
        Model().auto_complete_info()


def test_a_checkpoint_may_be_published(platform: StubPlatform) -> None:
    """By its step; a run of V2 gives the name its container first."""
    Model(task_id="task-1", job_id="job-1").publish(step=40)
    (body,) = platform.bodies("modelrepo/publishTrainModel")
    assert body["versionMeta"] == {"taskId": "job-1", "iterationId": "task-1", "step": 40}
    assert body["modelName"] == "m_job-1_task-1"


def test_the_later_terms_of_the_cloud_go_through_its_later_interface(platform: StubPlatform) -> None:
    """Resources and payment; the endpoint is the last part of the address."""
    config = DeployConfig(endpoint_suffix="mine", replicas=2, qps=3, months=1, service_type="Chat")
    service = Model(id="am-1", version_id="amv-1").deploy(config)
    assert platform.bodies("CreateService") == [
        {
            "modelSetId": "am-1",
            "modelId": "amv-1",
            "name": "svcam-1_amv-1",
            "urlSuffix": "mine",
            "resourceConfig": {"type": "GPU-I-2", "replicasCount": 2, "qps": 3.0},
            "billing": {
                "paymentTiming": "Prepaid",
                "reservation": {"reservationLength": 1, "reservationTimeUnit": "Month"},
            },
        }
    ]
    assert (service.id, service.endpoint, service.status) == ("svco-aaaaaaaaaaaa", "v2_ep", "Done")
    assert "service/apply" not in platform.routes
    assert service.exec({"messages": [{"role": "user", "content": "hi"}]})["result"] == "hello"


def test_a_service_is_changed_in_place(platform: StubPlatform) -> None:
    """Scaled, updated, stopped, started, deleted; what takes a while is waited for."""
    service = Model(id=501, version_id=601).deploy(DeployConfig())
    assert service.scale(3) is service
    assert platform.bodies("ScaleService") == [{"serviceId": 701, "replicas": 3}]
    newer = Model(id=501, version_id=602)
    service.update(newer)
    assert platform.bodies("ModifyService") == [{"serviceId": 701, "modelSetId": 501, "modelId": 602}]
    assert newer.service is service
    assert platform.routes.count("DescribeService") == 2
    platform.update_words, platform.reason = ["Failed"], "no tokens came"
    with pytest.raises(InternalError, match="answers as before: no tokens came"):
        service.update(Model(id=501, version_id=603))
    assert service.model is newer
    assert service.stop() is service
    service.start()
    service.delete()
    assert platform.routes[-1] == "DeleteService"
    assert newer.service is None
    with pytest.raises(InvalidArgumentError, match="no id"):
        service.scale(1)
