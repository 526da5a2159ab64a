"""Bodies of the dataset calls of V2, and its words. A V1 group is a dataset here, a V1 dataset is a version."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired

from annotated_types import Ge, Len
from typing_extensions import TypedDict

from .bodies import Id, Name, Text
from .enums import DataExportStatus, DataImportStatus, DataReleaseStatus, DataSetType, DataTemplateType

FORMATS: Final = {
    "PromptResponse": DataTemplateType.NonSortedConversation,
    "PromptSortedresponses": DataTemplateType.SortedConversation,
    "DPO_PromptChosenRejected": DataTemplateType.PromptChosenRejected,
    "Text": DataTemplateType.GenericText,
    "Prompt": DataTemplateType.QuerySet,
    "PromptImage": DataTemplateType.Text2Image,
}
"""The template of each format that this platform keeps."""
OTHER_FORMATS: Final = ("KTO_PromptChosenRejected", "PromptImageResponse", "Role", "SFT_FIM")
FORMAT_OF: Final = {template.value: word for word, template in FORMATS.items()}

PLATFORM: Final = "sysStorage"
BUCKET: Final = "BOS"
IMPORT_WORDS: Final = {
    DataImportStatus.NotStarted: "NotImported",
    DataImportStatus.Initialized: "Importing",
    DataImportStatus.Running: "Importing",
    DataImportStatus.Finished: "ImportFinished",
    DataImportStatus.Failed: "ImportFailed",
    DataImportStatus.Terminated: "ImportFailed",
}
PUBLISH_WORDS: Final = {
    DataReleaseStatus.NotStarted: "Unpublished",
    DataReleaseStatus.Running: "Publishing",
    DataReleaseStatus.Finished: "Published",
    DataReleaseStatus.Failed: "PublishFailed",
}
EXPORT_WORDS: Final = {
    DataExportStatus.Running: "Exporting",
    DataExportStatus.Finished: "ExportFinished",
    DataExportStatus.Failed: "ExportFailed",
}


def kind_of(template: DataTemplateType) -> DataSetType:
    """Whether records of a template are texts alone."""
    return DataSetType.MultiModel if template is DataTemplateType.Text2Image else DataSetType.TextOnly


class CreateDatasetV2(TypedDict):
    """CreateDataset. storagePath: `bos:/bucket/folder/`, needed for BOS."""

    datasetName: Name
    dataFormat: str
    storageType: NotRequired[Literal["sysStorage", "BOS"]]
    storagePath: NotRequired[Annotated[str, Len(0, 1000)]]
    description: NotRequired[Text]


class DatasetFilter(TypedDict):
    """datasetName: part of a name."""

    datasetName: NotRequired[str]
    dataFormat: NotRequired[str]


class ListDatasetsV2(TypedDict):
    """DescribeDatasets."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    filter: NotRequired[DatasetFilter | None]


class DatasetRefV2(TypedDict):
    datasetId: Id


class CreateVersionV2(TypedDict):
    """CreateDatasetVersion."""

    datasetId: Id
    description: NotRequired[Text]


class VersionFilter(TypedDict):
    """publishStatus: a word such as Published."""

    publishStatus: NotRequired[str]


class ListVersionsV2(TypedDict):
    """DescribeDatasetVersions."""

    datasetId: Id
    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    filter: NotRequired[VersionFilter | None]


class VersionRefV2(TypedDict):
    versionId: Id


class CreateImportV2(TypedDict):
    """CreateImportTask. files: paths (`bos:/…`), or addresses of archives; not both kinds at once."""

    versionId: Id
    files: Annotated[list[Annotated[str, Len(1, 2000)]], Len(1, 100)]


class DataTaskRef(TypedDict):
    taskId: Annotated[str, Len(1, 60)] | int


class CreateExportV2(TypedDict):
    """CreateExportTask. storagePath: the bucket, as `bos:/bucket/`, needed for BOS."""

    versionId: Id
    storageType: NotRequired[Literal["sysStorage", "BOS"]]
    storagePath: NotRequired[Annotated[str, Len(0, 1000)]]
