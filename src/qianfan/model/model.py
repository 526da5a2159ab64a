"""A model as an object: publish it, deploy it, ask it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.config import get_config
from qianfan.contract.enums import ModelState, TrainStatus
from qianfan.dataset import state as saved_state
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model import runs
from qianfan.model.runnable import ExecuteSerializable
from qianfan.resources import Model as ModelCalls
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset import Dataset
    from qianfan.model.configs import DeployConfig
    from qianfan.model.service import Service

Id = int | str


@saved_state.saved
class Model(ExecuteSerializable[dict[str, Any], Any]):
    """A model on the platform, or a training run that becomes one.

    id, version_id: of a published model. task_id, job_id: of the training run to publish.
    name: of the model. service: where it is deployed. Ids are int, or the texts of the platform;
    old_id and old_version_id are the int ones, as soon as they are known. auto_complete: find what is missing
    of id and version_id now."""

    kind: ClassVar[str] = "model"
    id: Id | None
    version_id: Id | None
    task_id: Id | None
    job_id: Id | None
    name: str | None = None
    service: Service | None = None
    old_id: int | None = None
    old_version_id: int | None = None

    def __init__(
        self,
        id: Id | None = None,
        version_id: Id | None = None,
        task_id: Id | None = None,
        job_id: Id | None = None,
        name: str | None = None,
        *,
        auto_complete: bool = False,
    ) -> None:
        self.id, self.version_id = id, version_id
        self.task_id, self.job_id = task_id, job_id
        self.name = name
        self.service = None
        if auto_complete:
            self.auto_complete_info()

    def __repr__(self) -> str:
        return f"Model(id={self.id!r}, version_id={self.version_id!r}, name={self.name!r})"

    def auto_complete_info(self, **kwargs: Any) -> Model:
        """Find the id that is missing: the model of a version, or the newest version of a model. Returns self.

        Raises InvalidArgumentError when there is neither id."""
        self._complete(transport_options(kwargs))
        return self

    def publish(
        self,
        name: str = "",
        *,
        step: int | None = None,
        stop: threading.Event | None = None,
        begun: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> Model:
        """Publish the training run, and wait until the version is ready. Returns self.

        name: default `m_{container}_{run}`. step: a checkpoint of the run instead of its end. A version that
        exists is not published again, only waited for. stop: ends the wait when it is set. begun: called as
        soon as the platform has begun, when `dumps` holds what to wait for.
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
                self._publish(run, name or self.name or f"m_{run.container_id}_{run.run_id}", step, options)
                if begun is not None:
                    begun()
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
        from qianfan.model.service import model_deploy

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

        show_progress: a bar, by default on a terminal. Raises ValueError for a dataset that is not on the
        platform, InternalError when the run failed; answers that are missing are told in the log."""
        from qianfan.dataset import batch

        batch.source_of(dataset)
        options = transport_options(kwargs)
        self._complete(options)
        return batch.run_versions(
            dataset,
            [{"modelId": self.id, "modelVersionId": self.version_id}],
            stop=kwargs.get("stop"),
            show_progress=kwargs.get("show_progress"),
            **options,
        )

    def batch_inference(self, dataset: Dataset, **kwargs: Any) -> Dataset:
        """The later name of `batch_run_on_qianfan`."""
        return self.batch_run_on_qianfan(dataset, **kwargs)

    def dumps(self) -> bytes | None:
        """The model as versioned JSON."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Any:
        """A new model of what `dumps` wrote. Pickled bytes raise UnsafeState."""
        return unpacked(data, Model)

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
            from qianfan.model.service import Service

            model.service = Service._of(service, model)
        return model

    def _run(self) -> runs.Run | None:
        if self.task_id is None or self.job_id is None:
            return None
        return runs.Run(self.task_id, self.job_id)

    def _publish(self, run: runs.Run, name: str, step: int | None, options: dict[str, Any]) -> None:
        meta: dict[str, Any] = {"taskId": run.container_id, "iterationId": run.run_id}
        result = ModelCalls.publish(
            is_new=True,
            version_meta=meta if step is None else {**meta, "step": step},
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
        self._know_numbers(newest)

    def _wait_until_ready(self, stop: threading.Event | None, options: dict[str, Any]) -> None:
        over = (ModelState.Ready, ModelState.Fail, "Failed")
        last = wait_until(
            lambda: ModelCalls.detail(self.version_id, **options),  # type: ignore[arg-type]
            lambda seen: seen["result"]["state"] in over,
            get_config().MODEL_PUBLISH_STATUS_POLLING_INTERVAL,
            stop=stop,
        )["result"]
        self.id = self.id if self.id is not None else self._id_in(last)
        self._know_numbers(last)
        self.name = self.name or last.get("modelName")
        if last["state"] != ModelState.Ready:
            raise InternalError(
                f"publishing model {self.id}, version {self.version_id}, failed: {reason_of(last)}",
                advice="mend the cause, then publish the training run again",
            )

    def _id_in(self, detail: dict[str, Any]) -> Id | None:
        """The model's id in a version's detail, of the kind that the version's id is."""
        text, number = detail.get("modelIdStr"), detail.get("modelId")
        return text if text and (isinstance(self.version_id, str) or number is None) else number

    def _know_numbers(self, version: dict[str, Any]) -> None:
        for name, key in (("old_id", "modelId"), ("old_version_id", "modelVersionId")):
            if isinstance(version.get(key), int):
                setattr(self, name, version[key])

    def _complete(self, options: dict[str, Any]) -> None:
        """Find the id that is missing beside the other one."""
        if self.version_id is None and self.id is not None:
            self._find_version(options)
        elif self.id is None and self.version_id is not None:
            detail = ModelCalls.detail(self.version_id, **options)["result"]
            self.id = self._id_in(detail)
            self._know_numbers(detail)
            self.name = self.name or detail.get("modelName")
        if self.id is None or self.version_id is None:
            raise InvalidArgumentError("the model has no ids", advice="publish it first: model.publish()")


def unpacked(data: bytes, wanted: type) -> Any:
    """What `dumps` wrote, of class `wanted`. Raises UnsafeState for pickled bytes."""
    from qianfan.model import configs as _configs  # noqa: F401  make their kinds known

    return saved_state.unpack(data, wanted)


def reason_of(detail: dict[str, Any]) -> str:
    """Why something failed, as far as the platform tells."""
    return detail.get("reason") or progress_of(detail).get("reason") or "the platform gives no reason"
