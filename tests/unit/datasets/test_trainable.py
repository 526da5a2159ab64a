"""What a run trains on: shares of datasets mixed into rows, and the way back from a row to its record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import qianfan_platform.datasets.tables  # noqa: F401  the tables to make
from qianfan.contract.enums import DataReleaseStatus, DataTemplateType, TrainMode
from qianfan.contract.errors import BAD_DATASET, Fault
from qianfan_platform.datasets import trainable
from qianfan_platform.datasets.tables import Dataset, DatasetGroup
from qianfan_platform.datasets.trainable import Share
from qianfan_platform.files import DirectoryFiles
from qianfan_platform.store import Base, Store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Any]:
    """A store and files, which is all of a platform that mixing needs."""
    store = await Store.open(f"sqlite:///{tmp_path}/rows.db")
    async with store._engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield SimpleNamespace(store=store, files=DirectoryFiles(tmp_path / "files"))
    await store.close()


async def dataset(place: Any, rows: list[Any], template: DataTemplateType, **values: Any) -> int:
    kept = await place.files.put("".join(json.dumps(row) + "\n" for row in rows).encode())
    async with place.store.transaction() as tx:
        group = await tx.add(DatasetGroup(owner_id=1, name="g"))
        row = Dataset(
            **{
                "owner_id": 1,
                "group_id": group.id,
                "name": f"set of {len(rows)}",
                "data_type": 4,
                "project_type": 20,
                "template_type": template.value,
                "storage_type": "sysBos",
                "release_status": DataReleaseStatus.Finished.value,
                "file_id": kept.id,
                "entity_count": len(rows),
                "annotated_count": len(rows),
                **values,
            }
        )
        return int((await tx.add(row)).id)


def texts(count: int, name: str = "text") -> list[str]:
    return [f"{name} {number}" for number in range(1, count + 1)]


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.99, 1, 1.5, 2, 2.34, 10])
async def test_every_row_of_a_mix_can_be_traced_to_its_record(
    place: Any, tmp_path: Path, rate: float
) -> None:
    """Two datasets at two rates: as many rows as the rates say, each named by dataset and line, no draw twice."""
    one = await dataset(place, texts(30, "a"), DataTemplateType.GenericText)
    two = await dataset(place, texts(7, "b"), DataTemplateType.GenericText)
    shares = [Share(one, rate), Share(two, 0.5)]
    parts = await trainable.mix(place, shares, tmp_path / "rows.jsonl", TrainMode.PostPretrain, 7)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == trainable.drawn(30, rate) + 4
    for number, row in enumerate(rows, 1):
        found = trainable.origin(parts, number)
        assert found is not None
        part, line = found
        assert row == f"{'a' if part['dataset'] == one else 'b'} {line}"
    assert trainable.origin(parts, len(rows) + 1) is None
    first = rows[: trainable.drawn(30, rate)]
    assert max(first.count(row) for row in first) - min(first.count(row) for row in texts(30, "a")) <= 1


async def test_a_dataset_may_be_deleted_when_its_layout_is_known(place: Any, tmp_path: Path) -> None:
    """What was laid out when the run was made is written as it would have been, though nobody knows the dataset."""
    ident = await dataset(place, texts(9), DataTemplateType.GenericText)
    path = tmp_path / "rows.jsonl"
    before = await trainable.mix(place, [Share(ident, 1.5)], path, TrainMode.PostPretrain, 7)
    wanted = path.read_bytes()
    async with place.store.transaction() as tx:
        laid_out = trainable.layout([await tx.one(Dataset, ident)], [1.5], 7)
        await tx.delete(await tx.one(Dataset, ident))
    with pytest.raises(Fault, match="does not exist"):
        await trainable.mix(place, [Share(ident, 1.5)], path, TrainMode.PostPretrain, 7)
    again = await trainable.mix(
        place, [Share(ident, 1.5)], path, TrainMode.PostPretrain, 7, laid_out=laid_out
    )
    assert path.read_bytes() == wanted
    assert again == before == laid_out


async def test_a_mix_is_the_same_each_time_and_another_with_another_seed(place: Any, tmp_path: Path) -> None:
    """A resumed run reads what the stopped one read."""
    ident = await dataset(place, texts(50), DataTemplateType.GenericText)
    written = []
    for seed in (7, 7, 8):
        path = tmp_path / "rows.jsonl"
        await trainable.mix(place, [Share(ident, 0.5)], path, TrainMode.PostPretrain, seed)
        written.append(path.read_bytes())
    assert written[0] == written[1] != written[2]


async def test_preferences_are_written_in_the_trainers_words(place: Any, tmp_path: Path) -> None:
    """Template 2002 says user and assistant; the trainer reads prompt and response."""
    rows = [
        [
            {"system": "Be brief.", "user": "Hello", "assistant": "Hi."},
            {"user": "A joke?", "chosen": "One …", "rejected": "No."},
        ]
    ]
    ident = await dataset(place, rows, DataTemplateType.PromptChosenRejected)
    await trainable.mix(place, [Share(ident)], tmp_path / "rows.jsonl", TrainMode.DPO, 7)
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == [
        {"system": "Be brief.", "prompt": "Hello", "response": [["Hi."]]},
        {"prompt": "A joke?", "chosen": "One …", "rejected": "No."},
    ]


@pytest.mark.parametrize(
    ("mode", "values", "says"),
    [
        (TrainMode.SFT, {"template_type": 40100}, "template 2000"),
        (TrainMode.DPO, {}, "template 2002"),
        (TrainMode.PostPretrain, {}, "template 40100"),
        (TrainMode.SFT, {"release_status": 0}, "not released"),
        (TrainMode.SFT, {"entity_count": 0}, "no records"),
        (TrainMode.SFT, {"annotated_count": 1}, "1 of 2 records have no response"),
    ],
)
async def test_a_dataset_that_does_not_fit_the_mode_is_refused_in_words(
    place: Any, mode: TrainMode, values: dict[str, Any], says: str
) -> None:
    """The error names the dataset and what the mode needs."""
    ident = await dataset(place, [[], []], DataTemplateType.NonSortedConversation, **values)
    async with place.store.reading() as tx:
        with pytest.raises(Fault) as refused:
            await trainable.check(tx, 1, ident, mode)
    assert refused.value.row is BAD_DATASET
    assert says in refused.value.text
    assert f"dataset {ident}" in refused.value.text


async def test_a_text_set_needs_no_answers(place: Any) -> None:
    """Nothing of generic text is annotated, and nothing has to be."""
    ident = await dataset(place, texts(2), DataTemplateType.GenericText, annotated_count=0)
    async with place.store.reading() as tx:
        assert (await trainable.check(tx, 1, ident, TrainMode.PostPretrain)).id == ident
