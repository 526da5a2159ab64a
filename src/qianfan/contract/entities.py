"""Bodies of the calls about single entities of a dataset."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Len
from typing_extensions import TypedDict

from .bodies import Id

PAGE: int = 30  # entities; a larger pageSize counts as this
Closure = Annotated[list[int], Len(0, 2)]  # [from, to] in milliseconds since 1970; [] is no filter


class EntityLabel(TypedDict):
    """What a picture shows. label_id: made of the name when not given."""

    name: Annotated[str, Len(1, 4000)]
    label_id: NotRequired[Annotated[str, Len(1, 100)]]
    color: NotRequired[str]


class ListEntities(TypedDict):
    """entity/list. tabType: 0 all, 1 annotated, 2 not annotated. labelId: several with commas."""

    datasetId: Id
    offset: NotRequired[Annotated[int, Ge(0)]]
    pageSize: NotRequired[Annotated[int, Ge(1)]]
    tabType: NotRequired[int]
    importTime: NotRequired[Closure]
    annoTime: NotRequired[Closure]
    labelId: NotRequired[Annotated[str, Len(0, 4000)]]


class AnnotateEntity(TypedDict):
    """entity/annotate. content for a conversation, labels for a picture; content wins."""

    id: Annotated[str, Len(1, 200)]
    datasetId: Id
    content: NotRequired[list[dict[str, Any]]]
    labels: NotRequired[Annotated[list[EntityLabel], Len(0, 50)]]


class DeleteEntities(TypedDict):
    id: Annotated[list[str], Len(1, 1000)]
    datasetId: Id
