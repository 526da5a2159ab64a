"""Rows of augmentation tasks on both databases: lists, counts, provenance, and what is told to the datasets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qianfan.contract.augmentation import DEV_APIS
from qianfan.contract.enums import AugmentationStatus as Status
from qianfan.contract.enums import DataImportStatus
from qianfan.contract.errors import Fault
from qianfan_platform.augmentation import operations
from qianfan_platform.augmentation.tables import AugmentSample, AugmentTask, AugmentTry
from qianfan_platform.datasets.tables import Dataset, DatasetGroup
from qianfan_platform.store import Store, Tx

pytestmark = pytest.mark.anyio
OWNER = 7


async def a_dataset(tx: Tx) -> Dataset:
    group = await tx.add(DatasetGroup(owner_id=OWNER, name="set"))
    return await tx.add(
        Dataset(
            owner_id=OWNER,
            group_id=group.id,
            name="set",
            data_type=4,
            project_type=20,
            template_type=2000,
            storage_type="sysBos",
        )
    )


async def a_task(tx: Tx, name: str, owner: int = OWNER, **more: Any) -> AugmentTask:
    values = {"source_id": 1, "target_id": 2, "service": "x", "few": 3, "wanted": 5, "threshold": 0.7, **more}
    return await tx.add(AugmentTask(owner_id=owner, name=name, **values))


async def test_tasks_are_found_by_a_part_of_the_name_in_either_order(store: Store) -> None:
    """Whatever its case, its percent signs being signs; those of others are not seen."""
    async with store.transaction() as tx:
        for name in ("One of 100%", "two", "ONE more"):
            await a_task(tx, name)
        await a_task(tx, "one of another", owner=8)

    async def names(**more: Any) -> list[str]:
        async with store.reading() as tx:
            rows, total = await operations.page(tx, OWNER, **more)
            assert total >= len(rows)
            return [row.name for row in rows]

    assert await names() == ["One of 100%", "two", "ONE more"]
    assert await names(word="one") == ["One of 100%", "ONE more"]
    assert await names(word="0%", order="desc") == ["One of 100%"]
    assert await names(word="%") == ["One of 100%"]
    assert await names(order="desc", size=1, offset=1) == ["two"]
    async with store.reading() as tx:
        rows, after = await operations.following(tx, OWNER, None, 2, False)
        assert [row.name for row in rows] == ["ONE more", "two"]
        last, none = await operations.following(tx, OWNER, after, 2, False)
        assert ([row.name for row in last], none) == (["One of 100%"], None)


async def test_stopping_gives_the_destination_back_and_deleting_takes_all(store: Store) -> None:
    """A stopped task can not be stopped into another state; a deleted one leaves no rows."""
    async with store.transaction() as tx:
        source, target = await a_dataset(tx), await a_dataset(tx)
        target.import_status = DataImportStatus.Running.value
        task = await a_task(tx, "task", source_id=source.id, target_id=target.id, status=Status.Running.value)
        await tx.add(AugmentTry(task_id=task.id, number=0, said="1. a\n2. b"))
        for place, why in enumerate(("", "duplicate", "duplicate", "cut")):
            await tx.add(AugmentSample(task_id=task.id, number=0, place=place, prompt=f"p{place}", why=why))
    async with store.transaction() as tx:
        await operations.stop(tx, OWNER, task.public_id)
        await operations.stop(tx, OWNER, task.id)
    async with store.reading() as tx:
        row = await operations.get(tx, OWNER, task.id)
        assert row.status == Status.Terminated
        assert await operations.dropped(tx, row) == {"duplicate": 2, "cut": 1}
        told = [one for one in await operations.both(tx, row) if one is not None]
        assert [(one.enhance_status, one.enhanced) for one in told] == [(Status.Terminated, False)] * 2
        assert told[1].import_status == DataImportStatus.Failed
    platform: Any = SimpleNamespace(store=store)
    (line,) = [one async for one in operations.provenance(platform, task.id)]
    assert line["said"] == "1. a\n2. b"
    assert [sample["kept"] for sample in line["samples"]] == [True, False, False, False]
    async with store.transaction() as tx:
        with pytest.raises(Fault, match="does not exist"):
            await operations.delete(tx, 8, [task.id])
        await operations.delete(tx, OWNER, [task.id, task.id])
        assert await tx.count(AugmentSample) == await tx.count(AugmentTry) == await tx.count(AugmentTask) == 0


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("https://h.example/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/eb-instant", "eb-instant"),
        ("/chat/my_own/", "my_own"),
        ("my_own", "my_own"),
        ("ERNIE-Speed-8K?x=1", "ERNIE-Speed-8K"),
        ("", ""),
    ],
)
def test_the_endpoint_is_the_end_of_an_address(address: str, endpoint: str) -> None:
    """Whole addresses, paths and bare names."""
    assert operations.endpoint_of(address) == endpoint
    assert DEV_APIS[1378] == "ERNIE-Speed-8K"
