"""Bodies of batch inference."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name, Text


class CreateBatchInference(TypedDict):
    """CreateBatchInferenceTask. Either modelId (a version) or endpoint; on this platform also the name of a preset.

    inputBosUri: JSON Lines, uploaded to /v2/files (`bos:/local/…`), or a file or folder in a connected bucket.
    outputBosUri: a folder in a connected bucket; default: the platform keeps the output, and links to it."""

    name: Name
    description: NotRequired[Text]
    modelId: NotRequired[Id]
    endpoint: NotRequired[Annotated[str, Len(0, 200)]]
    inferenceParams: NotRequired[dict[str, Any]]
    inputBosUri: NotRequired[Annotated[str, Len(1, 1_000)]]
    outputBosUri: NotRequired[Annotated[str, Len(0, 1_000)]]
    afsConfig: NotRequired[dict[str, Any]]
    completion_window: NotRequired[Any]


class BatchInferenceRef(TypedDict):
    taskId: Id


class ListBatchInference(TypedDict):
    """DescribeBatchInferenceTasks. A marker names the first item of the page. runStatus: one, or a list."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1), Le(100)]]
    pageReverse: NotRequired[bool]
    runStatus: NotRequired[str | list[str]]
