"""Cleaning tasks on platforms of others: what they answer, and how a task may end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from stub_platform import StubPlatform, pointed_to

from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.dataset import qianfan_data_operators as operators
from qianfan.errors import InternalError

TARGET = "ds-0000000000000077"  # what the stub creates


class CleaningPlatform(StubPlatform):
    """It answers the creation of a task with `true`, as the cloud does, and lists its tasks."""

    statuses: tuple[int, ...] = (1, 5, 2)  # running, paused, finished
    target = TARGET

    def on_etl_create(self, body: dict[str, Any]) -> bool:
        return True

    def on_etl_list(self, body: dict[str, Any]) -> dict[str, Any]:
        other = {"etlStrId": "task-other", "destDatasetStrId": "ds-other"}
        return {"total": 2, "items": [other, {"etlStrId": "task-mine", "destDatasetStrId": self.target}]}

    def on_etl_detail(self, body: dict[str, Any]) -> dict[str, Any]:
        status = self.next("etl", list(self.statuses))
        told = {"failReason": "the operator ran out of memory"} if status == 4 else {}
        hint = {"pollAfter": 0.05, "done": 1, "of": 2}
        return {
            "processStatus": status, "destDatasetStrId": self.target, "result": told, "progressDetail": hint
        }  # fmt: skip


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[CleaningPlatform]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with CleaningPlatform() as running, pointed_to(running.url):
        assert isinstance(running, CleaningPlatform)
        running.template, running.project = 40100, 401
        get_config().ETL_STATUS_POLLING_INTERVAL = 0.05
        yield running


def texts() -> Dataset:
    return Dataset.load(qianfan_dataset_id="ds-1", is_download_to_local=False)


def test_a_task_is_found_by_its_target_and_waited_for(platform: CleaningPlatform) -> None:
    """A paused one goes on; all four stages are sent."""
    result = texts().online_data_process([operators.RemoveEmoji()], show_progress=False)
    assert result == {"is_succeeded": True, "etl_task_id": "task-mine", "new_dataset_id": TARGET}
    (sent,) = platform.bodies("etl/create")
    assert (sent["sourceDatasetId"], sent["destDatasetId"], sent["entityType"]) == ("ds-1", TARGET, 2)
    assert sent["operationsV2"] == {
        "clean": [{"name": "remove_emoji", "args": {}}],
        "filter": [],
        "deduplication": [],
        "desensitization": [],
    }
    assert platform.bodies("dataset/create")[0]["name"].startswith("etl_result_set_")
    assert len(platform.bodies("etl/detail")) == 3


def test_a_task_that_fails_is_told_and_names_no_dataset(
    platform: CleaningPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """`online_data_process` says so, `process` raises."""
    platform.statuses = (4,)
    assert texts().online_data_process([operators.RemoveEmoji()]) == {
        "is_succeeded": False,
        "etl_task_id": "task-mine",
    }
    with pytest.raises(InternalError, match="task-mine failed"):
        texts().process([operators.RemoveEmoji()])


def test_a_task_that_nobody_names_is_an_error(platform: CleaningPlatform) -> None:
    """Rather than a wrong one."""
    platform.target = "ds-9"
    with pytest.raises(InternalError, match="does not name"):
        texts().start_online_data_process_task([operators.RemoveEmoji()])
