"""Bodies of the calls about augmentation tasks, and the words of their results."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name

MOST_SEEDS: Final = 10  # samples shown in one prompt
MOST_SAMPLES: Final = 5000  # of one task
MOST_IN_PAGE: Final = 20
SEEDS: Final = 3  # for callers of V2 that name none
THRESHOLD: Final = 0.7

DEV_APIS: Final = {
    1191: "ERNIE-3.5-8K",
    1431: "ERNIE-Lite-8K",
    1306: "ERNIE-4.0-8K",
    1378: "ERNIE-Speed-8K",
}
"""Models by the number that clients from 0.3.12 on send as `devApiId`."""

Few = Annotated[int, Ge(1), Le(MOST_SEEDS)]
Count = Annotated[int, Ge(1), Le(MOST_SAMPLES)]
Likeness = Annotated[float, Ge(0), Le(1)]


class CreateAugmentation(TypedDict):
    """enhance/create. Who writes: serviceUrl or serviceName, or in their place devApiId."""

    name: Name
    sourceDatasetId: Id
    destDatasetId: Id
    isSelfInstruct: NotRequired[bool]
    serviceName: NotRequired[Annotated[str, Len(0, 200)]]
    serviceUrl: NotRequired[Annotated[str, Len(0, 500)]]
    devApiId: NotRequired[Id]
    appId: NotRequired[Id]
    numSeedFewshot: Few
    numInstancesToGenerate: Count
    similarityThreshold: Likeness


class AugmentationRef(TypedDict):
    taskId: Id


class ListAugmentations(TypedDict):
    """enhance/list. word: part of a name. Without sortField the order is that of the ids, oldest first."""

    isSelfInstruct: NotRequired[bool]
    offset: NotRequired[Annotated[int, Ge(0)]]
    pageSize: NotRequired[Annotated[int, Ge(1)]]
    word: NotRequired[Annotated[str, Len(0, 200)]]
    sortField: NotRequired[Literal["startTime", ""]]
    sortBy: NotRequired[Literal["asc", "desc", ""]]


class DeleteAugmentations(TypedDict):
    taskIds: Annotated[list[Id], Len(1, 200)]


class CreateTextAugmentTask(TypedDict):
    """CreateTextAugmentTask of V2. endpoint: a service or a model's name."""

    name: Name
    sourceVersionId: Id
    destVersionId: Id
    endpoint: Annotated[str, Len(1, 500)]
    numSeedFewshot: NotRequired[Few]
    numInstancesToGenerate: Count
    similarityThreshold: NotRequired[Likeness]


class ListTextAugmentTasks(TypedDict):
    """DescribeTextAugmentTasks."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
