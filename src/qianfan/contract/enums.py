"""Values on the wire. The documented module `qianfan.resources.console.consts` re-exports them."""

from __future__ import annotations

from enum import Enum


class AugmentationStatus(int, Enum):
    """Of an augmentation task; the interface shows the numbers."""

    Created = 0
    Running = 1
    Terminated = 2
    Finished = 3
    Failed = 4


class DataExportDestinationType(int, Enum):
    """Where an export is written."""

    PlatformBos = 0
    PrivateBos = 1


class DataExportStatus(int, Enum):
    NotStarted = -1
    Initialized = 0
    Running = 1
    Finished = 2
    Failed = 3


class DataImportStatus(int, Enum):
    NotStarted = -1
    Initialized = 0
    Running = 1
    Finished = 2
    Failed = 3
    Terminated = 4


class DataImportError(int, Enum):
    """errCode of an import: what is wrong with a file or a record."""

    TooLarge = 1
    JsonMissing = 2  # a picture without its text
    BadFormat = 3  # the file is not what it claims to be
    Quota = 4
    Archive = 10  # it cannot be unpacked
    Mismatch = 9  # a record does not fit the template
    Empty = 13  # an empty text
    Columns = 50
    Rows = 51
    Encoding = 53  # neither UTF-8 nor GBK
    Network = 100
    Missing = 300  # no such object in the store


class DataProjectType(int, Enum):
    Conversation = 20
    GenericText = 401
    QuerySet = 402
    Text2Image = 705


class DataReleaseStatus(int, Enum):
    NotStarted = 0
    Running = 1
    Finished = 2
    Failed = 3


class DataSetType(int, Enum):
    TextOnly = 4
    MultiModel = 7


class DataSourceType(int, Enum):
    PrivateBos = 1
    SharedZipUrl = 2


class DataStorageType(str, Enum):
    PublicBos = "sysBos"
    PrivateBos = "usrBos"


class DataTemplateType(int, Enum):
    """What one record of a dataset looks like."""

    NonSortedConversation = 2000
    SortedConversation = 2001
    PromptChosenRejected = 2002  # preferences, for DPO
    GenericText = 40100
    QuerySet = 40200
    Text2Image = 70500


class DeployPoolType(int, Enum):
    PublicResource = 1
    PrivateResource = 2


class DocumentStatus(str, Enum):
    """Of a document in a knowledge base."""

    New = "New"
    Running = "Running"
    Done = "Done"
    Fail = "Fail"


class ETLTaskStatus(int, Enum):
    NoTask = 0
    Running = 1
    Finished = 2
    Interrupted = 3
    Failed = 4
    Paused = 5


class EntityListingType(int, Enum):
    All = 0
    AnnotatedOnly = 1
    NotAnnotatedOnly = 2


class EvaluationResultExportDestinationType(str, Enum):
    PublicBos = "local"
    PrivateBos = "storage"


class EvaluationResultExportField(str, Enum):
    Prompt = "prompt"
    Completion = "completion"
    Prediction = "prediction"
    Metrics = "metrics"


class EvaluationResultExportRange(str, Enum):
    Total = "total"
    Part = "part"


class EvaluationResultExportTaskStatus(str, Enum):
    Pending = "Pending"
    Uploading = "Uploading"
    Done = "Done"
    Fail = "Fail"


class EvaluationTaskStatus(str, Enum):
    Pending = "Pending"
    Doing = "Doing"
    DoingWithManualBegin = "DoingWithManualBegin"
    Stopping = "Stopping"
    Done = "Done"
    PartlyDone = "PartlyDone"
    Failed = "Failed"
    Stopped = "Stopped"


class ModelState(str, Enum):
    Creating = "Creating"
    Ready = "Ready"
    Fail = "Fail"


class ModelSource(str, Enum):
    """Whose a model is."""

    UserCreate = "UserCreate"
    PlatformPreset = "PlatformPreset"


class ModelSourceType(str, Enum):
    """How a version came to be."""

    Train = "Train"
    PlatformPreset = "PlatformPreset"
    Import = "Import"


class ModelExportStatus(str, Enum):
    """Of this platform; the words of the cloud's compression tasks."""

    Creating = "creating"
    Running = "running"
    Succeeded = "succeeded"
    Failed = "failed"


class PromptFrameworkType(int, Enum):
    NotUse = 0
    Basic = 1
    CRISPE = 2
    Fewshot = 3


class PromptSceneType(int, Enum):
    Text2Text = 1
    Text2Image = 2


class PromptScoreStandard(int, Enum):
    SemanticSimilarity = 1
    RegexMatching = 2
    ExactMatching = 3


class PromptTaskStatus(int, Enum):
    """Where an optimisation of a prompt is."""

    Running = 1
    Done = 2
    Failed = 3


class BatchInferenceStatus(str, Enum):
    Running = "Running"
    Done = "Done"
    Failed = "Failed"
    Stopping = "Stopping"
    Stopped = "Stopped"


class PromptType(int, Enum):
    Preset = 1
    User = 2


class ServiceStatus(str, Enum):
    New = "New"
    Deploying = "Deploying"
    Done = "Done"
    Failed = "Failed"
    Stopped = "Stopped"


class ServiceType(str, Enum):
    """Type of a service as the console names it; `qianfan.trainer.consts.ServiceType` has the trainer's words."""

    Chat = "chat"
    Completions = "completions"
    Embeddings = "embeddings"
    Text2image = "text2image"
    Image2text = "image2text"


class TrainDatasetSourceType(str, Enum):
    Platform = "Platform"
    PrivateBos = "Bos"


class TrainDatasetType(int, Enum):
    Platform = 1
    PrivateBos = 2


class TrainMode(str, Enum):
    SFT = "SFT"
    PostPretrain = "PostPretrain"
    DPO = "DPO"

    @classmethod
    def _missing_(cls, value: object) -> TrainMode | None:
        """The documentation itself writes PostPreTrain beside PostPretrain: any case is taken."""
        said = str(value).lower()
        return next((mode for mode in cls if mode.value.lower() == said), None)


class TrainParameterScale(str, Enum):
    """Tuning method in the words of the V2 interface; `PeftType` has those of V1."""

    FullFineTuning = "FullFineTuning"
    PromptTuning = "PromptTuning"
    LoRA = "LoRA"


class TrainStatus(str, Enum):
    """States of a run in the words of the V2 interface; `V1TrainStatus` has those of V1."""

    Finish = "Done"
    Running = "Running"
    Fail = "Fail"
    Stop = "Stopped"


class V1TrainStatus(str, Enum):
    """States of a run as the V1 job detail answers them."""

    Running = "RUNNING"
    Finish = "FINISH"
    Fail = "FAIL"
    Stop = "STOP"


class PeftType(str, Enum):
    """Tuning method in the words of the V1 interface."""

    ALL = "ALL"
    LoRA = "LoRA"
    PTuning = "P-tuning"
