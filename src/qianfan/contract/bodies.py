"""Bodies of console calls. For the SDK only types; the platform makes validators of them.

Limits stand as `annotated_types` marks, so that importing this module stays cheap."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict


class _NoTruth:
    """Of an id: `true` is not the number 1. pydantic asks for this on the platform; the SDK never calls it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_before_validator_function

        return no_info_before_validator_function(_not_truth, handler(source))


def _not_truth(value: Any) -> Any:
    if isinstance(value, bool):
        from pydantic_core import PydanticCustomError

        raise PydanticCustomError("id", "an id is a number or a text")
    return value


Id = Annotated[int | str, _NoTruth()]  # `7`, `"7"` or `"ds-…"`: either is taken wherever an id is
Name = Annotated[str, Len(1, 100)]
Text = Annotated[str, Len(0, 500)]
Word = Annotated[str, Len(0, 100)]  # one of the platform's names, such as a train type
InStore = Annotated[str, Len(0, 2048)]  # `bos:/bucket/folder`


class CreateTask(TypedDict):
    """finetune/createTask."""

    name: Name
    description: NotRequired[Text]
    baseTrainType: NotRequired[Word]
    trainType: NotRequired[Word]


class TrainsetItem(TypedDict):
    """type: 1 a dataset of the platform, 2 a BOS path (`bosPath` or `versionBosUri`). samplingRate (0.01–10) is of this platform only."""

    type: Literal[1, 2]
    id: NotRequired[Id]
    bosPath: NotRequired[InStore]
    versionBosUri: NotRequired[InStore]
    samplingRate: NotRequired[float]


class IncreConfig(TypedDict):
    """The run that another trains further."""

    taskId: NotRequired[Id]
    jobId: NotRequired[Id]


class CreateRun(TypedDict):
    """finetune/createJob. `trainsetRate` is the share held out for evaluation, percent 0–50.

    jobRunType: 1 trains the run of `increConfig` further, 0 does not."""

    taskId: Id
    description: NotRequired[Text]
    baseTrainType: NotRequired[Word]
    trainType: NotRequired[Word]
    trainMode: NotRequired[Word]
    peftType: NotRequired[Word]
    trainConfig: NotRequired[dict[str, Any]]
    trainset: Annotated[list[TrainsetItem], Len(1, 100)]
    trainsetRate: NotRequired[Annotated[float, Ge(0), Le(50)]]
    jobRunType: NotRequired[Annotated[int, Ge(0), Le(1)]]
    increConfig: NotRequired[IncreConfig]


class RunRef(TypedDict):
    """finetune/jobDetail and stopJob."""

    taskId: NotRequired[Id]
    jobId: NotRequired[Id]


class V2CreateJob(TypedDict):
    """CreateFineTuningJob: the container. The last two hold for runs that say nothing of their own."""

    name: Name
    model: Word
    trainMode: Word
    description: NotRequired[Text]
    parameterScale: NotRequired[Word]
    hyperParameterConfig: NotRequired[dict[str, Any]]


class V2DatasetVersion(TypedDict):
    """samplingRate: 0.01–10 times the records of this dataset; default 1."""

    versionId: NotRequired[Id]
    versionBosUri: NotRequired[InStore]
    samplingRate: NotRequired[float]


class V2DatasetConfig(TypedDict):
    """splitRatio: percent held out, 0–50."""

    sourceType: Word
    versions: Annotated[list[V2DatasetVersion], Len(1, 100)]
    splitRatio: NotRequired[Annotated[float, Ge(0), Le(50)]]
    corpusProportion: NotRequired[Word]


class V2CreateTask(TypedDict):
    """CreateFineTuningTask: the run."""

    jobId: Id
    parameterScale: NotRequired[Word]
    hyperParameterConfig: NotRequired[dict[str, Any]]
    datasetConfig: V2DatasetConfig
    incrementTaskId: NotRequired[Id]
    incrementCheckpointStep: NotRequired[int]
    corpusConfig: NotRequired[dict[str, Any]]
    resourceConfig: NotRequired[dict[str, Any]]
    modelConfig: NotRequired[dict[str, Any]]


class V2Page(TypedDict):
    """Paging of V2 lists: a marker names the first item of the page."""

    marker: NotRequired[Id]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    trainMode: NotRequired[str]
    model: NotRequired[str]
    jobId: NotRequired[Id]


