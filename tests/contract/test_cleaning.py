"""Cleaning tasks through the SDK, against a platform: every method, every refusal, a kill in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.dataset import Dataset
from qianfan.dataset import qianfan_data_operators as operators
from qianfan.embedded import Embedded
from qianfan.errors import APIError
from qianfan.resources import Data
from qianfan.resources.console.consts import (
    DataProjectType,
    DataSetType,
    DataTemplateType,
    ETLTaskStatus,
)

TEXTS = [
    "写信到 li.lei@example.com 吧😀，我们明天在公园见面。",
    "写信到 li.lei@example.com 吧，我们明天在公园见面。",
    "!!!! #### $$$$ ----",
    "<p>The quick answer is in the second chapter of the book.</p>",
    "這是繁體中文的一句話，請把它變成簡體。",
]
STAGES = operators.stages_of(
    [
        operators.RemoveEmoji(),
        operators.RemoveWebIdentifiers(),
        operators.ReplaceTraditionalChineseToSimplified(),
        operators.FilterCheckSpecialCharacters(0.5),
        operators.DeduplicationSimhash(4),
        operators.ReplaceEmails(),
    ]
)
CLEANED = [
    "写信到 <EMAIL> 吧，我们明天在公园见面。",
    "The quick answer is in the second chapter of the book.",
    "这是繁体中文的一句话，请把它变成简体。",
]


@pytest.fixture(autouse=True)
def _configured(platform: Embedded) -> Iterator[None]:
    with embedded.configured(platform.environment):
        yield


def bare(name: str, template: DataTemplateType = DataTemplateType.GenericText) -> str:
    project = DataProjectType(template.value // 100)
    made = Data.create_bare_dataset(name, DataSetType.TextOnly, project, template)
    return str(made["result"]["datasetId"])


@pytest.fixture(scope="module")
def texts(platform: Embedded, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a dataset of texts."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    with embedded.configured(platform.environment):
        dataset = Dataset.load(data_file=str(file))
        dataset.save(
            replace_source=True,
            qianfan_dataset_create_args={
                "name": "texts to clean",
                "template_type": DataTemplateType.GenericText,
            },
        )
        return str(dataset.inner_data_source_cache.id)


def ended(task: str) -> Any:
    until = time.monotonic() + 60
    while True:
        row = Data.get_dataset_etl_task_info(task)["result"]
        if row["processStatus"] != ETLTaskStatus.Running:
            return row
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_task_cleans_one_dataset_into_another(texts: str, tmp_path: Path) -> None:
    """What each operator did is told, and the destination holds what is left."""
    target = bare("cleaned")
    task = Data.create_dataset_etl_task(texts, target, dict(STAGES))["result"]
    assert task.startswith("task-")
    row = ended(task)
    assert row["processStatus"] == ETLTaskStatus.Finished
    assert (row["sourceDatasetStrId"], row["destDatasetStrId"]) == (texts, target)
    assert (row["entityCount"], row["remainingEntity"]) == (len(TEXTS), len(CLEANED))
    result = row["result"]
    assert result["pipeline_stage_result"]["filter"]["each_operator_result"] == [
        {
            "name": "filter_check_special_characters",
            "remaining_count": 4,
            "drop_count": 1,
            "change_count": 0,
        }
    ]
    assert result["pipeline_stage_result"]["deduplication"]["each_operator_result"][0]["drop_count"] == 1
    assert result["remove_emoji"] == {"processed_entity": 1}
    assert [item["name"] for item in row["operationsV2"]["clean"]][-1] == "save_pipeline_clean"
    info = Data.get_dataset_info(target)["result"]["versionInfo"]
    assert (info["importStatus"], info["entityCount"]) == (2, len(CLEANED))
    dataset = Dataset.load(qianfan_dataset_id=target, is_download_to_local=True)
    assert dataset.to_pylist() == CLEANED


def test_a_filled_destination_keeps_what_it_had(texts: str) -> None:
    """Cleaning adds to it; a second task adds again."""
    target = bare("filled twice")
    for times in (1, 2):
        ended(Data.create_dataset_etl_task(texts, target, dict(STAGES))["result"])
        info = Data.get_dataset_info(target)["result"]["versionInfo"]
        assert info["entityCount"] == times * len(CLEANED)


def test_tasks_are_listed_newest_first_and_deleted(texts: str) -> None:
    """By string id and by int id; the datasets stay."""
    target = bare("listed")
    first = Data.create_dataset_etl_task(texts, target, dict(STAGES))["result"]
    ended(first)
    second = Data.create_dataset_etl_task(texts, target, dict(STAGES))["result"]
    ended(second)
    listed = Data.get_dataset_etl_task_list(page_size=2)["result"]
    assert [item["etlStrId"] for item in listed["items"]] == [second, first]
    assert "remove_emoji" in listed["items"][0]["operatorNameList"]
    number = listed["items"][1]["etlId"]
    assert Data.get_dataset_etl_task_info(number)["result"]["taskId"] == first
    assert Data.delete_dataset_etl_task([second, number])["result"] is True
    for task in (first, second):
        with pytest.raises(APIError, match="does not exist"):
            Data.get_dataset_etl_task_info(task)
    assert Data.get_dataset_info(target)["result"]["versionInfo"]["entityCount"] > 0


def test_texts_that_are_all_dropped_fail_with_the_reason(texts: str) -> None:
    """An empty destination is not called finished."""
    target = bare("nothing left")
    stages = operators.stages_of([operators.FilterCheckNumberWords(1000, 2000)])
    row = ended(Data.create_dataset_etl_task(texts, target, dict(stages))["result"])
    assert row["processStatus"] == ETLTaskStatus.Failed
    assert "dropped all 5 texts" in row["result"]["failReason"]
    assert Data.get_dataset_info(target)["result"]["versionInfo"]["importStatus"] == 3


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, "names no operator"),
        ({"clean": [{"name": "wash", "args": {}}]}, "no operator 'wash'"),
        ({"polish": [{"name": "remove_emoji", "args": {}}]}, "no stage 'polish'"),
        ({"filter": [{"name": "filter_check_lang_id", "args": {"lang_id_min_cutoff": 7}}]}, "is 7"),
    ],
)
def test_operators_that_cannot_be_used_are_refused_at_the_call(
    texts: str, stages: dict[str, Any], message: str
) -> None:
    """Named, with what would be right."""
    with pytest.raises(APIError, match=message):
        Data.create_dataset_etl_task(texts, bare("refused"), stages)


def test_datasets_that_cannot_be_used_are_refused_at_the_call(texts: str, dataset_id: int) -> None:
    """Conversations, the same twice, an empty source, a released destination."""
    with pytest.raises(APIError, match="cleaning takes generic texts"):
        Data.create_dataset_etl_task(dataset_id, bare("of texts"), dict(STAGES))
    with pytest.raises(APIError, match="the same dataset"):
        Data.create_dataset_etl_task(texts, texts, dict(STAGES))
    with pytest.raises(APIError, match="is empty"):
        Data.create_dataset_etl_task(bare("empty"), bare("target"), dict(STAGES))
    target = bare("released")
    ended(Data.create_dataset_etl_task(texts, target, dict(STAGES))["result"])
    Data.release_dataset(target)
    with pytest.raises(APIError, match="frozen"):
        Data.create_dataset_etl_task(texts, target, dict(STAGES))


OPERATORS = (
    operators.ReplaceEmails(),
    operators.RemoveEmoji(),
    operators.RemoveWebIdentifiers(),
    operators.ReplaceTraditionalChineseToSimplified(),
    operators.FilterCheckSpecialCharacters(0.5),
    operators.DeduplicationSimhash(4),
)


def test_a_dataset_is_cleaned_where_it_lies_as_it_is_here(texts: str) -> None:
    """The result is a new dataset, and the same rows as on this machine; the source stays."""
    there = Dataset.load(qianfan_dataset_id=texts, is_download_to_local=False)
    result = there.online_data_process(OPERATORS)
    assert result["is_succeeded"] is True
    assert result["etl_task_id"].startswith("task-")
    assert Dataset.load(qianfan_dataset_id=result["new_dataset_id"]).to_pylist() == CLEANED
    assert Dataset.create_from_pyobj(TEXTS).process(OPERATORS).to_pylist() == CLEANED
    cleaned = there.process([operators.RemoveEmoji()])
    assert cleaned.is_dataset_located_in_qianfan()
    assert len(cleaned) == len(there) == len(TEXTS)
    task = there.start_online_data_process_task([operators.RemoveEmoji()])
    assert ended(task)["processStatus"] == ETLTaskStatus.Finished


def test_only_texts_on_the_platform_are_cleaned_there(texts: str) -> None:
    """Rows that are here, and conversations, are refused with what to do instead."""
    with pytest.raises(ValueError, match="use process"):
        Dataset.create_from_pyobj(TEXTS).online_data_process([operators.RemoveEmoji()])
    chats = bare("chats to clean", DataTemplateType.NonSortedConversation)
    with pytest.raises(ValueError, match="only a dataset of texts"):
        Dataset.load(qianfan_dataset_id=chats, is_download_to_local=False).start_online_data_process_task([])
