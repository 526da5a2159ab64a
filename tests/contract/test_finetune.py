"""Fine-tuning at the level of HTTP: both generations over the same runs, and what is told of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from qianfan.cli import finetune as commands
from qianfan.cli.main import app
from qianfan.embedded import Embedded
from qianfan.resources import FineTune
from tests.contract.conftest import conversations
from tests.contract.speaking import Speaker, until

V1, V2 = "/wenxinworkshop/finetune/", "/v2/finetuning"
QUICK = {"epoch": 1, "batchSize": 8, "learningRate": 0.01, "maxSeqLen": 64}


@dataclass(frozen=True)
class Data:
    """Released datasets by template, as (number, public id)."""

    chats: tuple[int, str]
    more: tuple[int, str]
    texts: tuple[int, str]
    pairs: tuple[int, str]


@pytest.fixture(scope="module")
def me(platform: Embedded) -> Speaker:
    return Speaker(platform)


@pytest.fixture(scope="module")
def data(me: Speaker) -> Data:
    long = [[{"prompt": "long " * 40, "response": [["too long"]]}]]
    pairs = [[{"user": f"q {n}", "chosen": "yes", "rejected": f"no {n}"}] for n in range(12)]
    return Data(
        me.upload(conversations(12)),
        me.upload(conversations(5, start=100) + long),
        me.upload([f"text number {n}" for n in range(12)], template=40100),
        me.upload(pairs, template=2002),
    )


@pytest.fixture(scope="module")
def mixed(me: Speaker, data: Data) -> dict[str, Any]:
    """A finished run of V1 on half of one dataset and one and a half times another; its ids and its detail."""
    task = me.v1("finetune/createTask", name="mixed", description="of two")
    body = {
        "taskId": task["id"],
        "trainMode": "SFT",
        "trainType": "tiny",
        "pefttype": "LoRA",
        "baseTraintype": "tiny",
        "trainConfig": {
            **{name.lower(): value for name, value in QUICK.items()},  # in any case, as the other members
            "epoch": 2,
            "tooLong": "drop",
            "checkpointSteps": 1,
            "checkpointsKept": 1,
        },
        "trainset": [
            {"type": 1, "id": data.chats[0], "samplingRate": 0.5},
            {"type": 1, "id": data.more[1], "samplingRate": 1.5},
        ],
        "trainsetRate": 20,
    }
    run = me.v1("finetune/createJob", **body)
    return {"task": task, "run": run, "detail": ended(me, run)}


def ended(me: Speaker, run: dict[str, Any]) -> Any:
    return until(
        lambda: me.v1("finetune/jobDetail", jobId=run["uuid"]),
        lambda detail: detail["trainStatus"] != "RUNNING",
        f"run {run}",
    )


def job(me: Speaker, mode: str = "SFT", **body: Any) -> str:
    made = me.tune("CreateFineTuningJob", **{"name": "a job", "model": "tiny", "trainMode": mode, **body})
    return str(made["jobId"])


def task_body(job_id: Any, version: tuple[int, str], **body: Any) -> dict[str, Any]:
    return {
        "jobId": job_id,
        "parameterScale": "LoRA",
        "hyperParameterConfig": QUICK,
        "datasetConfig": {
            "sourceType": "Platform",
            "versions": [{"versionId": version[1]}],
            "splitRatio": 20,
        },
        **body,
    }


def test_the_first_generation_tells_every_member_of_a_run(mixed: dict[str, Any]) -> None:
    """Numbers for ids and progress, local times, a link, and the words of V1."""
    task, run, detail = mixed["task"], mixed["run"], mixed["detail"]
    assert (task["name"], task["description"]) == ("mixed", "of two")
    assert task["uuid"].startswith("job-")
    assert run["uuid"].startswith("task-")
    assert detail["trainStatus"] == "FINISH", detail["progressDetail"]["reason"]
    told = {name: detail[name] for name in ("id", "taskId", "taskName", "version", "jobRunType", "progress")}
    assert told == {
        "id": run["id"],
        "taskId": task["id"],
        "taskName": "mixed",
        "version": 1,
        "jobRunType": 0,
        "progress": 100,
    }
    echoed = [detail[name] for name in ("trainType", "baseTrainType", "trainMode", "peftType")]
    assert echoed == ["tiny", "tiny", "SFT", "LoRA"]
    assert len(detail["startTime"]) == len(detail["finishTime"]) == len("2024-01-02 03:04:05")
    assert "increConfig" not in detail


def test_a_run_tells_what_it_was_asked_for_and_what_holds(
    me: Speaker, mixed: dict[str, Any], data: Data
) -> None:
    """As it was sent in either generation; beside it every hyper-parameter that has an effect, and the seed."""
    detail, seen = mixed["detail"], me.tune("DescribeFineTuningTask", taskId=mixed["run"]["uuid"])
    sent = {**QUICK, "epoch": 2, "tooLong": "drop", "checkpointSteps": 1, "checkpointsKept": 1}
    assert detail["trainConfig"] == seen["hyperParameterConfig"] == sent
    assert [(one["type"], one["id"], one["samplingRate"]) for one in detail["trainset"]] == [
        (1, data.chats[0], 0.5),
        (1, data.more[0], 1.5),
    ]
    assert detail["trainsetRate"] == seen["datasetConfig"]["splitRatio"] == 20
    versions = [one["versionId"] for one in seen["datasetConfig"]["versions"]]
    assert versions == [data.chats[1], data.more[1]]
    holds = detail["progressDetail"]["hyperParameters"]
    assert holds == {
        "epoch": 2,
        "batchSize": 8,
        "learningRate": 0.01,
        "maxSeqLen": 64,
        "loggingSteps": 1,
        "warmupRatio": 0.05,
        "weightDecay": 0.0,
        "schedulerName": "linear",
        "loraRank": 16,
        "loraAlpha": 32,
        "loraDropout": 0.0,
        "loraAllLinear": "True",
        "tooLong": "drop",
        "mostDropped": 50,
        "seed": 7,
    }


def test_a_container_without_a_name_of_its_model_is_of_its_first_run(
    me: Speaker, mixed: dict[str, Any]
) -> None:
    """V1 may leave the train type to createJob; V2 lists and filters by it all the same."""
    made = me.v1("finetune/createTask", name="nothing said")
    listed = {row["jobId"]: row["model"] for row in me.tune("DescribeFineTuningJobs", maxKeys=100)["jobList"]}
    assert listed[made["uuid"]] == ""
    assert listed[mixed["task"]["uuid"]] == "tiny"


def test_the_same_run_is_told_in_the_words_of_the_second_generation(
    me: Speaker, mixed: dict[str, Any]
) -> None:
    """Task and job swap names; progress has its percent sign in every state; times are in UTC."""
    seen = me.tune("DescribeFineTuningTask", taskId=mixed["run"]["id"])
    assert (seen["taskId"], seen["jobId"]) == (mixed["run"]["uuid"], mixed["task"]["uuid"])
    assert (seen["runStatus"], seen["runProgress"], seen["parameterScale"]) == ("Done", "100%", "LoRA")
    assert seen["createDate"].endswith("Z")
    assert seen["finishDate"].endswith("Z")
    steps = seen["progressDetail"]["steps"]
    assert [kept["step"] for kept in seen["checkpointList"]] == [steps - 1, steps]
    for kept in seen["checkpointList"]:
        assert kept["trainingLoss"] > 0
        assert kept["perplexity"] > 1
    assert "metrics" not in seen  # BLEU and ROUGE are not measured, so they are not told


def test_what_was_estimated_stands_beside_what_happened(mixed: dict[str, Any]) -> None:
    """And the report after the run says how much was learned from how much."""
    detail = mixed["detail"]["progressDetail"]
    assert detail["estimate"]["memory_mib"] > 0
    assert detail["happened"]["seconds"] > 0
    report = detail["report"]
    assert report["steps"] == detail["steps"]
    assert report["tokensTrained"] == 2 * detail["ledger"]["trained_tokens"]
    assert report["lossChange"] == pytest.approx(report["lossLast"] - report["lossFirst"], abs=1e-4)
    assert report["evalLossAfter"] < report["evalLossBefore"]
    examples = report["examples"]
    assert len(examples) == 5
    assert all(one["question"] and one["wanted"] and "before" in one and "after" in one for one in examples)
    assert [one["heldOut"] for one in examples] == sorted((one["heldOut"] for one in examples), reverse=True)


def test_the_ledger_names_dataset_and_line_of_every_sample(
    me: Speaker, mixed: dict[str, Any], data: Data
) -> None:
    """6 of 12 and 9 of 6 records, page by page; what was dropped can be asked for alone; the file is there."""
    samples, marker = [], "1"
    while marker:
        page = me.tune("DescribeFineTuningTaskLedger", taskId=mixed["run"]["uuid"], maxKeys=4, marker=marker)
        assert len(page["samples"]) <= 4
        samples += page["samples"]
        marker = page["pageInfo"].get("nextMarker", "")
    assert [sample["sample"] for sample in samples] == list(range(1, 16))
    first = [sample["line"] for sample in samples if sample["datasetId"] == data.chats[0]]
    second = [sample["line"] for sample in samples if sample["datasetId"] == data.more[0]]
    assert len(set(first)) == len(first) == 6
    assert sorted(set(second)) == [1, 2, 3, 4, 5, 6]
    assert len(second) == 9
    dropped = me.tune("DescribeFineTuningTaskLedger", taskId=mixed["run"]["uuid"], what="dropped")["samples"]
    assert {(sample["datasetId"], sample["line"]) for sample in dropped} == {(data.more[0], 6)}
    assert all("too long" in sample["why"] for sample in dropped)
    with urllib.request.urlopen(page["downloadUrl"], timeout=10) as file:
        assert len(file.read().splitlines()) == 15
    warned = mixed["detail"]["progressDetail"]["warnings"]
    assert any("held-out ones are trained on as well" in text for text in warned)


def test_the_log_pages_and_the_link_opens_a_page(me: Speaker, mixed: dict[str, Any]) -> None:
    """Metrics once a step; vdlLink shows the curve to whoever holds it, and nothing to whoever changes it."""
    log = me.tune("DescribeFineTuningTaskLog", taskId=mixed["run"]["uuid"])
    steps = [event["step"] for event in log["metrics"] if event["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert me.tune("DescribeFineTuningTaskLog", taskId=mixed["run"]["uuid"], after=log["next"])["lines"] == []
    link = mixed["detail"]["vdlLink"]
    with urllib.request.urlopen(link, timeout=10) as answer:
        page = answer.read().decode()
    assert "<polyline" in page
    assert "mixed · run 1 · tiny" in page
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link[:-1] + ("0" if link[-1] != "0" else "1"), timeout=10)


def test_a_run_can_be_trained_further_on_other_data(me: Speaker, mixed: dict[str, Any], data: Data) -> None:
    """incrementTaskId: it starts where a checkpoint of the earlier one stood; V1 tells it as jobRunType 1."""
    before = mixed["detail"]["progressDetail"]["report"]["evalLossAfter"]
    step = mixed["detail"]["progressDetail"]["steps"] - 1
    body = task_body(job(me), data.chats, incrementTaskId=mixed["run"]["uuid"], incrementCheckpointStep=step)
    made = me.tune("CreateFineTuningTask", **body)
    detail = ended(me, {"uuid": made["taskId"]})
    assert detail["trainStatus"] == "FINISH", detail["progressDetail"]["reason"]
    assert detail["jobRunType"] == 1
    assert detail["increConfig"] == {"taskId": mixed["task"]["id"], "jobId": mixed["run"]["id"]}
    assert detail["progressDetail"]["startsFrom"] == mixed["run"]["uuid"]
    assert detail["progressDetail"]["report"]["lossFirst"] < before + 2  # a fresh model begins at 15


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"incrementCheckpointStep": 1}, "has kept no checkpoint of step 1"),
        ({"incrementTaskId": "task-000000000000"}, "does not exist"),
        ({"hyperParameterConfig": {**QUICK, "loraRank": 3}}, "param[hyperParameterConfig.loraRank] invalid"),
        ({"incrementTaskId": None, "incrementCheckpointStep": 3}, "param[incrementCheckpointStep] invalid"),
    ],
)
def test_what_cannot_be_trained_further_is_refused(
    me: Speaker, mixed: dict[str, Any], data: Data, changed: dict[str, Any], says: str
) -> None:
    """A step that was not kept, a run that is not there, another shape of the adapter."""
    body = task_body(job(me), data.chats, incrementTaskId=mixed["run"]["uuid"])
    told = me.refused(V2, {**body, **changed}, "CreateFineTuningTask")
    assert says in told.text


def test_another_model_cannot_go_on_with_a_run(me: Speaker, mixed: dict[str, Any], data: Data) -> None:
    """510404 in V1, with both names."""
    told = me.refused(
        f"{V1}createJob",
        {
            "taskId": mixed["task"]["id"],
            "trainType": "ERNIE-Bot-turbo-0725",
            "trainset": [{"type": 1, "id": data.chats[0]}],
            "jobRunType": 1,
            "increConfig": {"taskId": mixed["task"]["id"], "jobId": mixed["run"]["id"]},
        },
    )
    assert told.code == 510404
    assert "trained tiny, this one is to train ERNIE-Bot-turbo-0725" in told.text


@pytest.mark.parametrize("mode", ["PostPretrain", "DPO"])
def test_the_other_modes_take_their_own_templates(me: Speaker, data: Data, mode: str) -> None:
    """Texts for PostPretrain, preferences for DPO; a conversation set is refused."""
    made = job(me, mode)
    told = me.refused(V2, task_body(made, data.chats), "CreateFineTuningTask")
    assert "has template 2000" in told.text
    run = me.tune(
        "CreateFineTuningTask", **task_body(made, data.texts if mode == "PostPretrain" else data.pairs)
    )
    assert me.tune("DescribeFineTuningTask", taskId=run["taskId"])["trainMode"] == mode
    assert me.tune("StopFineTuningTask", taskId=run["taskId"]) is True


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["PostPretrain", "DPO"])
@pytest.mark.parametrize("scale", ["LoRA", "FullFineTuning", "PromptTuning"])
def test_every_mode_trains_by_every_method(me: Speaker, data: Data, mode: str, scale: str) -> None:
    """To the end, from an imported dataset, with every sample in the ledger."""
    right = data.texts if mode == "PostPretrain" else data.pairs
    run = me.tune("CreateFineTuningTask", **task_body(job(me, mode), right, parameterScale=scale))
    detail = ended(me, {"uuid": run["taskId"]})
    assert detail["trainStatus"] == "FINISH", detail["progressDetail"]["reason"]
    assert detail["progressDetail"]["ledger"]["kept"] == 12


def log_of(me: Speaker, run: str) -> list[str]:
    return [line["text"] for line in me.tune("DescribeFineTuningTaskLog", taskId=run)["lines"]]


def test_a_run_that_its_data_refuse_has_a_ledger_too(me: Speaker, data: Data) -> None:
    """Every sample that is too long is named with its dataset and line, beside those that would have been kept."""
    body = task_body(job(me), data.more)
    run = me.tune("CreateFineTuningTask", **body)
    detail = ended(me, {"uuid": run["taskId"]})
    assert detail["trainStatus"] == "FAIL"
    assert detail["progressDetail"]["reason"] == (
        "sample 6 has 228 tokens and at most 64 are allowed: "
        'raise max_seq_len to 228, or set too_long to "drop", "truncate" or "split"'
    )
    counts = detail["progressDetail"]["ledger"]
    assert (counts["samples"], counts["kept"], counts["refused"]) == (6, 5, 1)
    page = me.tune("DescribeFineTuningTaskLedger", taskId=run["taskId"], what="refused")
    ((number, line),) = [(one["sample"], one["line"]) for one in page["samples"]]
    assert line == 6
    seen = me.tune("DescribeFineTuningTaskSample", taskId=run["taskId"], sample=number)
    assert (seen["what"], seen["trainedTokens"]) == ("refused", 0)


def test_a_run_says_why_it_waits_and_a_stopped_one_goes_on_in_a_new_one(
    me: Speaker, mixed: dict[str, Any], data: Data
) -> None:
    """Three runs, one place: two wait, with their places and until when; newer clients are told Waiting. Two are
    stopped, by swapped ids as well, and what was stopped is resumed by creating the same run again. The third
    trains on a dataset that was deleted while it waited."""
    made, other = job(me, name="slow"), job(me, name="third")
    body = task_body(made, data.chats, hyperParameterConfig={**QUICK, "epoch": 400, "checkpointSteps": 1})
    lost = me.upload(conversations(8, start=300), name="lost")
    first, second = (me.tune("CreateFineTuningTask", **body)["taskId"] for _ in range(2))
    third = me.tune("CreateFineTuningTask", **task_body(other, lost))["taskId"]
    until(
        lambda: me.tune("DescribeFineTuningTask", taskId=first)["progressDetail"]["step"],
        lambda step: step > 1,
        "the first run's steps",
    )
    for source, word in (
        ("", "Running"),
        ("qianfan_py_sdk_v0.3.0", "Running"),
        ("qianfan_py_sdk_v0.4.3", "Waiting"),
    ):
        seen = Speaker(me.platform, source).tune("DescribeFineTuningTask", taskId=second)
        assert (seen["runStatus"], seen["runProgress"]) == (word, "0%")
    assert any("is the same and has not ended" in text for text in seen["progressDetail"]["warnings"])
    assert seen["progressDetail"]["waiting"]["position"] == 1
    assert "running in the queue" in seen["progressDetail"]["waiting"]["why"]
    until_second = seen["progressDetail"]["waiting"]["seconds"]
    assert until_second > 0
    waits = me.tune("DescribeFineTuningTask", taskId=third)["progressDetail"]["waiting"]
    assert waits["position"] == 2
    assert waits["seconds"] > until_second  # the second is to take as long as runs like it took
    said = log_of(me, third)
    assert said[0] == "made: SFT of tiny by LoRA, 8 records"
    assert said[-1].startswith("in the queue at place 2: 1 job is running")
    assert me.v1("dataset/delete", datasetId=lost[1]) == {"versionCount": 0}
    told = me.refused(V2, {"taskId": first}, "DeleteFineTuningTask")
    assert "is running" in told.text

    assert me.tune("StopFineTuningTask", taskId=second) is True
    assert log_of(me, second)[-1] == "stopped by the user before it began"
    assert me.v1("finetune/stopJob", taskId=first, jobId=made) is True  # as 0.3.0 sends it
    assert me.tune("StopFineTuningTask", taskId=first) is False
    assert me.refused(f"{V1}stopJob", {"taskId": made, "jobId": first}).code == 510302
    assert ended(me, {"uuid": first})["trainStatus"] == "STOP"
    on_what_was_deleted = ended(me, {"uuid": third})
    assert on_what_was_deleted["trainStatus"] == "FINISH", on_what_was_deleted["progressDetail"]["reason"]
    assert on_what_was_deleted["progressDetail"]["ledger"]["kept"] == 8

    # the newest run of the job is the second, which left no checkpoint: the one before it did
    again = me.tune("CreateFineTuningTask", **body)["taskId"]
    goes_on = me.tune("DescribeFineTuningTask", taskId=again)["progressDetail"]
    assert any("goes on from the last checkpoint of run 1" in text for text in goes_on["warnings"])
    assert goes_on["resumes"] == me.v1("finetune/jobDetail", jobId=first)["id"]
    me.tune("StopFineTuningTask", taskId=again)
    assert me.tune("DeleteFineTuningTask", taskId=second) is True
    assert me.v1("finetune/jobDetail", jobId=again)["version"] == 3
    listed = me.tune("DescribeFineTuningTasks", jobId=made, pageReverse=True)["taskList"]
    assert [row["taskId"] for row in listed] == [first, again]
    assert {row["runStatus"] for row in listed} == {"Stopped"}
    assert me.tune("DeleteFineTuningJob", jobId=made) is True
    assert me.refused(V2, {"taskId": first}, "DescribeFineTuningTask").status == 404


def test_lists_page_by_markers_in_either_spelling(me: Speaker) -> None:
    """Newest first, or oldest first; a page of more than 100 is one of 100; filters by mode and model."""
    mine = [job(me, "PostPreTrain", name=f"page {n}", model="ERNIE-Speed") for n in range(3)]
    wish = {"trainModel": "PostPreTrain", "model": "ERNIE-Speed"}  # a documented spelling of PostPretrain
    page = me.tune("DescribeFineTuningJobs", maxKeys=2, **wish)
    assert [row["jobId"] for row in page["jobList"]] == [mine[2], mine[1]]
    assert {row["trainMode"] for row in page["jobList"]} == {"PostPretrain"}
    assert set(page["jobList"][0]) == {"jobId", "name", "description", "model", "trainMode", "createDate"}
    assert page["pageInfo"] == {"marker": "", "maxKeys": 2, "isTruncated": True, "nextMarker": mine[0]}
    by_name = me.tune("DescribeFineTuningJobs", trainModel="ERNIE-Speed")["jobList"]  # what its name promises
    assert {row["model"] for row in by_name} == {"ERNIE-Speed"}
    assert me.tune("DescribeFineTuningJobs", trainModel="KTO")["jobList"] == []
    rest = me.tune("DescribeFineTuningJobs", maxKeys=500, maker=page["pageInfo"]["nextMarker"], **wish)
    assert [row["jobId"] for row in rest["jobList"]] == [mine[0]]
    assert rest["pageInfo"] == {"marker": mine[0], "maxKeys": 100, "isTruncated": False}
    turned = me.tune("DescribeFineTuningJobs", pageReverse=True, **wish)
    assert [row["jobId"] for row in turned["jobList"]] == mine
    told = me.refused(V2, {"marker": 10**6}, "DescribeFineTuningJobs")  # a number is as good as a job-…
    assert (told.status, told.code) == (404, "NoSuchResource")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"trainMode": "KTO"},
            "'KTO' is not trained here. it must be one of SFT, PostPretrain, DPO; DPO learns",
        ),
        ({"trainMode": "SFT_FIM"}, "'SFT_FIM' is not trained here"),
        ({"hyperParameterConfig": {"epoch": 0}}, "param[hyperParameterConfig.epoch] invalid: it is 0"),
        ({"hyperParameterConfig": {"x": "y" * 70_000}}, "param[hyperParameterConfig] invalid"),
        ({"trainMode": "x" * 200}, "param[trainMode] invalid"),
        ({"model": "ERNIE-99"}, "'ERNIE-99' is unknown here"),
        ({"parameterScale": "Magic"}, "it must be one of FullFineTuning, LoRA, PromptTuning"),
        ({"name": ""}, "param[name]"),
    ],
)
def test_a_job_that_could_never_train_is_refused(me: Speaker, changed: dict[str, Any], says: str) -> None:
    """At the first call, not at the second."""
    body = {"name": "x", "model": "tiny", "trainMode": "SFT", **changed}
    assert says in me.refused(V2, body, "CreateFineTuningJob").text


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"splitRatio": 80}, "splitRatio"),
        ({"versions": [{"versionId": 1, "samplingRate": 11}]}, "samplingRate"),
        ({"sourceType": "Bos", "versions": [{"versionBosUri": "bos:/bucket/d"}]}, "object store"),
    ],
)
def test_datasets_that_cannot_be_used_so_are_refused(
    me: Speaker, data: Data, config: dict[str, Any], says: str
) -> None:
    """The member is named."""
    versions = [
        {**one, "versionId": data.chats[0]} if "versionId" in one else one
        for one in config.get("versions", [])
    ]
    body = task_body(job(me), data.chats)
    sent = {**body["datasetConfig"], **config, **({"versions": versions} if versions else {})}
    assert says in me.refused(V2, {**body, "datasetConfig": sent}, "CreateFineTuningTask").text


def test_what_the_cloud_has_and_we_have_not_is_kept_and_told(me: Speaker, data: Data) -> None:
    """corpusConfig and resourceConfig do nothing here, and a preset of the job holds where its run says nothing."""
    made = job(me, hyperParameterConfig={"epoch": 400, "beta": 1, "batchSize": 3})
    body = task_body(made, data.chats, hyperParameterConfig={"learningRate": 0.01})
    run = me.tune(
        "CreateFineTuningTask",
        **body,
        corpusConfig={"copyData": False, "config": [{"corpusType": 1, "proportion": "5%"}]},
        resourceConfig={"resourceId": "r", "nodeNum": 2},
        modelConfig={"modelId": "am-1"},
    )
    seen = me.tune("DescribeFineTuningTask", taskId=run["taskId"])
    me.tune("StopFineTuningTask", taskId=run["taskId"])
    config = {"epoch": 400, "beta": 1, "batchSize": 3, "learningRate": 0.01}
    assert seen["hyperParameterConfig"] == config
    assert seen["progressDetail"]["hyperParameters"]["batchSize"] == 3
    warned = seen["progressDetail"]["warnings"]
    for words in (
        "no corpus to mix in",
        "resourceConfig has no effect",
        "modelConfig has no effect",
        "beta has no effect in SFT",
    ):
        assert any(words in text for text in warned), warned


def test_a_run_of_another_task_is_not_found_under_this_one(me: Speaker, mixed: dict[str, Any]) -> None:
    """A pair that does not belong together stops nothing; unknown ids are told as unknown."""
    other = me.v1("finetune/createTask", name="other")
    pair = {"taskId": other["id"], "jobId": mixed["run"]["id"]}
    assert me.refused(f"{V1}jobDetail", pair).code == 510301
    assert me.refused(f"{V1}stopJob", pair).code == 510301
    assert me.refused(f"{V1}jobDetail", {"taskId": 1, "jobId": 10**6}).code == 510301
    assert me.refused(V2, {"taskId": "task-nothing"}, "DescribeFineTuningTask").status == 404
    swapped = {"taskId": mixed["run"]["uuid"], "jobId": mixed["run"]["id"]}
    assert me.v1("finetune/jobDetail", **swapped)["id"] == mixed["run"]["id"]  # any pair that names the run


def test_what_the_first_generation_cannot_mean_is_refused_or_told(
    me: Speaker, mixed: dict[str, Any], data: Data
) -> None:
    """A mode that is not trained, a run type that does not exist; a run to go on from that nobody asked to."""
    body = {
        "taskId": mixed["task"]["uuid"],
        "trainType": "tiny",
        "baseTrainType": "Llama-2",
        "trainConfig": {**QUICK, "learning_rate": 1},
        "trainset": [{"type": 1, "id": data.chats[0]}, {"type": 1, "id": data.chats[1]}],
        "trainsetRate": 12.5,
        "increConfig": {"jobId": mixed["run"]["id"]},
    }
    told = me.refused(f"{V1}createJob", {**body, "trainMode": "Role"})
    assert (told.code, "'Role' is not trained here" in told.text) == (510401, True)
    assert "param[jobRunType]" in me.refused(f"{V1}createJob", {**body, "jobRunType": 2}).text
    long = me.refused(f"{V1}createJob", {**body, "trainConfig": {"epoch": "x" * 60_000}}).text
    assert len(long) < 300
    run = me.v1("finetune/createJob", **body)
    me.v1("finetune/stopJob", jobId=run["id"])
    warned = me.v1("finetune/jobDetail", jobId=run["id"])["progressDetail"]["warnings"]
    for words in (
        "learning_rate is no hyper-parameter of this platform: it is kept, and has no effect; did you mean learning",
        "increConfig has no effect: only jobRunType 1",
        "baseTrainType Llama-2 is kept, and has no effect",
        "trainsetRate 12.5 is taken as 12 percent",
        "named twice repeats records",
    ):
        assert any(words in text for text in warned), warned


def stranger_of(me: Speaker) -> Speaker:
    """Somebody with an account of his own on the same platform."""
    keys = me.result("/v2/account", {"name": "stranger"}, "CreateAccount")
    environment = {
        **me.platform.environment,
        "QIANFAN_ACCESS_KEY": keys["accessKey"],
        "QIANFAN_SECRET_KEY": keys["secretKey"],
    }
    return Speaker(cast(Embedded, SimpleNamespace(environment=environment)))


def test_what_belongs_to_another_account_is_as_if_it_were_not_there(
    me: Speaker, mixed: dict[str, Any], data: Data
) -> None:
    """On every route, by either id: the words are those of an id that nobody has, and lists tell nothing of it."""
    stranger = stranger_of(me)
    own = stranger.v1("finetune/createTask", name="mine", trainType="tiny")
    mine = stranger.upload(conversations(4))
    task, run = mixed["task"], mixed["run"]

    def alike(path: str, body: Mapping[str, Any], theirs: Any, nobodys: Any, action: str = "") -> None:
        told, none = (
            stranger.refused(
                path, {name: ident if value == "?" else value for name, value in body.items()}, action
            )
            for ident in (theirs, nobodys)
        )
        assert (told.status, told.code) == (none.status, none.code)
        assert told.text.replace(str(theirs), "?") == none.text.replace(str(nobodys), "?")

    for theirs, nobodys in ((run["id"], 10**6), (run["uuid"], "task-000000000000")):
        for action in ("DescribeFineTuningTask", "StopFineTuningTask", "DeleteFineTuningTask",
                       "DescribeFineTuningTaskLog", "DescribeFineTuningTaskLedger"):  # fmt: skip
            alike(V2, {"taskId": "?"}, theirs, nobodys, action)
        alike(V2, {"taskId": "?", "sample": 1}, theirs, nobodys, "DescribeFineTuningTaskSample")
        for verb in ("jobDetail", "stopJob"):
            alike(f"{V1}{verb}", {"taskId": own["id"], "jobId": "?"}, theirs, nobodys)
        further = task_body(own["id"], mine, incrementTaskId="?")
        alike(V2, further, theirs, nobodys, "CreateFineTuningTask")
    for theirs, nobodys in ((task["id"], 10**6), (task["uuid"], "job-000000000000")):
        for action in ("DescribeFineTuningTasks", "DeleteFineTuningJob"):
            alike(V2, {"jobId": "?"}, theirs, nobodys, action)
        alike(V2, {"marker": "?"}, theirs, nobodys, "DescribeFineTuningJobs")
        alike(V2, {**task_body("?", mine), "jobId": "?"}, theirs, nobodys, "CreateFineTuningTask")
        alike(f"{V1}createJob", {"taskId": "?", "trainset": [{"type": 1, "id": mine[0]}]}, theirs, nobodys)
    for place, nobodys in ((0, 10**6), (1, "ds-0000000000000000")):
        sent = {"taskId": own["id"], "trainset": [{"type": 1, "id": data.chats[place]}]}
        told = stranger.refused(f"{V1}createJob", sent)
        none = stranger.refused(f"{V1}createJob", {**sent, "trainset": [{"type": 1, "id": nobodys}]})
        assert told.text.replace(str(data.chats[place]), "?") == none.text.replace(str(nobodys), "?")
    page = stranger.tune("DescribeFineTuningJobs")
    assert [row["jobId"] for row in page["jobList"]] == [own["uuid"]]
    assert me.tune("DescribeFineTuningTask", taskId=run["uuid"])["runStatus"] == "Done"


def test_the_command_line_tells_of_runs_and_of_what_can_be_trained(
    configured: Embedded, mixed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page of a list; one run; the hyper-parameters of a model; an unknown run ends with 1 and says so."""
    monkeypatch.setattr(commands, "PAGE", 1)  # so that two runs are two pages
    made = FineTune.create_job(
        {"taskId": mixed["task"]["id"], "trainset": [{"type": 1, "id": mixed["detail"]["trainset"][0]["id"]}]}
    )["result"]
    FineTune.V2.stop_task(made["uuid"])

    def said(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["finetune", *arguments], env={"COLUMNS": "400"})
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else str(result.exception)

    listed = json.loads(said("list", "--limit", "100", "--json"))["runs"]
    runs = [row["taskId"] for row in listed if row["jobId"] == mixed["task"]["uuid"]]
    assert runs[0] == made["uuid"]
    assert runs[-1] == mixed["run"]["uuid"]
    shown = said("show", str(mixed["run"]["id"]))
    assert "loraRank 16" in shown
    assert "kept 14, dropped 1" in shown
    assert said("stop", mixed["run"]["uuid"]) == "it has ended already\n"
    assert said("wait", str(mixed["run"]["id"])).endswith("done\n")
    assert "was stopped" in said("wait", made["uuid"], code=1)
    models = said("models", "ERNIE-Speed", "--mode", "SFT")
    (rank,) = [line.split() for line in models.splitlines() if "loraRank" in line]
    assert rank[:4] == ["SFT", "LoRA", "loraRank", "8"]
    assert rank[-3:] == ["2,", "4,", "8"]
    assert {"ERNIE-Speed", "tiny"} <= {row["model"] for row in json.loads(said("models", "--json"))["models"]}
    assert "known are" in said("models", "ERNIE-99", code=1)
    told = said("log", "999999", code=1)
    assert "training run 999999 does not exist" in told
    assert "on the cloud" not in told