class V2TaskRef(TypedDict):
    taskId: Id
    after: NotRequired[Annotated[int, Ge(0)]]


class V2JobRef(TypedDict):
    jobId: Id


class LedgerPage(TypedDict):
    """DescribeFineTuningTaskLedger. marker: the sample to begin with; what: only samples that came out so."""

    taskId: Id
    marker: NotRequired[Id]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    what: NotRequired[Literal["kept", "truncated", "split", "dropped", "refused"]]


class SampleRef(TypedDict):
    """DescribeFineTuningTaskSample. sample: its number in the ledger, from 1."""

    taskId: Id
    sample: Annotated[int, Ge(1)]


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
    """dataset/import. importFrom: 1 a `bos:/` path, 2 the link of an archive.

    badShare: of this platform only; the share of refused records up to which the others are taken, by default 0."""

    datasetId: Id
    annotated: NotRequired[bool]
    importFrom: Literal[1, 2]
    files: Annotated[list[str], Len(1, 100)]
    badShare: NotRequired[Annotated[float, Ge(0), Le(1)]]


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
    exportType: NotRequired[Literal[1, 2]]
    exportTo: NotRequired[int]
    storageId: NotRequired[str]


class ModelRef(TypedDict):
    modelId: Id


class VersionRef(TypedDict):
    modelVersionId: Id


class VersionMeta(TypedDict):
    """taskId: the container; iterationId: the run; step: a checkpoint of it instead of its end (0)."""

    taskId: NotRequired[Id]
    iterationId: Id
    step: NotRequired[Annotated[int, Ge(0)]]


class GateSpec(TypedDict):
    """What must be shown of a version before it is published into a model, or deployed; of this platform only.

    baseline: a version or a preset model, by id or name. rule: default `better`. metric: default `accuracy`.
    margin: 0 or more. confidence: 0.5 to 1, default 0.95. fewest: rows, default 20. datasetId: what must be asked."""

    baseline: Id
    rule: NotRequired[Literal["better", "not worse"]]
    metric: NotRequired[Annotated[str, Len(1, 60)]]
    margin: NotRequired[Annotated[float, Ge(0), Le(1_000)]]
    confidence: NotRequired[Annotated[float, Ge(0.5), Le(0.9999)]]
    fewest: NotRequired[Annotated[int, Ge(1), Le(1_000_000)]]
    datasetId: NotRequired[Id]


class SetModelGate(GateSpec):
    """SetModelGate. at: where it stands, `deploy` (default), `publish`, or both."""

    modelSetId: Id
    at: NotRequired[Annotated[list[Literal["publish", "deploy"]], Len(1, 2)]]


class PublishModel(TypedDict):
    isNewModel: bool
    versionMeta: VersionMeta
    modelName: NotRequired[Name]
    modelId: NotRequired[Id]
    tags: NotRequired[list[str]]
    gate: NotRequired[GateSpec]


class ListModels(TypedDict):
    """model/user/list. orderBy: create_time, modify_time or name; order: asc or desc."""

    pageNo: NotRequired[Annotated[int, Ge(1)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(200)]]
    nameFilter: NotRequired[str]
    modelType: NotRequired[Id | list[Id]]
    orderBy: NotRequired[str]
    order: NotRequired[str]


class ListPresetModels(ListModels):
    """model/preset/list. Each list keeps the models that have one of its values."""

    modelVersionVendor: NotRequired[list[str]]
    modelAdvantage: NotRequired[list[str]]
    ctxLength: NotRequired[list[str]]
    languageSupport: NotRequired[list[str]]
    expansion: NotRequired[list[str]]


class CreateModelSet(TypedDict):
    """CreateCustomModelSet."""

    modelSetName: Name
    modelType: NotRequired[
        Literal["Text2Text", "Text2Image", "TextRepresentation", "ImageUnderstanding", "Industry"]
    ]
    labels: NotRequired[Annotated[list[str], Len(0, 50)]]
    description: NotRequired[Text]


class V2ModelPage(TypedDict):
    """A marker is the id of the first item of its page."""

    marker: NotRequired[Id]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]


class ModelSetRef(TypedDict):
    """By id or by name; the id wins."""

    modelSetId: NotRequired[Id]
    modelSetName: NotRequired[str]


