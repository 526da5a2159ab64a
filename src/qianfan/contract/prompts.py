"""Bodies of the calls about prompts: templates, labels, optimisation, scores."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name

PromptText = Annotated[str, Len(1, 100_000)]
PromptIdentifier = Literal["{}", "{{}}", "[]", "[[]]", "()", "(())"]


class CreatePrompt(TypedDict):
    """prompt/template/create. Variables are names with commas between; the negative ones count for images."""

    templateName: Name
    templateContent: PromptText
    variableIdentifier: NotRequired[PromptIdentifier]
    sceneType: NotRequired[Literal[1, 2]]
    frameworkType: NotRequired[Literal[0, 1, 2, 3]]
    templateVariables: NotRequired[Annotated[str, Len(0, 10_000)]]
    labelIds: NotRequired[Annotated[list[Id], Len(0, 100)]]
    negativeTemplateContent: NotRequired[Annotated[str, Len(0, 100_000)]]
    negativeTemplateVariables: NotRequired[Annotated[str, Len(0, 10_000)]]
    hyperParameters: NotRequired[dict[str, Any]]


class UpdatePrompt(TypedDict):
    """prompt/template/update. What is not given stays as it is."""

    templateId: Id
    templateName: NotRequired[Name]
    templateContent: NotRequired[PromptText]
    variableIdentifier: NotRequired[PromptIdentifier]
    labelIds: NotRequired[Annotated[list[Id], Len(0, 100)]]
    negativeTemplateContent: NotRequired[Annotated[str, Len(0, 100_000)]]
    hyperParameters: NotRequired[dict[str, Any]]


class PromptRef(TypedDict):
    templateId: Id


class ListPrompts(TypedDict):
    """prompt/template/list. type: 1 those of the platform, 2 (default) the account's own."""

    offset: NotRequired[Annotated[int, Ge(0)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(200)]]
    name: NotRequired[Annotated[str, Len(0, 200)]]
    labelIds: NotRequired[Annotated[list[Id], Len(0, 100)]]
    type: NotRequired[Literal[1, 2]]


class ListLabels(TypedDict):
    offset: NotRequired[Annotated[int, Ge(0)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(200)]]


class V2CreatePrompt(TypedDict):
    """CreatePromptTemplate. labels: names, made when they are new."""

    templateName: Name
    templateContent: PromptText
    variableIdentifier: NotRequired[PromptIdentifier]
    sceneType: NotRequired[Literal["TextToText", "TextToImage"]]
    templateVariables: NotRequired[Annotated[str, Len(0, 10_000)]]
    labels: NotRequired[Annotated[list[Name], Len(0, 3)]]
    negativeTemplateContent: NotRequired[Annotated[str, Len(0, 100_000)]]
    negativeTemplateVariables: NotRequired[Annotated[str, Len(0, 10_000)]]
    hyperParameters: NotRequired[dict[str, Any]]


class V2UpdatePrompt(TypedDict):
    """ModifyPromptTemplate. What is not given stays as it is."""

    templateId: Id
    templateName: NotRequired[Name]
    templateContent: NotRequired[PromptText]
    variableIdentifier: NotRequired[PromptIdentifier]
    labels: NotRequired[Annotated[list[Name], Len(0, 3)]]
    negativeTemplateContent: NotRequired[Annotated[str, Len(0, 100_000)]]
    hyperParameters: NotRequired[dict[str, Any]]


class V2ListPrompts(TypedDict):
    """DescribePromptTemplates. type: System, those of the platform, or Custom (default)."""

    marker: NotRequired[Id]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]
    pageReverse: NotRequired[bool]
    name: NotRequired[Annotated[str, Len(0, 200)]]
    labelIds: NotRequired[Annotated[list[Id], Len(0, 100)]]
    type: NotRequired[Literal["System", "Custom"]]


class CreateLabels(TypedDict):
    name: Annotated[list[Name], Len(1, 20)]


class LabelRef(TypedDict):
    labelId: Id


class PromptOperation(TypedDict):
    """opType: 1 quality, 2 shorten, 3 rounds, 4 chain of thought. payload: 0 or 1; rounds 1 or 2."""

    opType: Literal[1, 2, 3, 4]
    payload: Annotated[int, Ge(0), Le(2)]


class OptimisePrompt(TypedDict):
    """prompt/singleOptimize/create."""

    content: PromptText
    operations: Annotated[list[PromptOperation], Len(1, 4)]
    appID: NotRequired[int]
    serviceName: NotRequired[Annotated[str, Len(0, 200)]]


class OptimisationRef(TypedDict):
    id: Id


class ExpectedAnswers(TypedDict):
    """scene: what was expected. response_list: the answers; a mapping counts as its values."""

    scene: Annotated[str, Len(0, 100_000)]
    response_list: list[str] | dict[str, str]


class ScoreAnswers(TypedDict):
    """prompt/evaluate/predict. type: 1 semantic, 2 regular expression, 3 exact."""

    type: Literal[1, 2, 3]
    data: Annotated[list[ExpectedAnswers], Len(1, 200)]


class PromptAnswers(TypedDict):
    """A prompt with its scenes and the answers to them; `scene` is another spelling of `scenes`."""

    prompt: Annotated[str, Len(0, 100_000)]
    scenes: NotRequired[list[dict[str, Any]]]
    scene: NotRequired[list[dict[str, Any]]]
    response_list: NotRequired[list[str] | dict[str, str]]


class SummariseAnswers(TypedDict):
    """prompt/evaluate/summary."""

    data: Annotated[list[PromptAnswers], Len(1, 50)]