def test_members_that_are_not_the_callers_to_set_are_ignored(me: Speaker) -> None:
    """Neither an owner, nor a state, nor an id, nor a file can be given to what is created."""
    theirs = {
        "ownerId": 99,
        "owner_id": 99,
        "status": "Done",
        "resultFile": "x",
        "publicId": "job-mine",
        "price": 0,
    }
    made = me.v1("finetune/createTask", name="plain", id=1, uuid="job-mine", **theirs)
    assert made["id"] > 1
    assert made["uuid"] != "job-mine"
    listed = me.tune("DescribeFineTuningJobs", maxKeys=1)["jobList"][0]
    assert (listed["jobId"], listed["name"]) == (made["uuid"], "plain")


@pytest.mark.anyio
async def test_every_call_of_the_sdk_can_be_awaited(configured: Embedded, data: Data) -> None:
    """`.aio` of V1 and V2 sends what the plain call sends: a life from the container to its deletion."""
    made = (await FineTune.create_task.aio("awaited", "tiny", "tiny"))["result"]
    job = {
        "taskId": made["id"],
        "trainConfig": {"epoch": 400},
        "trainset": [{"type": 1, "id": data.chats[0]}],
    }
    run = (await FineTune.create_job.aio(job))["result"]
    assert (await FineTune.get_job.aio(made["id"], run["id"]))["result"]["trainStatus"] == "RUNNING"
    assert (await FineTune.stop_job.aio(made["uuid"], run["uuid"]))["result"] is True
    v2 = FineTune.V2
    container = (await v2.create_job.aio("awaited", "tiny", "SFT"))["result"]["jobId"]
    versions = [{"versionId": data.chats[1]}]
    config = {"sourceType": "Platform", "versions": versions, "splitRatio": 20}
    task = (await v2.create_task.aio(container, "LoRA", {"epoch": 400}, config))["result"]["taskId"]
    assert (await v2.job_list.aio(max_keys=1))["result"]["jobList"][0]["jobId"] == container
    assert [row["taskId"] for row in (await v2.task_list.aio(container))["result"]["taskList"]] == [task]
    assert (await v2.task_detail.aio(task))["result"]["taskId"] == task
    assert (await v2.task_log.aio(task))["result"]["lines"]
    assert (await v2.stop_task.aio(task))["result"] is True
    assert (await v2.delete_task.aio(task))["result"] is True
    assert (await v2.delete_job.aio(container))["result"] is True
    assert "tiny" in {row["model"] for row in (await v2.supported_models.aio())["result"]}


