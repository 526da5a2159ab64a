"""Batch inference through the SDK against the platform: one result for each line, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.contract import routes
from qianfan.embedded import Embedded
from qianfan.errors import InvalidArgumentError, QianfanError
from qianfan.resources import BatchInference
from qianfan.resources.console.files import Files

from .served import within

LOCAL = "bos:/local/"


def uploaded(lines: list[Any]) -> str:
    """The path of a file of these lines; a text stays as it is."""
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    return str(Files.upload("\n".join(texts).encode(), name="batch.jsonl")["result"]["path"])


def begin(lines: list[Any], **more: Any) -> str:
    who = {} if "model_id" in more else {"endpoint": "good"}
    made = BatchInference.create("batch", {}, uploaded(lines), LOCAL, **{**who, **more})
    return str(made["result"]["taskId"])


def ended(ident: str, seconds: float = 60) -> Any:
    def look() -> Any:
        detail = BatchInference.detail(ident)["result"]
        return detail if detail["runStatus"] not in ("Running", "Stopping") else None

    return within(seconds, look)


def output(detail: Any) -> list[Any]:
    with urllib.request.urlopen(detail["downloadUrl"]) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def said(row: Any) -> str:
    """What was answered to a line of the output."""
    last = row[-1] if isinstance(row, list) else row
    return str(last["model_response"][0]["content"])


def test_every_shape_of_a_line_is_asked_and_stands_in_its_place(judged: Embedded) -> None:
    """Messages, prompt, query, a request of the OpenAI batch, a conversation, a text; and lines that ask nothing."""
    capital = "capital of France?"
    message = {"role": "user", "content": capital}
    lines = [
        {"id": "a", "messages": [message]},
        {"prompt": capital},
        {"query": capital, "temperature": 0.3},
        {"custom_id": "b", "method": "POST", "body": {"model": "any", "messages": [{"role": "system", "content": "s"}, message]}},
        [{"prompt": "one", "response": [["1"]]}, {"prompt": capital}],
        capital,
        {"messages": [{"role": "system", "content": "s"}, message]},
    ]  # fmt: skip
    lines[5] = json.dumps(capital)
    bad = [
        "no json",
        "7",
        {"text": "x"},
        {"messages": []},
        {"prompt": "x", "temperature": 9},
        [{"prompt": 1}],
    ]
    detail = ended(begin([*lines, "", *bad]))
    assert detail["runStatus"] == "Done", detail
    assert (detail["total"], detail["failed"], detail["progress"]) == (13, 6, 100)
    assert "6 of 13 lines have no answer" in detail["reason"]
    rows = output(detail)
    assert [said(row) for row in rows[:7]] == ["Paris"] * 7
    assert rows[0]["id"] == "a"
    assert rows[3]["custom_id"] == "b"
    assert rows[0]["model_response"][0]["usage"]["total_tokens"] > 0
    errors = [(row[-1] if isinstance(row, list) else row)["model_response"][0]["error"] for row in rows[7:]]
    assert all(errors)
    assert "temperature" in errors[4]
    assert detail["outputDir"] == detail["outputFile"] != ""


def test_parameters_and_both_names_of_a_model_count(judged: Embedded) -> None:
    """A preset by its id in the registry, and parameters that hold for every line without its own."""
    from qianfan.resources import Model

    listed = Model.preset_list(name_filter="good")["result"]["items"][0]
    ident = begin([{"prompt": "a b c d e f"}], model_id=listed["versionSummaries"][0]["versionIdStr"])
    assert [said(row) for row in output(ended(ident))] == ["a b c d e f"]
    made = BatchInference.create(
        "short", {"max_output_tokens": 2}, uploaded([{"prompt": "a b c d e f"}]), LOCAL, endpoint="good"
    )["result"]
    assert said(output(ended(made["taskId"]))[0]) != "a b c d e f"


def test_every_method_works_by_asyncio_too_and_create_says_whose_it_is(judged: Embedded) -> None:
    """create, detail, list, stop: `.aio` sends the same; create has the documented header."""

    async def work() -> Any:
        source = uploaded([{"prompt": f"word {n} " * 50} for n in range(40)])
        made = (await BatchInference.create.aio("twin", None, source, LOCAL, endpoint="slow"))["result"]
        assert (await BatchInference.detail.aio(made["taskId"]))["result"]["name"] == "twin"
        listed = (await BatchInference.list.aio(max_keys=1, run_status="Running"))["result"]
        assert [row["taskId"] for row in listed["taskList"]] == [made["taskId"]]
        assert (await BatchInference.stop.aio(made["taskId"]))["result"] is True
        return made["taskId"]

    ident = asyncio.run(work())
    detail = ended(ident, 10)
    assert (detail["runStatus"], detail["downloadUrl"]) == ("Stopped", "")
    assert BatchInference.stop(ident)["result"] is True, "once more is no error"
    call = BatchInference.create.call("n", {}, "a", "b", endpoint="e")
    assert (call.route, call.headers) == (routes.BATCH_CREATE, {"Referer": "infer"})


def test_a_model_that_is_out_of_order_is_given_up(judged: Embedded) -> None:
    """No line has an answer: Failed, and every line of the output says why."""
    detail = ended(begin([{"prompt": f"{n}"} for n in range(30)], endpoint="broken"))
    assert detail["runStatus"] == "Failed"
    assert detail["failed"] == 30
    assert all(row["model_response"][0]["error"] for row in output(detail))


def test_what_cannot_be_done_is_refused_with_the_reason(judged: Embedded) -> None:
    """Missing places, unknown models, stores that are not there, empty inputs."""
    source = uploaded([{"prompt": "x"}])
    for arguments, told in (
        ({"input_bos_uri": source}, "place for its output"),
        ({"input_bos_uri": source, "output_bos_uri": LOCAL}, "model_id or endpoint"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            BatchInference.create("refused", **arguments)  # type: ignore[arg-type]
    for arguments, told in (
        ({"input_bos_uri": source, "endpoint": "nobody"}, "nobody"),
        ({"input_bos_uri": source, "endpoint": "good", "model_id": "amv-x"}, "not both"),
        ({"input_bos_uri": f"{LOCAL}file-nothing", "endpoint": "good"}, "the file does not exist"),
        ({"input_bos_uri": "bos:/bucket/in/", "endpoint": "good"}, "object store"),
        ({"input_bos_uri": source, "output_bos_uri": "bos:/bucket/out/", "endpoint": "good"}, "object store"),
        ({"afs_config": {}, "endpoint": "good"}, "afsConfig"),
        (
            {"input_bos_uri": source, "endpoint": "good", "inference_params": {"temperature": 9}},
            "temperature",
        ),
    ):
        with pytest.raises(QianfanError, match=told):
            BatchInference.create("refused", **{"output_bos_uri": LOCAL, **arguments})  # type: ignore[arg-type]
    with pytest.raises(QianfanError, match="runStatus"):
        BatchInference.list(run_status="Sleeping")
    empty = ended(begin(["", "  "]))
    assert empty["runStatus"] == "Failed"
    assert "0 lines" in empty["reason"]


def test_a_killed_server_answers_every_line_once(tmp_path: Path, echo_catalogue: Path) -> None:
    """kill -9 in the middle of 600 lines: each has exactly one result, in its place, and none is asked anew."""
    data, count = tmp_path / "data", 600
    with embedded.start(data, catalogue=echo_catalogue) as platform:
        ident = begin([{"id": n, "prompt": f"line {n} of many"} for n in range(count)], endpoint="brisk")
        detail = within(60, lambda: (d := BatchInference.detail(ident)["result"])["done"] >= count // 5 and d)
        assert detail["done"] < count
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait()
    with embedded.start(data, catalogue=echo_catalogue):
        detail = ended(ident, 90)
        assert (detail["runStatus"], detail["total"], detail["failed"]) == ("Done", count, 0)
        rows = output(detail)
        assert [row["id"] for row in rows] == list(range(count))
        assert [said(row) for row in rows] == [row["prompt"] for row in rows]
