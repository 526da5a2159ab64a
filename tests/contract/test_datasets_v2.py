"""Datasets in the words of V2: every action through the SDK, over the same rows as V1."""

from __future__ import annotations

import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from qianfan.errors import InvalidArgumentError, RequestError
from qianfan.resources import Data
from qianfan.resources.console.files import Files

from .conftest import conversations
from .served import within

V2 = Data.V2


@pytest.fixture(autouse=True)
def _configured(platform: Embedded) -> Iterator[None]:
    with embedded.configured(platform.environment):
        yield


def imported(version: str, rows: list[Any]) -> Any:
    """Import rows into a version; returns the task when it has ended."""
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path = Files.upload(body, name="rows.jsonl")["result"]["path"]
    task = V2.create_import_task(version, [path])["result"]["taskId"]

    def look() -> Any:
        row = V2.describe_import_task(task)["result"]
        return row if row["status"] != "Importing" else None

    return within(30, look)


def test_a_dataset_grows_version_by_version() -> None:
    """Created with one, which is filled and published; a second begins empty; V1 sees both."""
    made = V2.create_dataset("grows", "PromptResponse", description="the first")["result"]
    first = made["versionId"]
    assert (made["versionNumber"], made["importStatus"], made["description"]) == (
        1,
        "NotImported",
        "the first",
    )
    task = imported(first, conversations(5))
    assert (task["status"], task["versionId"], task["progress"]) == ("ImportFinished", first, 100)
    shown = V2.describe_dataset_version(first)["result"]
    assert (shown["sampleCount"], shown["annotatedSampleCount"]) == (5, 5)
    assert V2.publish_dataset_version(first)["result"]["publishStatus"] in ("Publishing", "Published")
    within(20, lambda: V2.describe_dataset_version(first)["result"]["publishStatus"] == "Published")
    with pytest.raises(RequestError, match="frozen"):
        V2.create_import_task(first, ["bos:/local/file-00000000000000000000"])
    second = V2.create_dataset_version(made["datasetId"], "the second")["result"]
    assert (second["versionNumber"], second["sampleCount"]) == (2, 0)
    info = Data.get_dataset_info(second["versionId"])["result"]
    assert info["groupPK"] == made["datasetId"]
    assert (info["versionInfo"]["templateType"], info["versionInfo"]["remark"]) == (2000, "the second")
    newest = V2.describe_dataset_versions(made["datasetId"])["result"]["versionList"]
    assert [row["versionId"] for row in newest] == [second["versionId"], first]
    published = V2.describe_dataset_versions(made["datasetId"], filter={"publishStatus": "Published"})[
        "result"
    ]
    assert [row["versionId"] for row in published["versionList"]] == [first]
    assert V2.delete_dataset_version(second["versionId"])["result"] == {"versionCount": 1}
    assert V2.delete_dataset(made["datasetId"])["result"] == {"versionCount": 1}
    for call in (V2.describe_dataset_version, V2.delete_dataset_version):
        with pytest.raises(RequestError, match="does not exist"):
            call(first)


def test_an_export_is_told_of_by_its_own_task() -> None:
    """With what it holds and a link; a task of another kind, or of nobody, does not exist."""
    version = V2.create_dataset("exported", "PromptResponse")["result"]["versionId"]
    import_task = imported(version, conversations(3))["taskId"]
    tasks = []
    for _ in range(2):
        tasks.append(V2.create_export_task(version)["result"]["taskId"])
        done = within(20, lambda: _ended(tasks[-1]))
    assert (done["exportStatus"], done["sampleCount"], done["progress"]) == ("ExportFinished", 3, 100)
    assert done["storageType"] == "sysStorage"
    with urllib.request.urlopen(done["downloadUrl"]) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    assert archive.namelist() == ["data.jsonl"]
    assert _ended(tasks[0])["downloadUrl"].split("?")[0] != done["downloadUrl"].split("?")[0]
    for ident in (import_task, "work-none"):
        with pytest.raises(RequestError, match=r"export task .* does not exist"):
            V2.describe_export_task(ident)


def _ended(task: str) -> Any:
    row = V2.describe_export_task(task)["result"]
    return row if row["exportStatus"] != "Exporting" else None


def test_an_import_that_fails_says_why_in_its_task() -> None:
    """And stays failed when a later one succeeds."""
    version = V2.create_dataset("fails first", "PromptResponse")["result"]["versionId"]
    failed = imported(version, [["not a turn"]])
    assert failed["status"] == "ImportFailed"
    assert failed["reason"]
    assert V2.describe_dataset_version(version)["result"]["importErrorInfo"]
    assert imported(version, conversations(2))["sampleCount"] == 2
    assert V2.describe_import_task(failed["taskId"])["result"]["status"] == "ImportFailed"


def test_datasets_are_listed_a_page_at_a_time() -> None:
    """Newest first or oldest first, by a part of the name and by format."""
    made = [
        V2.create_dataset(f"paged {number}", "Text" if number else "Prompt")["result"]["datasetId"]
        for number in range(3)
    ]
    wanted = {"datasetName": "paged"}
    first = V2.describe_datasets(max_keys=2, filter=wanted)["result"]
    assert [row["datasetId"] for row in first["datasetList"]] == [made[2], made[1]]
    assert first["pageInfo"]["isTruncated"] is True
    last = V2.describe_datasets(first["pageInfo"]["nextMarker"], 2, filter=wanted)["result"]
    assert [row["datasetId"] for row in last["datasetList"]] == [made[0]]
    assert last["pageInfo"]["isTruncated"] is False
    oldest = V2.describe_datasets(page_reverse=True, filter=wanted)["result"]["datasetList"]
    assert [row["datasetId"] for row in oldest] == made
    texts = V2.describe_datasets(filter={**wanted, "dataFormat": "Text"})["result"]["datasetList"]
    assert [row["datasetId"] for row in texts] == [made[2], made[1]]
    assert [row["dataFormat"] for row in texts] == ["Text", "Text"]


def test_what_cannot_be_kept_is_refused_with_the_reason() -> None:
    """Formats, places and mixtures that this platform does not take."""
    for word, reason in (
        ("KTO_PromptChosenRejected", "is not kept by this platform"),
        ("Scroll", "is unknown"),
    ):
        with pytest.raises(RequestError, match=reason):
            V2.create_dataset("refused", word)
    with pytest.raises(RequestError, match=r"bucket|object store"):
        V2.create_dataset("refused", "Text", "BOS", "bos:/nobody/here")
    with pytest.raises(InvalidArgumentError, match="storage_path"):
        V2.create_dataset("refused", "Text", "BOS")
    version = V2.create_dataset("mixed", "Text")["result"]["versionId"]
    with pytest.raises(RequestError, match="side by side"):
        V2.create_import_task(version, ["bos:/local/x", "https://example.com/x.zip"])
    with pytest.raises(RequestError, match="publishStatus"):
        V2.describe_dataset_versions(version, filter={"publishStatus": "Sold"})
    assert V2.base_api_route() == "/v2/dataset"