def test_every_model_that_trains_is_advertised_with_all_that_clients_need(me: Speaker) -> None:
    """Newer clients raise for a missing member; the default must be one of the values it is checked against."""
    rows = {row["model"]: row for row in me.tune("DescribeFineTuningSupportModels")}
    assert {"ERNIE-Speed", "ERNIE-Speed-8K", "Qianfan-Chinese-Llama-2-13B", "tiny"} <= set(rows)
    for row in rows.values():
        assert row["modelType"] == "text2text"
        for mode in row["supportTrainMode"]:
            for scale in mode["supportParameterScale"]:
                for entry in scale["supportHyperParameterConfig"]:
                    assert all(entry[name] for name in ("key", "type", "checkType", "name", "description"))
                    values, default = entry["checkValue"], entry["default"]
                    assert (
                        default in values
                        if entry["checkType"] == "choice"
                        else values[0] <= default <= values[1]
                    )
    speed = {
        mode["trainMode"]: mode["supportParameterScale"] for mode in rows["ERNIE-Speed"]["supportTrainMode"]
    }
    assert set(speed) == {"SFT", "PostPretrain", "DPO"}
    assert [scale["parameterScale"] for scale in speed["SFT"]] == ["FullFineTuning", "LoRA"]
    lora = {entry["key"]: entry for entry in speed["SFT"][1]["supportHyperParameterConfig"]}
    assert lora["loraRank"]["default"] == 8
    assert lora["learningRate"]["cloudValue"] == [3e-5, 0.001]
    assert "virtualTokens" not in lora


