"""Evaluation in the words of both sides: bodies of its calls, the judge's words, how results are exported."""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name, Text

MOST_VERSIONS: Final = 5  # evaluated in one task
MOST_DIMENSIONS: Final = 4  # of a manual evaluation
SATISFACTION: Final = "满意度"  # the dimension that a manual evaluation always has
MODES: Final = ("model", "rule", "manual")
NOT_SCORED: Final = -1  # what stands for a score that the judge did not give
DEFAULT_METRIC: Final = "综合得分"
DEFAULT_MAX_SCORE: Final = 5
JSONL_SINCE: Final = (0, 3, 7)  # published Python clients before this one read an export as CSV
CSV_HEADER: Final = (
    "模型名称", "模型版本", "Prompt问题", "模型结果", "预期回答", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L",
    "裁判员模型打分", "裁判员模型打分理由",
)  # fmt: skip


class PromptPrefix(TypedDict):
    """content: a text with `{input}`, where each question is put."""

    enable: NotRequired[bool]
    content: NotRequired[Annotated[str, Len(0, 10_000)]]


class EvaluatedVersion(TypedDict):
    """An item of versionEvalInfo. params: of the chat call, such as temperature, top_p, max_output_tokens.

    endpoint: in place of a version, a service or a preset model by its address or name; of this platform."""

    modelId: NotRequired[Id]
    modelVersionId: NotRequired[Id]
    endpoint: NotRequired[Annotated[str, Len(1, 200)]]
    params: NotRequired[dict[str, Any]]
    prompt: NotRequired[PromptPrefix]


class JudgePrompt(TypedDict):
    """templateContent: a text with {src} (question), {tgt} (reference) and {prediction} (what is judged)."""

    templateName: NotRequired[str]
    templateContent: NotRequired[Annotated[str, Len(0, 20_000)]]
    metric: NotRequired[Annotated[str, Len(0, 500)]]
    steps: NotRequired[Annotated[str, Len(0, 5_000)]]
    minScore: NotRequired[Annotated[int, Ge(0), Le(100)]]
    maxScore: NotRequired[Annotated[int, Gt(0), Le(100)]]


class EvalConf(TypedDict):
    """evalStandardConf. evalMode: `model`, `rule` and `manual`, one or more, joined by commas.

    apiName: the judge, a service or a preset model by its address or name; of this platform."""

    evalMode: Annotated[str, Len(1, 60)]
    scoreModes: NotRequired[Annotated[list[str], Len(0, 8)]]
    stopWordsPath: NotRequired[Annotated[str, Len(0, 500)]]
    appId: NotRequired[Id]
    apiName: NotRequired[Annotated[str, Len(0, 200)]]
    prompt: NotRequired[JudgePrompt]
    evaluationDimension: NotRequired[Annotated[list[dict[str, Any]], Len(0, 20)]]


class CreateEvaluation(TypedDict):
    """eval/create. id: an evaluation that has not begun, to change and start it."""

    name: Name
    versionEvalInfo: Annotated[list[EvaluatedVersion], Len(1, MOST_VERSIONS)]
    datasetId: Id
    evalStandardConf: EvalConf
    computeResourceConf: NotRequired[dict[str, Any]]
    resultDatasetStorageType: NotRequired[str]
    id: NotRequired[Id]
    description: NotRequired[Text]


class EvaluationRef(TypedDict):
    id: Id


class DeleteEvaluations(TypedDict):
    evalIds: Annotated[list[Id], Len(1, 200)]


class ExportResults(TypedDict):
    """eval/result/export. exportOpt: total, or part with resultIds."""

    id: Id
    exportType: NotRequired[str]
    exportOpt: NotRequired[str]
    exportContent: NotRequired[Annotated[list[str], Len(0, 8)]]
    volumeId: NotRequired[str]
    resultIds: NotRequired[Annotated[list[Id], Len(1, 10_000)]]


class ExportRef(TypedDict):
    """format: `csv` or `jsonl` (a zip with data.jsonl); default: what the client's version reads."""

    exportID: Id
    format: NotRequired[str]


class Range(TypedDict):
    min: NotRequired[float]
    max: NotRequired[float]


class ListResults(TypedDict):
    """eval/result/list. The ranges are of a row's own scores, 0–1, and of the judge's."""

    id: Id
    pageNo: NotRequired[Annotated[int, Ge(1)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(1000)]]
    bleu4: NotRequired[Range]
    rouge_1: NotRequired[Range]
    rouge_2: NotRequired[Range]
    rouge_l: NotRequired[Range]
    judgeScore: NotRequired[Range]
    modelVersionIds: NotRequired[Annotated[list[Id], Len(0, MOST_VERSIONS)]]
    evalUnitId: NotRequired[Id]
    orderBy: NotRequired[str]
    order: NotRequired[str]


class ListEvaluations(TypedDict):
    """DescribeEvalTasks. A marker names the first item of the page."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1), Le(100)]]
