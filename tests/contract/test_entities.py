"""Single entities through the SDK: listed under every filter, annotated, deleted, frozen once released."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.dataset import Dataset, entities
from qianfan.dataset.sources import QianfanDataSource
from qianfan.embedded import Embedded
from qianfan.errors import APIError, InvalidArgumentError, RequestError
from qianfan.resources import Data, Model
from qianfan.resources.console.consts import (
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
    EntityListingType,
)
from qianfan.resources.console.files import Files
from tests.contract.evaluating import RULE, evaluate
from tests.contract.speaking import Speaker, until

ID = re.compile(r"[0-9a-f]{64}_[0-9a-f]{32}")
ANSWER = [{"prompt": "question 3", "response": [["a new answer"]]}]


@pytest.fixture(autouse=True)
def _configured(platform: Embedded) -> Iterator[None]:
    with embedded.configured(platform.environment):
        yield


def imported(ident: str, path: Path, *, annotated: bool = True) -> dict[str, Any]:
    """Import one file; the `versionInfo` when it has ended."""
    remote = Files.upload(path, path.name)["result"]["path"]
    Data.create_data_import_task(ident, annotated, DataSourceType.PrivateBos, remote)
    until = time.monotonic() + 60
    while True:
        found = info(ident)
        if found["importStatus"] != 1:
            return found
        assert time.monotonic() < until
        time.sleep(0.05)


def info(ident: str) -> dict[str, Any]:
    return dict(Data.get_dataset_info(ident)["result"]["versionInfo"])


def made(path: Path, rows: list[Any], template: DataTemplateType, name: str = "entities") -> str:
    """A dataset of these rows; its id."""
    project = DataProjectType(template.value // 100)
    ident = str(
        Data.create_bare_dataset(name, DataSetType.TextOnly, project, template)["result"]["datasetId"]
    )
    if template is DataTemplateType.GenericText:
        file = path / "rows.txt"
        file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    else:
        file = path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert imported(ident, file)["importStatus"] == 2
    return ident


def mixed(count: int) -> list[Any]:
    """Conversations, of which every third has no answer."""
    return [
        [
            {"prompt": f"question {n}"}
            if n % 3 == 0
            else {"prompt": f"question {n}", "response": [[f"answer {n}"]]}
        ]
        for n in range(count)
    ]


@pytest.fixture
def conversations(tmp_path: Path) -> str:
    return made(tmp_path, mixed(40), DataTemplateType.NonSortedConversation)


def listed(ident: str, *args: Any, **kwargs: Any) -> Any:
    return Data.list_all_entity_in_dataset(ident, *args, **kwargs)["result"]


def content(item: dict[str, Any]) -> bytes:
    with urllib.request.urlopen(item["url"], timeout=20) as answer:
        return bytes(answer.read())


def test_pages_follow_the_order_of_the_import(conversations: str) -> None:
    """Offset and size are of the page, above 30 counts as 30, and each link gives the record without a signature."""
    page = listed(conversations, 2, 4)
    assert (page["totalAll"], page["total"], len(page["items"])) == (40, 40, 4)
    assert [json.loads(content(item))[0]["prompt"] for item in page["items"]] == [
        f"question {n}" for n in (2, 3, 4, 5)
    ]
    item = page["items"][0]
    assert ID.fullmatch(item["id"])
    assert set(item) == {"id", "name", "labels", "url", "memorySize", "isEncrypted", "textExtra"}
    assert item["memorySize"] * 1e6 == len(content(item))
    assert (item["isEncrypted"], item["labels"]) == (False, [])
    assert len(listed(conversations, 0, 500)["items"]) == 30
    assert len(listed(conversations)["items"]) == 20
    assert listed(conversations, 39)["items"][0]["id"] == listed(conversations, 30, 30)["items"][-1]["id"]
    assert listed(conversations, 40)["items"] == []


def test_a_link_that_was_changed_gives_nothing(conversations: str) -> None:
    """Neither another entity nor another time."""
    one, other = listed(conversations, 0, 2)["items"]
    for url in (
        one["url"].replace(one["id"], other["id"]),
        re.sub(r"until=\d+", "until=99999999999", one["url"]),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            content({"url": url})


def test_an_annotation_takes_the_place_of_the_record(conversations: str) -> None:
    """The id stays, counts and modifyTime follow, and the export holds it."""
    before = info(conversations)
    assert (before["entityCount"], before["annotatedEntityCount"]) == (40, 26)
    item = listed(conversations, 3, 1)["items"][0]
    assert Data.annotate_an_entity(item["id"], conversations, content=ANSWER)["result"] is True
    again = listed(conversations, 3, 1)["items"][0]
    assert again["id"] == item["id"]
    assert json.loads(content(item)) == json.loads(content(again)) == ANSWER
    after = info(conversations)
    assert (after["entityCount"], after["annotatedEntityCount"]) == (40, 27)
    grown = len(content(again)) - len(json.dumps(mixed(4)[3], separators=(",", ":")))
    assert after["characterCount"] - before["characterCount"] == grown
    assert after["modifyTime"] >= before["modifyTime"]
    rows = Dataset.load(qianfan_dataset_id=conversations).to_pylist()
    assert len(rows) == 40
    assert "a new answer" in json.dumps(rows[3])
    # The export has baked it into a new content.
    assert listed(conversations, 3, 1)["items"][0]["id"] == item["id"]
    assert json.loads(content(item)) == ANSWER
    assert info(conversations)["modifyTime"] == after["modifyTime"]
    assert info(conversations)["annotatedEntityCount"] == 27


def test_a_change_is_later_than_the_export_before_it(conversations: str) -> None:
    """Clients compare whole seconds: after an annotation modifyTime is later than the newest finishTime."""
    Dataset.load(qianfan_dataset_id=conversations)
    item = listed(conversations, 3, 1)["items"][0]
    Data.annotate_an_entity(item["id"], conversations, content=ANSWER)
    newest = max(r["finishTime"] for r in Data.get_dataset_export_records(conversations)["result"])
    assert info(conversations)["modifyTime"] > newest


def test_filters_choose_by_annotation_and_by_time(conversations: str, tmp_path: Path) -> None:
    """Tabs, the time of the import, the time of the annotation; all of them together."""
    assert listed(conversations, listing_type=EntityListingType.AnnotatedOnly)["total"] == 26
    bare = listed(conversations, listing_type=EntityListingType.NotAnnotatedOnly)
    assert (bare["totalAll"], bare["total"]) == (40, 14)
    first = int(time.time() * 1000)
    time.sleep(0.01)
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps(ANSWER) + "\n" + json.dumps([{"prompt": "bare"}]) + "\n", encoding="utf-8")
    assert imported(conversations, file)["entityCount"] == 42
    later = first + 10**8
    assert listed(conversations, import_time_closure=[0, first])["total"] == 40
    assert listed(conversations, import_time_closure=[first, later])["total"] == 2
    assert listed(conversations, import_time_closure=[])["total"] == 42
    assert listed(conversations, annotating_time_closure=[first, later])["total"] == 1
    Data.annotate_an_entity(bare["items"][0]["id"], conversations, content=ANSWER)
    assert listed(conversations, annotating_time_closure=[first, later])["total"] == 2
    both = listed(
        conversations,
        import_time_closure=[0, first],
        annotating_time_closure=[first, later],
        listing_type=EntityListingType.AnnotatedOnly,
    )
    assert [item["id"] for item in both["items"]] == [bare["items"][0]["id"]]


def test_deleted_entities_are_gone_and_the_others_keep_their_ids(conversations: str, tmp_path: Path) -> None:
    """Unknown ones are told; an export, and an import after it, change no id."""
    items = listed(conversations, 0, 10)["items"]
    unknown = f"{'0' * 64}_{'0' * 32}"
    gone = [items[1]["id"], items[3]["id"]]
    answer = Data.delete_an_entity([*gone, unknown, "nonsense"], conversations)["result"]
    assert answer == {"failedOnes": [unknown, "nonsense"]}
    assert Data.delete_an_entity([items[0]["id"]], conversations)["result"] == {"failedOnes": None}
    assert Data.delete_an_entity(gone, conversations)["result"] == {"failedOnes": gone}
    left = [item["id"] for item in items if item["id"] not in (*gone, items[0]["id"])]
    page = listed(conversations, 0, 7)
    assert (page["totalAll"], page["total"]) == (37, 37)
    assert [item["id"] for item in page["items"]] == left
    found = info(conversations)
    assert (found["entityCount"], found["annotatedEntityCount"]) == (37, 25)
    with pytest.raises(APIError, match="does not exist"):
        Data.annotate_an_entity(gone[0], conversations, content=ANSWER)
    assert len(Dataset.load(qianfan_dataset_id=conversations).to_pylist()) == 37
    assert [item["id"] for item in listed(conversations, 0, 7)["items"]] == left
    file = tmp_path / "more.jsonl"
    file.write_text(json.dumps(ANSWER) + "\n", encoding="utf-8")
    assert imported(conversations, file)["entityCount"] == 38
    assert [item["id"] for item in listed(conversations, 0, 7)["items"]] == left
    assert json.loads(content(listed(conversations, 37)["items"][0])) == ANSWER
    assert json.loads(content({"url": items[2]["url"]}))[0]["prompt"] == "question 2"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"content": [{"prompt": "x", "response": "y"}]}, "plain text"),
        ({"content": [{"prompt": f"{n}", "response": [["y"]]} for n in range(11)]}, "11 turns"),
        ({"labels": [{"name": "a cat"}]}, "takes no labels"),
        ({}, "annotation is empty"),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused(
    conversations: str, given: dict[str, Any], message: str
) -> None:
    """With what is wrong, and nothing is changed."""
    item = listed(conversations, 3, 1)["items"][0]
    with pytest.raises(APIError, match=message):
        Data.annotate_an_entity(item["id"], conversations, **given)
    assert listed(conversations, 3, 1)["items"][0]["memorySize"] == item["memorySize"]


def test_a_released_version_never_changes(conversations: str, tmp_path: Path) -> None:
    """Neither by annotation nor by deletion nor by import; what was annotated before is in it."""
    item = listed(conversations, 3, 1)["items"][0]
    Data.annotate_an_entity(item["id"], conversations, content=ANSWER)
    Data.release_dataset(conversations)
    with pytest.raises(APIError, match="frozen"):
        Data.annotate_an_entity(item["id"], conversations, content=ANSWER)
    with pytest.raises(APIError, match="frozen"):
        Data.delete_an_entity([item["id"]], conversations)
    with pytest.raises(APIError, match="frozen"):
        Data.create_data_import_task(conversations, True, DataSourceType.PrivateBos, "bos:/local/file-x")
    QianfanDataSource.get_existed_dataset(conversations).release_dataset()
    with pytest.raises(APIError, match="frozen"):
        Data.delete_an_entity([item["id"]], conversations)
    assert json.loads(content(item)) == ANSWER
    assert listed(conversations)["total"] == 40


def test_texts_have_their_figures(tmp_path: Path) -> None:
    """As cleaning computes them; the body of the link is the text alone."""
    texts = ["The quick answer is in the second chapter of the book.", "!!!! #### $$$$ ----"]
    ident = made(tmp_path, texts, DataTemplateType.GenericText)
    items = listed(ident)["items"]
    assert [content(item).decode() for item in items] == texts
    assert items[0]["textExtra"]["wordNum"] == 11
    assert items[0]["textExtra"]["langProb"] > 0.5 > items[1]["textExtra"]["langProb"]
    assert items[1]["textExtra"]["specialCharRatio"] > 0.8
    with pytest.raises(APIError, match="takes no content"):
        Data.annotate_an_entity(items[0]["id"], ident, content=ANSWER)


def test_a_foreign_dataset_and_an_empty_one(tmp_path: Path) -> None:
    """A missing dataset is said to be missing; an empty one has no entities."""
    with pytest.raises(APIError, match="does not exist"):
        listed("ds-nothere")
    ident = Data.create_bare_dataset(
        "empty", DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation
    )["result"]["id"]
    assert listed(ident) == {"totalAll": 0, "total": 0, "items": []}
    with pytest.raises(APIError, match="does not exist"):
        Data.annotate_an_entity("x", ident, content=ANSWER)
    with pytest.raises(InvalidArgumentError, match="milliseconds"):
        listed(ident, import_time_closure=[1])


def test_the_dataset_object_fetches_single_entities(conversations: str) -> None:
    """By number and by closed slice, also beyond one page."""
    source = QianfanDataSource.get_existed_dataset(conversations, False)
    (one,) = entities.fetch(source, 5)
    assert json.loads(one["entity_content"])[0]["prompt"] == "question 5"
    several = entities.fetch(source, slice(2, 36))
    assert [json.loads(row["entity_content"])[0]["prompt"] for row in several] == [
        f"question {n}" for n in range(2, 37)
    ]
    assert (
        entities.fetch(source, slice(38, 90))[-1]["entity_id"] == listed(conversations, 39)["items"][0]["id"]
    )
    dataset = Dataset.load(qianfan_dataset_id=conversations, is_download_to_local=False)
    assert dataset[5] == dataset.list(5) == [one]
    assert dataset[2:5] == several[:4]
    for key in (-1, slice(3, None), slice(4, 2), "prompt", True):
        with pytest.raises(ValueError, match=r"cloud dataset|ends before"):
            entities.fetch(source, key)  # type: ignore[arg-type]


def test_a_content_that_cannot_be_fetched_is_tried_again(
    conversations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as the setting says, then the error is raised."""
    source = QianfanDataSource.get_existed_dataset(conversations, False)
    tries = []

    def failing(url: str) -> bytes:
        tries.append(url)
        raise RequestError("HTTP 502", status_code=502)

    monkeypatch.setattr(entities, "download", failing)
    with pytest.raises(RequestError):
        entities.fetch(source, 0)
    assert len(tries) == 3