def test_what_it_advertises_it_takes(me: Speaker, data: Data) -> None:
    """A run with every advertised default is accepted."""
    rows = {row["model"]: row for row in me.tune("DescribeFineTuningSupportModels")}
    (sft,) = [mode for mode in rows["ERNIE-Speed"]["supportTrainMode"] if mode["trainMode"] == "SFT"]
    made = job(me, model="ERNIE-Speed")
    for scale in sft["supportParameterScale"]:
        config = {entry["key"]: entry["default"] for entry in scale["supportHyperParameterConfig"]}
        body = task_body(
            made, data.chats, parameterScale=scale["parameterScale"], hyperParameterConfig=config
        )
        run = me.tune("CreateFineTuningTask", **body)
        warned = me.tune("DescribeFineTuningTask", taskId=run["taskId"])["progressDetail"]["warnings"]
        me.tune("StopFineTuningTask", taskId=run["taskId"])
        assert not [text for text in warned if "the cloud takes" in text or "no effect" in text]


def test_a_sample_is_shown_as_the_trainer_reads_it(me: Speaker, mixed: dict[str, Any]) -> None:
    """Every token with its text; learned are the answer and its end, as many as the ledger says."""
    (first,) = me.tune("DescribeFineTuningTaskLedger", taskId=mixed["run"]["uuid"], maxKeys=1)["samples"]
    seen = me.tune("DescribeFineTuningTaskSample", taskId=mixed["run"]["uuid"], sample=1)
    assert (seen["datasetId"], seen["line"]) == (first["datasetId"], first["line"])
    assert seen["record"] == conversations(12)[first["line"] - 1]
    (sequence,) = seen["sequences"]
    learned = [token for token in sequence["tokens"] if token["trained"]]
    assert len(learned) == first["trainedTokens"] == seen["trainedTokens"]
    assert "".join(token["text"] for token in learned).startswith(seen["record"][0]["response"][0][0])
    told = me.refused(V2, {"taskId": mixed["run"]["uuid"], "sample": 16}, "DescribeFineTuningTaskSample")
    assert "has no sample 16" in told.text
