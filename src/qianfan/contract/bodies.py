"""Bodies of console calls. For the SDK only types; the platform makes validators of them.

Limits stand as `annotated_types` marks, so that importing this module stays cheap."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

Id = int | str  # `7`, `"7"` or `"ds-…"`: either is taken wherever an id is
Name = Annotated[str, Len(1, 100)]
Text = Annotated[str, Len(0, 500)]


class CreateTask(TypedDict):
    """finetune/createTask."""

    name: Name
    description: NotRequired[Text]
    baseTrainType: NotRequired[str]
    trainType: NotRequired[str]


class TrainsetItem(TypedDict):
    """type: 1 a dataset of the platform, 2 a BOS path."""

    type: Literal[1, 2]
    id: NotRequired[Id]


class CreateRun(TypedDict):
    """finetune/createJob. `trainsetRate` is the share held out for evaluation, percent 0–50."""

    taskId: Id
    description: NotRequired[Text]
    baseTrainType: NotRequired[str]
    trainType: NotRequired[str]
    trainMode: NotRequired[str]
    peftType: NotRequired[str]
    trainConfig: NotRequired[dict[str, Any]]
    trainset: Annotated[list[TrainsetItem], Len(1, 100)]
    trainsetRate: NotRequired[Annotated[float, Ge(0), Le(50)]]
    jobRunType: NotRequired[int]


class RunRef(TypedDict):
    """finetune/jobDetail and stopJob."""

    taskId: NotRequired[Id]
    jobId: NotRequired[Id]


class V2CreateJob(TypedDict):
    """CreateFineTuningJob: the container."""

    name: Name
    model: str
    trainMode: str
    description: NotRequired[Text]


class V2DatasetVersion(TypedDict):
    versionId: NotRequired[Id]
    versionBosUri: NotRequired[str]
    samplingRate: NotRequired[float]


class V2DatasetConfig(TypedDict):
    sourceType: str
    versions: Annotated[list[V2DatasetVersion], Len(1, 100)]
    splitRatio: NotRequired[Annotated[float, Ge(0), Le(50)]]


class V2CreateTask(TypedDict):
    """CreateFineTuningTask: the run."""

    jobId: Id
    parameterScale: NotRequired[str]
    hyperParameterConfig: NotRequired[dict[str, Any]]
    datasetConfig: V2DatasetConfig
    incrementTaskId: NotRequired[Id]


class V2Page(TypedDict):
    """Paging of V2 lists: a marker names the first item of the page."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    trainMode: NotRequired[str]
    jobId: NotRequired[Id]


class V2TaskRef(TypedDict):
    taskId: Id
    after: NotRequired[Annotated[int, Ge(0)]]


class CreateDataset(TypedDict):
    """dataset/create."""

    name: Name
    versionId: NotRequired[int]
    projectType: int
    templateType: int
    dataType: int
    storageType: NotRequired[str]
    storageId: NotRequired[str]
    rawStoragePath: NotRequired[str]


class ImportDataset(TypedDict):
    """dataset/import. importFrom: 1 a `bos:/` path, 2 the link of an archive."""

    datasetId: Id
    annotated: NotRequired[bool]
    importFrom: Literal[1, 2]
    files: Annotated[list[str], Len(1, 100)]


class DatasetRef(TypedDict):
    datasetId: Id


class DatasetRefs(TypedDict):
    datasetIds: Annotated[list[Id], Len(1, 200)]


class ImportErrorRef(TypedDict):
    datasetId: Id
    errCode: NotRequired[int]


class ExportDataset(TypedDict):
    """dataset/export. exportTo: 0 the platform, 1 a BOS bucket."""

    datasetId: Id
    exportFormat: NotRequired[int]
    exportType: NotRequired[int]
    exportTo: NotRequired[int]
    storageId: NotRequired[str]


class ModelRef(TypedDict):
    modelId: Id


class VersionRef(TypedDict):
    modelVersionId: Id


class VersionMeta(TypedDict):
    """taskId: the container; iterationId: the run."""

    taskId: NotRequired[Id]
    iterationId: Id


class PublishModel(TypedDict):
    isNewModel: bool
    versionMeta: VersionMeta
    modelName: NotRequired[Name]
    modelId: NotRequired[Id]
    tags: NotRequired[list[str]]


class ListModels(TypedDict):
    pageNo: NotRequired[Annotated[int, Ge(1)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(200)]]
    nameFilter: NotRequired[str]
    orderBy: NotRequired[str]
    order: NotRequired[str]


class DeleteModels(TypedDict):
    modelIDs: Annotated[list[Id], Len(1, 200)]


class DeleteVersions(TypedDict):
    modelVersionIds: Annotated[list[Id], Len(1, 200)]


class CreateService(TypedDict):
    """service/apply. poolType: 1 public, 2 private."""

    modelId: Id
    modelVersionId: NotRequired[Id]
    iterationId: NotRequired[Id]
    name: Name
    uri: Name
    replicas: NotRequired[Annotated[int, Ge(1), Le(64)]]
    poolType: NotRequired[Literal[1, 2]]
    description: NotRequired[Text]


class ServiceRef(TypedDict):
    serviceId: Id


class ListServices(TypedDict):
    apiTypefilter: NotRequired[list[str]]


class Empty(TypedDict):
    pass
