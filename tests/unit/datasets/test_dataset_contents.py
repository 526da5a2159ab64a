"""Changes of entities baked into a content: once, whole, and the old one freed when nobody reads it; both databases."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qianfan.contract.enums import DataReleaseStatus, DataTemplateType, TrainMode
from qianfan.contract.errors import Fault
from qianfan_platform import jobs
from qianfan_platform.datasets import entities, freeing, listing, operations, trainable
from qianfan_platform.datasets.contents import settled
from qianfan_platform.datasets.index import IN_A_CHILD, build, indexes_of
from qianfan_platform.datasets.listing import Wanted
from qianfan_platform.datasets.tables import Dataset, DatasetGroup, EntityChange
from qianfan_platform.datasets.trainable import Share
from qianfan_platform.files import DirectoryFiles
from qianfan_platform.jobs import Job, JobState, Step, Worker
from qianfan_platform.platform import Settings
from qianfan_platform.store import Store

pytestmark = pytest.mark.anyio

ANN = 1


def spoken(text: str) -> list[dict[str, Any]]:
    return [{"prompt": text, "response": [["yes"]]}]


def asked(text: str) -> list[dict[str, Any]]:
    return [{"prompt": text}]


def place_of(store: Store, folder: Path) -> Any:
    """What of a platform this room needs."""
    return SimpleNamespace(
        store=store, files=DirectoryFiles(folder / "files"), settings=Settings(folder / "data")
    )


@pytest.fixture
def place(store: Store, tmp_path: Path) -> Any:
    return place_of(store, tmp_path)


async def dataset_of(place: Any, rows: list[Any], **values: Any) -> Dataset:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    kept = await place.files.put(lines)
    async with place.store.transaction() as tx:
        group = await tx.add(DatasetGroup(owner_id=ANN, name="g"))
        return await tx.add(
            Dataset(
                **{
                    "owner_id": ANN,
                    "group_id": group.id,
                    "name": "set",
                    "data_type": 4,
                    "project_type": 20,
                    "template_type": DataTemplateType.NonSortedConversation.value,
                    "storage_type": "sysBos",
                    "import_status": 2,
                    "file_id": kept.id,
                    "size_bytes": kept.size,
                    "entity_count": len(rows),
                    **values,
                }
            )
        )


async def rows_in(place: Any, dataset: Dataset) -> list[Any]:
    content = await place.files.local(dataset.file_id)
    return [json.loads(line) for line in content.read_text().splitlines()]


async def test_what_is_baked_is_what_was_listed(place: Any) -> None:
    """Through several rounds of annotations and deletions, and every id holds."""
    dataset = await dataset_of(place, [asked(f"{n}") for n in range(10)])
    ids = [entities.id_of(dataset, n) for n in range(10)]
    expected: dict[int, Any] = {n: asked(f"{n}") for n in range(10)}
    rounds = [([2, 3], [0, 4]), ([5], []), ([2, 9], [3, 8]), ([], [1])]
    for annotated, deleted in rounds:
        for number in annotated:
            expected[number] = spoken(f"{number} again")
            await entities.annotate(place, ANN, dataset.id, ids[number], content=expected[number])
        assert await entities.delete(place, ANN, dataset.id, [ids[n] for n in deleted]) == []
        for number in deleted:
            del expected[number]
        before = await listing.page(place, ANN, dataset.id, Wanted(), 0, 30)
        baked = await settled(place, dataset.id)
        after = await listing.page(place, ANN, dataset.id, Wanted(), 0, 30)
        assert [e.id for e in before.entities] == [e.id for e in after.entities] == [ids[n] for n in expected]
        assert [e.row for e in before.entities] == [e.row for e in after.entities] == list(expected.values())
        assert await rows_in(place, baked) == list(expected.values())
        assert (baked.entity_count, baked.annotated_count) == (
            len(expected),
            sum("response" in row[0] for row in expected.values()),
        )
        assert baked.size_bytes == (await place.files.info(baked.file_id)).size
        content, derived = await place.files.local(baked.file_id), indexes_of(place).place(baked.file_id)
        build(content, anew := content.with_name("anew"))
        assert derived.read_bytes() == anew.read_bytes()
    again = await settled(place, dataset.id)
    assert again.file_id == baked.file_id
    assert again.content_at == baked.content_at


async def test_several_settle_at_once_and_others_go_on_annotating(place: Any) -> None:
    """One new content for each round at most, and nothing is lost."""
    dataset = await dataset_of(place, [asked(f"{n}") for n in range(60)])
    ids = [entities.id_of(dataset, n) for n in range(60)]

    async def annotating(numbers: range) -> None:
        for number in numbers:
            await entities.annotate(place, ANN, dataset.id, ids[number], content=spoken(f"{number}"))

    async def settling() -> None:
        for _ in range(6):
            await settled(place, dataset.id)
            await asyncio.sleep(0.005)

    await asyncio.gather(annotating(range(20)), annotating(range(20, 40)), settling(), settling())
    done = await settled(place, dataset.id)
    assert await rows_in(place, done) == [spoken(f"{n}") if n < 40 else asked(f"{n}") for n in range(60)]
    assert done.annotated_count == 40


async def test_a_replaced_content_goes_when_the_jobs_before_have_ended(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever read the old one can go on reading it; later jobs do not keep it."""
    monkeypatch.setattr(freeing, "LOOK_S", 0.05)
    dataset = await dataset_of(place, [asked("a"), asked("b")])
    old = str(dataset.file_id)
    read, go = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    @jobs.job("test.reads")
    async def reads(step: Step) -> None:
        path = await place.files.local(old)
        read.set()
        await go.wait()
        seen.append(path.read_text())

    worker = Worker(place.store, place, name="w")
    await worker.start()
    try:
        async with place.store.transaction() as tx:
            await jobs.enqueue(tx, "test.reads", owner=ANN, args={})
        await asyncio.wait_for(read.wait(), 10)
        await indexes_of(place).of(old, await place.files.local(old))
        await entities.annotate(place, ANN, dataset.id, entities.id_of(dataset, 0), content=spoken("a"))
        new = await settled(place, dataset.id)
        await asyncio.sleep(0.2)
        assert (await place.files.info(old)).id == old
        go.set()
        await idle(place.store)
    finally:
        await worker.stop()
    assert len(seen[0].splitlines()) == 2
    with pytest.raises(Fault, match="does not exist"):
        await place.files.info(old)
    assert not indexes_of(place).place(old).exists()
    assert await rows_in(place, new) == [spoken("a"), asked("b")]


