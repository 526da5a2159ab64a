"""Bodies of the calls about cleaning tasks."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Len
from typing_extensions import TypedDict

from .bodies import Id


class CleaningOperator(TypedDict):
    name: Annotated[str, Len(1, 100)]
    args: NotRequired[dict[str, Any]]


class CreateCleaning(TypedDict):
    """etl/create. operationsV2: for each stage a list of operators."""

    sourceDatasetId: Id
    destDatasetId: Id
    operationsV2: dict[str, Annotated[list[CleaningOperator], Len(0, 50)]]
    etlTaskName: NotRequired[Annotated[str, Len(0, 100)]]


class CleaningRef(TypedDict):
    etlId: Id


class ListCleaning(TypedDict):
    offset: NotRequired[Annotated[int, Ge(0)]]
    pageSize: NotRequired[Annotated[int, Ge(1)]]


class DeleteCleaning(TypedDict):
    etlIds: Annotated[list[Id], Len(1, 200)]