def test_many_annotate_at_once(conversations: str) -> None:
    """No annotation is lost, and the counts are right."""
    items = listed(conversations, 0, 30, listing_type=EntityListingType.NotAnnotatedOnly)["items"]

    async def together() -> None:
        await asyncio.gather(
            *(Data.annotate_an_entity.aio(item["id"], conversations, content=ANSWER) for item in items)
        )

    asyncio.run(together())
    assert info(conversations)["annotatedEntityCount"] == 40
    assert listed(conversations, listing_type=EntityListingType.NotAnnotatedOnly)["total"] == 0


def test_a_running_training_never_sees_a_change(platform: Embedded, tmp_path: Path) -> None:
    """While it runs its dataset refuses every change; even when it is deleted the run ends as if nothing was."""
    me = Speaker(platform)
    rows = [[{"prompt": f"question {n}", "response": [[f"answer {n}"]]}] for n in range(12)]
    number, ident = me.upload(rows)
    item = listed(ident)["items"][0]
    task = me.v1("finetune/createTask", name="unmoved", trainType="tiny")
    settings = {"epoch": 2, "batchSize": 8, "learningRate": 0.01, "maxSeqLen": 64}
    body = {"taskId": task["id"], "trainMode": "SFT", "pefttype": "LoRA", "baseTraintype": "tiny"}
    run = me.v1(
        "finetune/createJob",
        **body,
        trainConfig=settings,
        trainset=[{"type": 1, "id": number}],
        trainsetRate=0,
    )
    detail = until(
        lambda: me.v1("finetune/jobDetail", jobId=run["uuid"]),
        lambda seen: seen["trainStatus"] != "RUNNING" or seen["progress"] > 0,
        "the first step",
    )
    for change in (
        lambda: Data.annotate_an_entity(item["id"], ident, content=ANSWER),
        lambda: Data.delete_an_entity([item["id"]], ident),
        lambda: Data.create_data_import_task(ident, True, DataSourceType.PrivateBos, "bos:/local/file-x"),
    ):
        with pytest.raises(APIError, match="frozen"):
            change()
    Data.delete_dataset(ident)
    detail = until(
        lambda: me.v1("finetune/jobDetail", jobId=run["uuid"]),
        lambda seen: seen["trainStatus"] != "RUNNING",
        "the end of the run",
    )
    assert detail["trainStatus"] == "FINISH", detail["progressDetail"]


