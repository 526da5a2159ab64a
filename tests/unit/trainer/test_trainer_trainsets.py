"""What a training reads: ids, BOS paths, several datasets with their rates."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.config import get_config
from qianfan.dataset import BosDataSource, Dataset
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import LLMFinetune, LoadDataSetAction
from qianfan.trainer.configs import DatasetConfig, TrainConfig
from qianfan.trainer.trainsets import as_v1, as_v2, bos_place


def test_several_datasets_have_their_rates(platform: StubPlatform) -> None:
    """In the shape of each interface; the share held out goes before the TrainConfig's."""
    config = DatasetConfig(datasets=[Dataset(id=1), "ds-2"], sampling_rates=[1, 0.5], eval_split_ratio=5)
    LLMFinetune("ERNIE-Bot-turbo-0725", config, TrainConfig(trainset_rate=30)).run()
    (job,) = platform.bodies("finetune/createJob")
    assert job["trainset"] == [
        {"type": 1, "id": 77, "samplingRate": 1.0},
        {"type": 1, "id": 77, "samplingRate": 0.5},
    ]
    assert job["trainsetRate"] == 5
    LLMFinetune("ERNIE-Speed", config).run()
    (task,) = platform.bodies("CreateFineTuningTask")
    version = "ds-0000000000000077"
    assert task["datasetConfig"] == {
        "sourceType": "Platform",
        "versions": [
            {"versionId": version, "samplingRate": 1.0},
            {"versionId": version, "samplingRate": 0.5},
        ],
        "splitRatio": 5,
    }
    assert [body["datasetId"] for body in platform.bodies("dataset/info")][:1] == [1]
    assert "ds-2" in [body["datasetId"] for body in platform.bodies("dataset/info")]


def test_the_clouds_own_texts_are_asked_for(platform: StubPlatform) -> None:
    """corpusConfig, with what is set of it."""
    config = DatasetConfig(datasets=["ds-1"], corpus_type="yiyan", corpus_proportion="5%")
    LLMFinetune("ERNIE-Speed", config).run()
    assert platform.bodies("CreateFineTuningTask")[0]["corpusConfig"] == {
        "copyData": False,
        "config": [{"corpusType": 2, "proportion": "5%"}],
    }


def test_a_place_in_bos_is_told_and_not_asked_about(platform: StubPlatform) -> None:
    """By either interface."""
    LLMFinetune("ERNIE-Speed", dataset_bos_path="bos:/bucket/folder/").run()
    assert platform.routes[0] == "CreateFineTuningJob"
    assert platform.bodies("CreateFineTuningTask")[0]["datasetConfig"] == {
        "sourceType": "Bos",
        "versions": [{"versionBosUri": "bos:/bucket/folder/"}],
        "splitRatio": 20,
    }
    action = LoadDataSetAction("bos:/bucket/folder/rows.jsonl")
    assert action.exec()["datasets"] == [{"type": 2, "bosPath": "bos:/bucket/folder/rows.jsonl"}]


def test_an_object_that_was_read_is_told_as_its_path(
    tmp_path: Path, platform: StubPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has it already, so nothing is uploaded; a saved action knows it again, and no key."""
    monkeypatch.setitem(get_config().__dict__, "CACHE_DIR", str(tmp_path))
    source = BosDataSource("bj", "bucket-1", "folder/rows.jsonl", ak="the-ak", sk="the-sk")
    action = LoadDataSetAction(Dataset(source=source))
    saved = action.dumps()
    assert b"the-" not in saved
    for one in (action, LoadDataSetAction().loads(saved)):
        assert one.exec()["datasets"] == [{"type": 2, "bosPath": "bos:/bucket-1/folder/rows.jsonl"}]
    assert platform.routes == []


def test_a_bos_path_is_a_folder_or_a_file(caplog: pytest.LogCaptureFixture) -> None:
    """Without a / or an extension at its end its folder is meant, which is said."""
    assert bos_place("bos:/b/f/") == "bos:/b/f/"
    assert bos_place("bos:/b/f/x.jsonl") == "bos:/b/f/x.jsonl"
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        assert bos_place("bos:/b/f/x") == "bos:/b/f"
    assert "its folder" in caplog.text
    for wrong in ("bos:/", "bos:b/f", "bos:/b//f", "bos:/b/f?x"):
        with pytest.raises(InvalidArgumentError, match="invalid bos_path"):
            bos_place(wrong)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "empty"),
        ("rows", "neither the id of a dataset nor a BOS path"),
        (["ds-1", "bos:/b/f/"], "not both"),
        ([object()], "invalid dataset"),
    ],
)
def test_what_is_no_dataset_is_refused(given: Any, words: str) -> None:
    """When the action is made."""
    with pytest.raises(InvalidArgumentError, match=words):
        LoadDataSetAction(given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"datasets": []}, "datasets"),
        ({"datasets": ["ds-1"], "sampling_rates": [1, 1]}, "2 sampling_rates for 1 datasets"),
        ({"datasets": ["ds-1"], "sampling_rates": [20]}, "0.01 to 10"),
        ({"datasets": ["ds-1"], "corpus_type": "x"}, "corpus_type is one of"),
    ],
)
def test_a_wrong_configuration_is_refused(fields: dict[str, Any], words: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(InvalidArgumentError, match=words):
        DatasetConfig(**fields)


def test_the_shape_of_either_interface_is_taken_by_the_other() -> None:
    """So that actions of both go together in a pipeline of one's own; what is neither is refused."""
    v1 = [{"id": 7, "type": 1, "name": "n", "samplingRate": 2.0}, {"id": "ds-1"}]
    v2 = {
        "sourceType": "Platform",
        "versions": [{"versionId": 7, "samplingRate": 2.0}, {"versionId": "ds-1"}],
    }
    assert as_v2(v1) == v2
    assert as_v1(v2) == as_v1(v1) == [{"type": 1, "id": 7, "samplingRate": 2.0}, {"type": 1, "id": "ds-1"}]
    bos = [{"type": 2, "bosPath": "bos:/b/f/"}]
    assert as_v1(as_v2(bos)) == bos
    for wrong in ({"a": 1}, ["ds-1"]):
        with pytest.raises(InvalidArgumentError, match="V1 shape"):
            as_v1(wrong)


def test_rows_that_were_brought_are_not_saved_again(platform: StubPlatform) -> None:
    """After the action the state names the dataset on the platform, not the rows."""
    action = LoadDataSetAction([Dataset.create_from_pyobj([[{"prompt": "secret", "response": [["b"]]}]])])
    assert b"secret" in (action.dumps() or b"")
    action.exec()
    state = action.dumps() or b""
    assert b"secret" not in state
    again = action.loads(state)
    assert again.exec()["datasets"] == action.result["datasets"] if action.result else False
    assert len(platform.uploads) == 1