async def idle(store: Store) -> None:
    """Wait until every job has ended well."""
    until = time.monotonic() + 15
    while True:
        async with store.reading() as tx:
            rows = await tx.find(Job)
        if all(row.state == JobState.Done for row in rows):
            return
        assert time.monotonic() < until, [(row.kind, row.state, row.error) for row in rows]
        await asyncio.sleep(0.02)


async def test_a_content_that_another_dataset_shares_stays(place: Any) -> None:
    """As does one that a room says it keeps."""
    dataset = await dataset_of(place, [asked("a")])
    shared = await dataset_of(place, [], file_id=dataset.file_id)
    kept = await place.files.put(b"an evaluation shows it")

    async def keeps(tx: Any, file_id: str) -> bool:
        return bool(file_id == kept.id)

    freeing.KEEPERS.append(keeps)
    worker = Worker(place.store, place, name="w")
    await worker.start()
    try:
        async with place.store.transaction() as tx:
            await operations.delete(tx, ANN, dataset.id)
            await freeing.free(tx, ANN, kept.id)
        await idle(place.store)
        assert await rows_in(place, shared) == [asked("a")]
        await place.files.info(kept.id)
        async with place.store.transaction() as tx:
            await operations.delete(tx, ANN, shared.id)
        await idle(place.store)
    finally:
        await worker.stop()
        freeing.KEEPERS.remove(keeps)
    with pytest.raises(Fault, match="does not exist"):
        await place.files.info(str(shared.file_id))


async def test_a_deleted_dataset_leaves_no_change_behind(place: Any) -> None:
    """The rows go with it."""
    dataset = await dataset_of(place, [asked("a"), asked("b")])
    await entities.delete(place, ANN, dataset.id, [entities.id_of(dataset, 1)])
    async with place.store.transaction() as tx:
        await operations.delete(tx, ANN, dataset.id)
    async with place.store.reading() as tx:
        assert await tx.count(EntityChange) == 0


async def test_rows_of_a_training_are_those_of_the_release(place: Any, tmp_path: Path) -> None:
    """Annotations before the release are in them; afterwards nothing can change, and a deletion does not reach them."""
    dataset = await dataset_of(place, [spoken("a"), asked("b")], annotated_count=1)
    await entities.annotate(place, ANN, dataset.id, entities.id_of(dataset, 1), content=spoken("b"))
    released = await settled(place, dataset.id)
    async with place.store.transaction() as tx:
        row = await tx.one(Dataset, dataset.id)
        row.release_status = DataReleaseStatus.Finished.value
        assert (await trainable.check(tx, ANN, dataset.id, TrainMode.SFT)).file_id == released.file_id
    rows = tmp_path / "rows.jsonl"
    await trainable.mix(place, [Share(dataset.id)], rows, TrainMode.SFT, 1)
    trained = rows.read_bytes()
    for attempt in (
        entities.annotate(place, ANN, dataset.id, entities.id_of(dataset, 0), content=spoken("c")),
        entities.delete(place, ANN, dataset.id, [entities.id_of(dataset, 0)]),
    ):
        with pytest.raises(Fault, match="frozen"):
            await attempt
    async with place.store.transaction() as tx:
        await operations.delete(tx, ANN, dataset.id)
    assert rows.read_bytes() == trained
    assert [json.loads(line) for line in trained.splitlines()] == [spoken("a"), spoken("b")]