def test_cleaning_reads_what_is_left(tmp_path: Path) -> None:
    """A deleted text is not cleaned, and a deletion in the destination holds when more is added to it."""
    source = made(
        tmp_path, ["one text 😀", "two texts 😀", "three texts 😀"], DataTemplateType.GenericText, "source"
    )
    target = made(tmp_path, ["old text", "older text"], DataTemplateType.GenericText, "target")
    Data.delete_an_entity([listed(source)["items"][1]["id"]], source)
    kept = listed(target)["items"][1]
    Data.delete_an_entity([listed(target)["items"][0]["id"]], target)
    stages = {"clean": [{"name": "remove_emoji", "args": {}}]}
    task = Data.create_dataset_etl_task(source, target, stages)["result"]
    ended = until(
        lambda: Data.get_dataset_etl_task_info(task)["result"],
        lambda found: found["processStatus"] != 1,
        "the cleaning",
    )
    assert (ended["processStatus"], ended["entityCount"], ended["remainingEntity"]) == (2, 2, 2)
    items = listed(target)["items"]
    assert [content(item).decode().strip() for item in items] == ["older text", "one text", "three texts"]
    assert items[0]["id"] == kept["id"]
    assert info(target)["entityCount"] == 3


def test_an_evaluation_asks_what_was_annotated(judged: Embedded, tmp_path: Path) -> None:
    """And keeps its questions though the content is replaced later, and the dataset deleted."""
    ident = made(tmp_path, mixed(3), DataTemplateType.NonSortedConversation)
    first = listed(ident)["items"][0]
    Data.annotate_an_entity(
        first["id"], ident, content=[{"prompt": "capital of Spain?", "response": [["Madrid"]]}]
    )
    Data.delete_an_entity([listed(ident)["items"][1]["id"]], ident)
    detail = evaluate(ident, "good", conf=RULE)
    assert detail["state"] == "Done", detail
    page = Model.get_evaluation_result_list(detail["evaluationIdStr"])["result"]
    assert [item["prompt"] for item in page["items"]] == ["capital of Spain?", "question 2"]
    Data.annotate_an_entity(first["id"], ident, content=ANSWER)
    assert len(Dataset.load(qianfan_dataset_id=ident).to_pylist()) == 2
    Data.delete_dataset(ident)
    assert Model.get_evaluation_result_list(detail["evaluationIdStr"])["result"]["items"] == page["items"]
