"""Every call of prompts, evaluation, gates and batch inference, made in a thread and by asyncio: the same comes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from qianfan.contract.enums import EvaluationResultExportRange
from qianfan.contract.evaluation import SATISFACTION
from qianfan.resources import BatchInference, Evaluation, Model, Prompt
from qianfan.resources.console.files import Files
from qianfan.resources.console.utils import BoundConsoleCall, console_call

from .evaluating import MANUAL, saved
from .served import within

pytestmark = pytest.mark.usefixtures("judged")

Make = Callable[..., Any]


VARYING = {"progressDetail", "pageInfo"}  # what they hold depends on how far a task is, and on what was there


class Road:
    """Makes calls in one of the two ways, and keeps what each returned."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.seen: dict[str, Any] = {}

    def __call__(self, bound: BoundConsoleCall[Any], *args: Any, **kwargs: Any) -> Any:
        answer = asyncio.run(bound.aio(*args, **kwargs)) if self.is_async else bound(*args, **kwargs)
        self.seen[bound.__qualname__] = answer["result"]  # type: ignore[attr-defined]
        return answer["result"]


def shape(value: Any) -> Any:
    """The names and types in an answer, without its values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items() if name not in VARYING}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def evaluations(call: Road, dataset: str) -> None:
    """Of V1: made, looked at, listed, exported, stopped, deleted."""
    made = call(
        Model.create_evaluation_task, "calls", [{"endpoint": "good"}, {"endpoint": "poor"}], dataset,
        {"evalMode": "rule", "scoreModes": ["accuracy"]}, description="both roads",
    )  # fmt: skip
    ident = made["evalIdStr"]
    within(60, lambda: call(Model.get_evaluation_info, ident)["state"] == "Done")
    assert [row["effectMetric"]["accuracy"] for row in call(Model.get_evaluation_result, ident)] == [1, 0]
    items = call(Model.get_evaluation_result_list, ident, page_size=5)["items"]
    assert ident in [
        row["evaluationIdStr"] for row in call(Model.evaluation_list, max_keys=50)["evalTaskList"]
    ]
    assert call(Model.evaluable_model_list)
    export = call(
        Model.create_evaluation_result_export_task, ident, export_range=EvaluationResultExportRange.Part,
        result_ids=[str(items[0]["id"])],
    )["exportIDStr"]  # fmt: skip
    within(20, lambda: call(Model.get_evaluation_result_export_task_status, export)["state"] == "Done")
    other = call(Model.create_evaluation_task, "stopped", [{"endpoint": "slow"}], dataset, MANUAL)["evalId"]
    assert call(Model.stop_evaluation_task, other)["result"] is True
    within(20, lambda: call(Model.get_evaluation_info, other)["state"] == "Stopped")
    call(Model.get_evaluation_info, ident)
    call(Model.batch_delete_evaluation_result, [ident])


def evaluations_of_v2(call: Road, dataset: str) -> None:
    """The same of V2, with people's scores."""
    listed = [{"endpoint": "good"}, {"endpoint": "poor"}]
    objects = {"evalModelConfig": {"versionId": dataset, "evalModelConfigList": listed}}
    ident = call(Evaluation.create_eval_task, "v2", "model", objects, {"manualEvalConfig": {}})["taskId"]
    within(60, lambda: call(Evaluation.describe_eval_task, ident)["status"] == "RunningWithManualBegin")
    rows = call(Evaluation.answers_to_score, ident, page_size=50)["items"]
    assert len(rows) == 4
    results = [{"resultId": row["resultId"], "scores": {SATISFACTION: 2}} for row in rows]
    assert call(Evaluation.score, ident, results)["waiting"] == 0
    assert call(Evaluation.finish_scoring, ident)["state"] == "Done"
    assert len(call(Evaluation.describe_eval_task_report, ident)["evalReportList"]) == 2
    assert call(Evaluation.describe_eval_tasks, "manual")["evalTaskList"][0]["taskId"] == ident
    assert call(Evaluation.verdicts, ident) == {"verdicts": []}
    call(Evaluation.delete_eval_task, ident)