class TrainMeta(TypedDict):
    """The run that a model is made of: V2 words, where the container is a job and the run a task."""

    jobId: NotRequired[Id]
    taskId: Id
    step: NotRequired[Annotated[int, Ge(0)]]


class ImportedFile(TypedDict):
    """name: as in a folder of Hugging Face layout, or any `.gguf`. path: what POST /v2/files answered."""

    name: Annotated[str, Len(1, 200)]
    path: Annotated[str, Len(1, 100)]


class ImportMeta(TypedDict):
    """What is imported: uploaded files, or a source such as `hf:REPO@COMMIT`. sha256: of one file from a hub.

    Uploaded files become part of the model; what was uploaded is deleted at the end."""

    files: NotRequired[Annotated[list[ImportedFile], Len(1, 500)]]
    source: NotRequired[Annotated[str, Len(1, 500)]]
    sha256: NotRequired[Annotated[str, Len(64, 64)]]
    kind: NotRequired[Literal["chat"]]


class CreateModel(TypedDict):
    """CreateCustomModel. sourceType Train needs trainMeta, Import needs importMeta."""

    modelSetId: Id
    sourceType: Literal["Train", "Import"]
    trainMeta: NotRequired[TrainMeta]
    importMeta: NotRequired[ImportMeta]
    description: NotRequired[Text]
    gate: NotRequired[GateSpec]


class ExportModel(TypedDict):
    """CreateModelExportTask; all but modelId are of this platform.

    merged: one whole model (default), or the adapter beside its base. dtype: of a GGUF file's matrices."""

    modelId: Id
    format: NotRequired[Literal["safetensors", "gguf", "ollama"]]
    merged: NotRequired[bool]
    dtype: NotRequired[Literal["f32", "f16", "bf16", "q8_0"]]


class ModelExportRef(TypedDict):
    """DescribeModelExportTask: the newest export of a model, or the one that is named."""

    modelId: NotRequired[Id]
    exportTaskId: NotRequired[Id]


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
    gate: NotRequired[GateSpec]


class ServiceRef(TypedDict):
    serviceId: Id


class ListServices(TypedDict):
    apiTypefilter: NotRequired[list[str]]


class ResourceConfig(TypedDict):
    """Of a V2 service. type: such as `GPU-I-2`, `CPU-I-2`; here every type is this machine."""

    type: NotRequired[str]
    replicasCount: NotRequired[Annotated[int, Ge(1), Le(64)]]
    qps: NotRequired[float]


class V2CreateService(TypedDict):
    """CreateService. modelSetId: the model; modelId: its version. billing is taken and costs nothing."""

    modelSetId: Id
    modelId: Id
    name: Name
    urlSuffix: Name
    resourceConfig: NotRequired[ResourceConfig]
    billing: NotRequired[dict[str, Any]]
    description: NotRequired[Text]
    gate: NotRequired[GateSpec]


class V2ModifyService(TypedDict):
    """ModifyService. Names, description and replicas are this platform's own."""

    serviceId: Id
    modelSetId: NotRequired[Id]
    modelId: NotRequired[Id]
    name: NotRequired[Name]
    description: NotRequired[Text]
    resourceConfig: NotRequired[ResourceConfig]
    gate: NotRequired[GateSpec]


class V2ScaleService(TypedDict):
    """ScaleService, of this platform only."""

    serviceId: Id
    replicas: Annotated[int, Ge(1), Le(64)]


class V2ListServices(TypedDict):
    """DescribeServices."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    name: NotRequired[str]
    serviceType: NotRequired[list[str]]
    runStatus: NotRequired[list[Literal["New", "Deploying", "Serving", "Failed", "Stopped"]]]
    creator: NotRequired[list[str]]
    chargeType: NotRequired[Any]
    payType: NotRequired[Any]


class V2ServiceMetric(TypedDict):
    """DescribeServiceMetric. Times as 2026-01-31T00:00:00Z; usage is kept by days of UTC."""

    startTime: str
    endTime: str
    serviceId: NotRequired[list[Id]]
    appId: NotRequired[Any]


class V2PresetServices(TypedDict):
    serviceIds: NotRequired[list[Id]]
    serviceType: NotRequired[Any]
    chargeType: NotRequired[Any]
    chargeStatus: NotRequired[Any]


class Empty(TypedDict):
    pass
