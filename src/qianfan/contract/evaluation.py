"""Evaluation in the words of both sides: bodies of its calls, the judge's words, how results are exported."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired

from annotated_types import Ge, Gt, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name, Text

MOST_VERSIONS: Final = 5  # evaluated in one task
MOST_DIMENSIONS: Final = 4  # of a manual evaluation
SATISFACTION: Final = "满意度"  # the dimension that a manual evaluation always has
MODES: Final = ("model", "rule", "manual")
MANUAL_SCORE: Final = "manualScore"  # the score of a row that people gave for satisfaction
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
    resultDatasetStorageId: NotRequired[str]
    resultDatasetRawPath: NotRequired[str]
    id: NotRequired[Id]
    description: NotRequired[Text]


class EvaluationRef(TypedDict):
    id: Id


class DeleteEvaluations(TypedDict):
    evalIds: Annotated[list[Id], Len(1, 200)]


class ExportResults(TypedDict):
    """eval/result/export. exportType: local, or storage with the bucket volumeId. exportOpt: total, or part with
    resultIds."""

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
    """DescribeEvalTasks. A marker names the first item of the page. evalType: manual or auto; default: both."""

    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1), Le(100)]]
    evalType: NotRequired[Literal["manual", "auto", ""]]


class EvalModel(TypedDict):
    """An item of evalModelConfigList: a version by modelId, or, on this platform, a service or preset by endpoint."""

    modelId: NotRequired[Id]
    endpoint: NotRequired[Annotated[str, Len(1, 200)]]
    promptTemplate: NotRequired[Annotated[str, Len(0, 10_000)]]
    params: NotRequired[dict[str, Any]]


class EvalModels(TypedDict):
    """evalModelConfig. versionId: of the dataset."""

    versionId: Id
    storageType: NotRequired[str]
    evalModelConfigList: Annotated[list[EvalModel], Len(1, MOST_VERSIONS)]


class EvalObject(TypedDict):
    evalModelConfig: NotRequired[EvalModels]
    evalInferDatasetConfig: NotRequired[dict[str, Any]]


class V2EvalConf(TypedDict):
    """evalConfig. evalMode: `model`, `rule`, `manual`, joined by commas; default: what is configured below."""

    evalMode: NotRequired[Annotated[str, Len(0, 60)]]
    autoModelEvalConfig: NotRequired[dict[str, Any]]
    autoRuleEvalConfig: NotRequired[dict[str, Any]]
    manualEvalConfig: NotRequired[dict[str, Any]]


class V2CreateEvaluation(TypedDict):
    """CreateEvalTask. evalObjectType: model."""

    taskName: Name
    evalObjectType: NotRequired[Literal["model", "inferDataset"]]
    evalObjectConfig: EvalObject
    evalConfig: V2EvalConf
    description: NotRequired[Text]


class EvalTaskRef(TypedDict):
    taskId: Id


class ListScoring(TypedDict):
    """DescribeEvalScoring. all: answers that have scores as well."""

    taskId: Id
    pageNo: NotRequired[Annotated[int, Ge(1)]]
    pageSize: NotRequired[Annotated[int, Ge(1), Le(1000)]]
    all: NotRequired[bool]


class PersonsScore(TypedDict):
    """scores: of every dimension of the evaluation, each from its minScore to its maxScore."""

    resultId: Id
    scores: dict[str, int]
    note: NotRequired[Annotated[str, Len(0, 2_000)]]


class ScoreResults(TypedDict):
    """ScoreEvalResults."""

    taskId: Id
    results: Annotated[list[PersonsScore], Len(1, 1_000)]


class FinishScoring(TypedDict):
    """FinishEvalScoring. subjectiveImpression: what people say on the whole, shown in the report."""

    taskId: Id
    subjectiveImpression: NotRequired[Annotated[str, Len(0, 2_000)]]


class CreateVerdict(TypedDict):
    """CreateEvalVerdict. baseline, modelVersionId: of the evaluation, default its first and its last.

    The rest as a gate has it."""

    taskId: Id
    baseline: NotRequired[Id]
    modelVersionId: NotRequired[Id]
    rule: NotRequired[Literal["better", "not worse"]]
    metric: NotRequired[Annotated[str, Len(1, 60)]]
    margin: NotRequired[Annotated[float, Ge(0), Le(1_000)]]
    confidence: NotRequired[Annotated[float, Ge(0.5), Le(0.9999)]]
    fewest: NotRequired[Annotated[int, Ge(1), Le(1_000_000)]]