async def test_changes_wait_for_a_running_import(place: Any) -> None:
    """Else the import would put a content in place that lacks them."""
    dataset = await dataset_of(place, [asked("a")], import_status=1)
    with pytest.raises(Fault, match="being imported into"):
        await entities.delete(place, ANN, dataset.id, [entities.id_of(dataset, 0)])


async def test_another_accounts_entities_do_not_exist(place: Any) -> None:
    """Neither to read nor to change."""
    dataset = await dataset_of(place, [asked("a")])
    ident = entities.id_of(dataset, 0)
    for attempt in (
        listing.page(place, 2, dataset.id, Wanted()),
        entities.annotate(place, 2, dataset.public_id, ident, content=spoken("a")),
        entities.delete(place, 2, dataset.id, [ident]),
    ):
        with pytest.raises(Fault, match="does not exist"):
            await attempt


async def test_an_index_is_made_once_and_made_anew_when_it_is_torn(place: Any, tmp_path: Path) -> None:
    """By two that ask together; of a large content in a process of its own."""
    line = json.dumps(spoken("x" * 1000)) + "\n"
    count = IN_A_CHILD // len(line) + 1
    content = tmp_path / "large.jsonl"
    content.write_text(line * count)
    one, other = await asyncio.gather(*(indexes_of(place).of("file-large", content) for _ in range(2)))
    assert one is other
    assert (len(one), one.annotated.all()) == (count, True)
    assert one.lines([count - 1, 0]) == [line.strip().encode()] * 2
    target = indexes_of(place).place("file-large")
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2])
    indexes_of(place)._kept.clear()
    assert len(await indexes_of(place).of("file-large", content)) == count
    assert target.read_bytes() == whole


def test_an_id_belongs_to_one_dataset_and_one_number() -> None:
    """Nothing else is taken for it."""
    dataset, other = Dataset(public_id="ds-a"), Dataset(public_id="ds-b")
    for number in (0, 7, 10**9):
        ident = entities.id_of(dataset, number)
        assert entities.number_of(dataset, ident) == number
        assert entities.number_of(other, ident) is None
        assert entities.number_of(dataset, ident.upper()) is None
    for wrong in ("", "_", "x", f"{'0' * 64}_{'0' * 32}", "é" * 97, f"{'0' * 64}_-1"):
        assert entities.number_of(dataset, wrong) is None


KILLED = """
import asyncio, sys
from pathlib import Path
from qianfan_platform.store import Store
sys.path[:0] = [sys.argv[4], str(Path(sys.argv[4]) / "tests/unit/datasets")]
from test_dataset_contents import churn
asyncio.run(churn(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
"""


async def churn(url: str, folder: Path, ident: int) -> None:
    """Annotate, settle, and say how far it is, until somebody kills this process."""
    store = await Store.open(url)
    place = place_of(store, folder)
    async with store.reading() as tx:
        dataset = await tx.one(Dataset, ident)
    at = 0
    while True:
        number = at % 50
        await entities.annotate(
            place, ANN, ident, entities.id_of(dataset, number), content=spoken(f"{number} of {at}")
        )
        print(at, flush=True)
        await settled(place, ident)
        at += 1


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
@pytest.mark.parametrize(
    "pauses",
    [(0.0, 0.011), pytest.param([n * 0.0017 for n in range(30)], marks=pytest.mark.soak)],
    ids=["twice", "often"],
)
async def test_a_killed_server_leaves_every_answered_annotation_once(
    tmp_path: Path, pauses: Sequence[float]
) -> None:
    """Killed anywhere between the annotation and the new content: the rows are all there, once."""
    url = f"sqlite:///{tmp_path}/k.db"
    store = await Store.open(url)
    place = place_of(store, tmp_path)
    dataset = await dataset_of(place, [asked(f"{n}") for n in range(50)])
    root = Path(__file__).resolve().parents[3]
    for pause_s in pauses:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, url, str(tmp_path), str(dataset.id), str(root)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(5):
            last = int(process.stdout.readline())
        time.sleep(pause_s)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        last = int(rest[-1]) if rest else last
        rows = await rows_in(place, await settled(place, dataset.id))
        assert [row[0]["prompt"].split()[0] for row in rows] == [str(n) for n in range(50)]
        assert all(f"{n} of {n}" == rows[n][0]["prompt"] for n in range(last + 1))
        page = await listing.page(place, ANN, dataset.id, Wanted(), 0, 30)
        assert [entity.row for entity in page.entities] == rows[:30]
    left = list((tmp_path / "files").rglob("file-*.json"))
    async with store.reading() as tx:
        waiting = await tx.count(Job)  # each will free the content that was replaced
    assert len(left) <= waiting + 1, "a killed server left contents that nobody will free"
    await store.close()
