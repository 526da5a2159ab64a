"""Models and services as objects: publish, deploy, ask."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.config import get_config
from qianfan.contract.enums import DeployPoolType, EvaluationTaskStatus, ModelState, TrainStatus
from qianfan.contract.enums import ServiceStatus as WireServiceStatus
from qianfan.contract.ids import random_word
from qianfan.dataset import state as saved_state
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model import runs
from qianfan.model.consts import ServiceType
from qianfan.model.runnable import ExecuteSerializable
from qianfan.resources import Model as ModelCalls
from qianfan.resources import Service as ServiceCalls
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset import Dataset
    from qianfan.model.configs import DeployConfig

Id = int | str
_SATISFACTION = "满意度"  # the dimension that a manual evaluation always has


@saved_state.saved
class Model(ExecuteSerializable[dict[str, Any], Any]):
    """A model on the platform, or a training run that becomes one.

    id, version_id: of a published model. task_id, job_id: of the training run to publish.
    name: of the model. service: where it is deployed. Ids are int, or the texts of the platform."""

    kind: ClassVar[str] = "model"
    id: Id | None
    version_id: Id | None
    task_id: Id | None
    job_id: Id | None
    name: str | None = None
    service: Service | None = None

    def __init__(
        self,
        id: Id | None = None,
        version_id: Id | None = None,
        task_id: Id | None = None,
        job_id: Id | None = None,
        name: str | None = None,
    ) -> None:
        self.id, self.version_id = id, version_id
        self.task_id, self.job_id = task_id, job_id
        self.name = name
        self.service = None

    def __repr__(self) -> str:
        return f"Model(id={self.id!r}, version_id={self.version_id!r}, name={self.name!r})"

    def publish(self, name: str = "", *, stop: threading.Event | None = None, **kwargs: Any) -> Model:
        """Publish the training run, and wait until the version is ready. Returns self.

        name: default `m_{task_id}_{job_id}`. A version that exists is not published again, only waited for.
        Raises InvalidArgumentError without ids or for a run that did not finish, InternalError when
        publishing failed."""
        options = transport_options(kwargs)
        if self.version_id is None:
            run = self._run()
            if self.id is None:
                if run is None:
                    raise InvalidArgumentError(
                        "there is nothing to publish", advice="give task_id and job_id of a training run"
                    )
                self._publish(run, name or self.name or f"m_{self.task_id}_{self.job_id}", options)
            if run is not None:
                self._wait_for(run, stop, options)
            self._find_version(options)
        self._wait_until_ready(stop, options)
        return self

    def deploy(self, deploy_config: DeployConfig, **kwargs: Any) -> Service:
        """Deploy the model and wait until the service answers; a service it has is returned as it is."""
        if self.service is not None and self.service.endpoint:
            logger.info("model %s is deployed as service %s", self.id, self.service.id)
            return self.service
        return model_deploy(self, deploy_config, **kwargs)

    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Ask the deployed model, e.g. `exec({"messages": [{"role": "user", "content": "hello"}]})`.

        Raises InternalError when it is not deployed."""
        if self.service is None:
            raise InternalError(
                f"model {self.id} has no service", advice="deploy it first: model.deploy(config)"
            )
        return self.service.exec(input, **kwargs)

    def batch_run_on_qianfan(self, dataset: Dataset, **kwargs: Any) -> Dataset:
        """Let the model answer every record of a dataset on the platform; returns the dataset of answers.

        Raises ValueError for a dataset that is not on the platform, InternalError when the run failed."""
        from qianfan.dataset import Dataset, QianfanDataSource

        source = dataset.inner_data_source_cache
        if not isinstance(source, QianfanDataSource):
            raise ValueError("the dataset is not on the platform; save it there and load it by its id")
        options = transport_options(kwargs)
        self._complete(options)
        created = ModelCalls.create_evaluation_task(
            name=f"model_run_{random_word(11)}",
            version_info=[{"modelId": self.id, "modelVersionId": self.version_id}],
            dataset_id=source.id,
            eval_config={"evalMode": "manual", "evaluationDimension": [{"dimension": _SATISFACTION}]},
            **options,
        )["result"]
        number = created.get("evalIdStr") or created["evalId"]
        waiting = (EvaluationTaskStatus.Pending, EvaluationTaskStatus.Doing)
        last = wait_until(
            lambda: ModelCalls.get_evaluation_info(number, **options),
            lambda seen: seen["result"]["state"] not in waiting,
            get_config().BATCH_RUN_STATUS_POLLING_INTERVAL,
        )["result"]
        if last["state"] not in (EvaluationTaskStatus.Done, EvaluationTaskStatus.DoingWithManualBegin):
            raise InternalError(
                f"the batch run {number} of model {self.id} ended as {last['state']}",
                advice="look at the evaluation in the console",
            )
        conf = last["evalStandardConf"]
        answers = conf.get("resultDatasetIdStr") or conf["resultDatasetId"]
        return Dataset.load(qianfan_dataset_id=answers, **options)

    def dumps(self) -> bytes | None:
        """The model as versioned JSON."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Any:
        """A new model of what `dumps` wrote. Pickled bytes raise UnsafeState."""
        return _loads(data, Model)

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        state = {key: getattr(self, key) for key in ("id", "version_id", "task_id", "job_id", "name")}
        return {**state, "service": self.service.own_state() if self.service else None}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Model:
        """A model of a saved state."""
        service = state.pop("service", None)
        model = cls(**state)
        if service is not None:
            model.service = Service._of(service, model)
        return model

    def _run(self) -> runs.Run | None:
        if self.task_id is None or self.job_id is None:
            return None
        return runs.Run(self.task_id, self.job_id)

    def _publish(self, run: runs.Run, name: str, options: dict[str, Any]) -> None:
        result = ModelCalls.publish(
            is_new=True,
            version_meta={"taskId": run.container_id, "iterationId": run.run_id},
            model_name=name,
            **options,
        )["result"]
        text = result.get("modelIDStr") or result.get("modelIdStr")
        self.id = text if run.is_v2 and text else result.get("modelId", text)
        self.name = name

    def _wait_for(self, run: runs.Run, stop: threading.Event | None, options: dict[str, Any]) -> None:
        status, detail = run.wait(stop=stop, **options)
        if status is not TrainStatus.Finish:
            raise InvalidArgumentError(
                f"training run {run} cannot be published, it ended as {status.value}{runs.why(detail)}",
                advice="train again and publish the run that finishes",
            )

    def _find_version(self, options: dict[str, Any]) -> None:
        versions = ModelCalls.list(self.id, **options)["result"].get("modelVersionList") or []  # type: ignore[arg-type]
        if not versions:
            raise InvalidArgumentError(
                f"model {self.id} has no version", advice="publish a finished training run"
            )
        newest = versions[0]
        if isinstance(self.id, str) and newest.get("modelVersionIdStr"):
            self.version_id = newest["modelVersionIdStr"]
        else:
            self.version_id = newest.get("modelVersionId", newest.get("modelVersionIdStr"))

    def _wait_until_ready(self, stop: threading.Event | None, options: dict[str, Any]) -> None:
        over = (ModelState.Ready, ModelState.Fail, "Failed")
        last = wait_until(
            lambda: ModelCalls.detail(self.version_id, **options),  # type: ignore[arg-type]
            lambda seen: seen["result"]["state"] in over,
            get_config().MODEL_PUBLISH_STATUS_POLLING_INTERVAL,
            stop=stop,
        )["result"]
        self.id = self.id if self.id is not None else last.get("modelId", last.get("modelIdStr"))
        self.name = self.name or last.get("modelName")
        if last["state"] != ModelState.Ready:
            raise InternalError(
                f"publishing model {self.id}, version {self.version_id}, failed: {_reason(last)}",
                advice="mend the cause, then publish the training run again",
            )

    def _complete(self, options: dict[str, Any]) -> None:
        """Find the id that is missing beside the other one."""
        if self.version_id is None and self.id is not None:
            self._find_version(options)
        elif self.id is None and self.version_id is not None:
            detail = ModelCalls.detail(self.version_id, **options)["result"]
            self.id = detail.get("modelId", detail.get("modelIdStr"))
        if self.id is None or self.version_id is None:
            raise InvalidArgumentError("the model has no ids", advice="publish it first: model.publish()")


@saved_state.saved
class Service(ExecuteSerializable[dict[str, Any], Any]):
    """A deployed model, or one that answers by its name or endpoint.

    id: of a deployed service. endpoint: what is called. model: a Model to deploy, or the name of a preset.
    service_type: what it answers; wanted for `exec`. One of the three must be given."""

    kind: ClassVar[str] = "service"
    id: Id | None
    endpoint: str | None
    model: Model | None
    deploy_config: DeployConfig | None
    service_type: ServiceType | None

    def __init__(
        self,
        id: Id | None = None,
        endpoint: str | None = None,
        model: Model | str | None = None,
        deploy_config: DeployConfig | None = None,
        service_type: ServiceType | None = None,
    ) -> None:
        if id is None and endpoint is None and model is None:
            raise InvalidArgumentError("invalid model service", advice="give id=, endpoint= or model=")
        self.id, self.endpoint = id, endpoint
        self.model = Model(name=model) if isinstance(model, str) else model
        self.deploy_config = deploy_config
        self.service_type = ServiceType(service_type) if service_type is not None else None
        if self.service_type is None and deploy_config is not None:
            self.service_type = deploy_config.service_type

    def __repr__(self) -> str:
        return f"Service(id={self.id!r}, endpoint={self.endpoint!r}, service_type={self.service_type!r})"

    @property
    def status(self) -> str:
        """The status on the platform: New, Deploying, Done, Failed, Stopped. InternalError without an id."""
        if self.id is None:
            raise InternalError("the service has no id", advice="deploy it first, or give id=")
        detail = ServiceCalls.get(self.id)["result"]
        self.endpoint = self.endpoint or detail.get("uri")
        return WireServiceStatus(detail["serviceStatus"])

    def deploy(self, *, stop: threading.Event | None = None, **kwargs: Any) -> Service:
        """Deploy the model and wait until the service is ready. Returns self.

        Raises InvalidArgumentError without a model or a configuration, InternalError when it does not come up.
        A deployment that was begun is waited for, not made again."""
        options = transport_options(kwargs)
        if self.id is None:
            self._apply(options)
        over = (WireServiceStatus.Done, WireServiceStatus.Failed, WireServiceStatus.Stopped)
        last = wait_until(
            lambda: ServiceCalls.get(self.id, **options),  # type: ignore[arg-type]
            lambda seen: seen["result"]["serviceStatus"] in over,
            get_config().DEPLOY_STATUS_POLLING_INTERVAL,
            stop=stop,
        )["result"]
        if last["serviceStatus"] != WireServiceStatus.Done:
            if self.model is not None and self.model.service is self:
                self.model.service = None  # so that deploying again makes another one
            raise InternalError(
                f"service {self.id} did not come up, it is {last['serviceStatus']}: {_reason(last)}",
                advice="mend the cause, then deploy the model again",
            )
        self.endpoint = last["uri"]
        if self.model is not None:
            self.model.service = self
        return self

    def get_res(self) -> Any:
        """The class that speaks to this service: ChatCompletion, Completion, Embedding or Text2Image.

        Raises InternalError for a type it does not know, InvalidArgumentError when there is none."""
        if self.id is not None:
            status = self.status
            if status != WireServiceStatus.Done:
                logger.warning("service %s is %s, not Done; it may not answer", self.id, status)
        if self.service_type is None:
            raise InvalidArgumentError(
                "the service has no type", advice="give service_type=ServiceType.Chat or another"
            )
        import qianfan.resources as resources

        names = {ServiceType.Chat: "ChatCompletion", ServiceType.Completion: "Completion"}
        names |= {ServiceType.Embedding: "Embedding", ServiceType.Text2Image: "Text2Image"}
        if self.service_type not in names:
            raise InternalError(
                f"unsupported service type {self.service_type!r}", advice=f"use one of {list(names)}"
            )
        res = getattr(resources, names[self.service_type])
        if self.endpoint:
            return res(endpoint=self.endpoint)
        return res(model=self.model.name) if self.model is not None and self.model.name else res()

    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Ask the service. input: what its class takes, e.g. {"messages": […]} or {"prompt": "…"}.

        kwargs: further arguments of the call, such as stream=True."""
        if input is None:
            raise InvalidArgumentError(
                "there is no input", advice='give e.g. {"messages": [{"role": "user", …}]}'
            )
        return self.get_res().do(**{**input, **kwargs})

    def dumps(self) -> bytes | None:
        """The service as versioned JSON."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Any:
        """A new service of what `dumps` wrote. Pickled bytes raise UnsafeState."""
        return _loads(data, Service)

    def own_state(self) -> dict[str, Any]:
        """What is saved of the service without its model."""
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "deploy_config": self.deploy_config,
            "service_type": self.service_type,
        }

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        model = self.model.to_state() if self.model else None
        return {**self.own_state(), "model": model and {**model, "service": None}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Service:
        """A service of a saved state."""
        model = Model.from_state(state.pop("model")) if state.get("model") else None
        state.pop("model", None)
        service = cls._of(state, model)
        if model is not None:
            model.service = service
        return service

    @classmethod
    def _of(cls, state: dict[str, Any], model: Model | None) -> Service:
        model = model or (None if state.get("id") or state.get("endpoint") else Model())
        return cls(**state, model=model)

    def _apply(self, options: dict[str, Any]) -> None:
        config, model = self.deploy_config, self.model
        if model is None:
            raise InvalidArgumentError("there is no model to deploy", advice="give model=Model(…)")
        if config is None:
            raise InvalidArgumentError(
                "deploy_config must be set", advice="give deploy_config=DeployConfig()"
            )
        model._complete(options)
        self.id = ServiceCalls.create(
            model_id=model.id,  # type: ignore[arg-type]
            model_version_id=model.version_id,
            name=config.name or f"svc{model.id}_{model.version_id}",
            uri=config.endpoint_prefix or f"ep{model.id}_{model.version_id}",
            replicas=config.replicas,
            pool_type=DeployPoolType(config.pool_type),
            description=config.description or None,
            **options,
        )["result"]["serviceId"]


def model_deploy(model: Model, deploy_config: DeployConfig, **kwargs: Any) -> Service:
    """Deploy a model, and wait until its service is ready."""
    if model.service is None or model.service.id is None:
        model.service = Service(
            model=model,
            deploy_config=deploy_config,
            service_type=getattr(deploy_config, "service_type", None),
        )
    return model.service.deploy(**kwargs)


def _loads(data: bytes, wanted: type) -> Any:
    from qianfan.model import configs as _configs  # noqa: F401  makes its kind known

    return saved_state.unpack(data, wanted)


def _reason(detail: dict[str, Any]) -> str:
    return detail.get("reason") or progress_of(detail).get("reason") or "the platform gives no reason"