def gates(call: Road, dataset: str) -> None:
    """A model's gate: set, looked at, taken away."""
    model = Model.V2.create_custom_model_set("guarded")["result"]["modelSetId"]
    call(
        Model.V2.set_model_gate, model, "good", ("publish",), rule="not worse", margin=0.1, datasetId=dataset
    )
    gate = call(Model.V2.describe_model_gate, model)["gate"]
    assert (gate["baselineName"], gate["at"], gate["margin"]) == ("good", ["publish"], 0.1)
    assert call(Model.V2.delete_model_gate, model) == {}
    assert Model.V2.describe_model_gate(model)["result"] == {"gate": None}
    Model.V2.delete_model_set(model)


def batches(call: Road, dataset: str) -> None:
    """Batch inference: begun, looked at, listed, stopped."""
    path = Files.upload(b'{"prompt": "capital of France?"}\n')["result"]["path"]
    ident = call(BatchInference.create, "calls", {}, path, "bos:/local/", endpoint="good")["taskId"]
    within(30, lambda: call(BatchInference.detail, ident)["runStatus"] == "Done")
    assert call(BatchInference.list, max_keys=1)["taskList"][0]["taskId"] == ident
    long = Files.upload(json.dumps({"prompt": "word " * 400}).encode() * 1)["result"]["path"]
    slow = BatchInference.create("slow", {}, long, "bos:/local/", endpoint="slow")["result"]["taskId"]
    assert call(BatchInference.stop, slow) is True


def prompts(call: Road, dataset: str) -> None:
    """Templates of both generations, labels, optimisation and scores."""
    name = f"by {'asyncio' if call.is_async else 'threads'}"
    ident = call(Prompt.create, name, "say {what_a}")["templateId"]
    assert call(Prompt.info, ident, what_a="hi")["content"] == "say hi"
    call(Prompt.update, ident, template="tell {what_a}")
    assert call(Prompt.list, name=name)["total"] == 1
    call(Prompt.list_labels)
    call(Prompt.delete, ident)
    task = call(Prompt.create_optimiztion_task, "Hello", [{"opType": 1, "payload": 1}], service_name="good")[
        "id"
    ]
    within(30, lambda: call(Prompt.get_optimization_task, task)["processStatus"] != 1)
    assert call(Prompt.evaluation_score, 3, [{"scene": "a", "response_list": ["a"]}])["scores"] == [[1.0]]
    summed = [{"prompt": "say", "scenes": [{"args": {}, "expected": "a", "response": "a", "score": 1.0}]}]
    call(Prompt.evaluation_summary, summed)
    made = call(Prompt.V2.create, f"{name} v2", "say {what_a}")["templateId"]
    call(Prompt.V2.info, made)
    call(Prompt.V2.update, made, template_content="tell {what_a}")
    call(Prompt.V2.list, name=f"{name} v2")
    call(Prompt.V2.delete, made)
    label = f"label {name}"
    call(Prompt.V2.create_label, [label])
    items = call(Prompt.V2.list_labels, max_keys=100)["items"]
    call(Prompt.V2.delete_label, next(row["labelId"] for row in items if label in row.values()))


def calls_of(owner: type) -> set[str]:
    """The qualified names of the console calls of a class."""
    return {
        f"{owner.__qualname__}.{name}"
        for name, value in vars(owner).items()
        if isinstance(value, console_call)
    }


ABOUT_GATES = {f"ModelV2.{name}_model_gate" for name in ("set", "describe", "delete")}
ABOUT_EVALUATION = {name for name in calls_of(Model) if "eval" in name}


@pytest.mark.parametrize(
    ("work", "every"),
    [
        (evaluations, ABOUT_EVALUATION),
        (
            evaluations_of_v2,
            calls_of(Evaluation) - {"Evaluation.give_verdict"},
        ),  # needs a version of one's own
        (gates, ABOUT_GATES),
        (batches, calls_of(BatchInference)),
        (prompts, calls_of(Prompt) | calls_of(Prompt.V2)),
    ],
    ids=["evaluation", "evaluation v2", "gates", "batch", "prompts"],
)
def test_every_call_gives_the_same_in_a_thread_and_by_asyncio(work: Any, every: set[str]) -> None:
    """No method is left out, and both ways answer in one shape."""
    rows = [[{"prompt": text, "response": [[text]]}] for text in ("one", "two")]
    dataset = saved(rows, "calls")
    roads = [Road(is_async=False), Road(is_async=True)]
    for road in roads:
        work(road, dataset)
        assert set(road.seen) == every
    for name in every:
        assert shape(roads[0].seen[name]) == shape(roads[1].seen[name]), name
