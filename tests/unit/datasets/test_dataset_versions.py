"""Versions of datasets as V2 sees them, on both databases."""

from __future__ import annotations

import pytest

from qianfan.contract import datasets_v2 as words
from qianfan.contract.enums import DataReleaseStatus
from qianfan.contract.errors import Fault
from qianfan_platform.datasets import versions
from qianfan_platform.datasets.tables import Dataset, DatasetGroup
from qianfan_platform.store import Store, Tx

pytestmark = pytest.mark.anyio
OWNER = 7


async def a_dataset(tx: Tx, name: str) -> Dataset:
    group = await tx.add(DatasetGroup(owner_id=OWNER, name=name))
    return await tx.add(
        Dataset(
            owner_id=OWNER,
            group_id=group.id,
            name=name,
            data_type=4,
            project_type=20,
            template_type=2000,
            storage_type="sysBos",
        )
    )


async def test_versions_stand_in_a_group_and_are_paged(store: Store) -> None:
    """A new one has the next number and the format of those before; a group is found by any of them."""
    async with store.transaction() as tx:
        first = await a_dataset(tx, "growing")
        await a_dataset(tx, "other_100%")
        second = await versions.add_version(tx, OWNER, first.public_id, "next")
        assert (second.version, second.template_type, second.description) == (2, 2000, "next")
        group = await versions.group(tx, OWNER, second.public_id)
        assert await versions.group(tx, OWNER, first.group_id) == group
        assert await versions.newest(tx, group) == (second, 2)
        rows, after = await versions.versions(tx, group, None, 1, False)
        assert (rows, after) == ([second], first.public_id)
        found, _ = await versions.groups(tx, OWNER, None, 10, False, name="100%")
        assert [one.name for one in found] == ["other_100%"]
        assert (await versions.groups(tx, OWNER, None, 10, True, template=2000))[0][0] == group
        assert (await versions.groups(tx, OWNER, None, 10, True, template=40100))[0] == []
        published = await versions.versions(tx, group, None, 9, False, DataReleaseStatus.Finished)
        assert published == ([], None)
        with pytest.raises(Fault, match="does not exist"):
            await versions.group(tx, 8, first.public_id)


def test_every_format_is_kept_or_refused_by_name() -> None:
    """What the cloud documents is known; what it does not is told apart."""
    for word, template in words.FORMATS.items():
        assert versions.template_of(word, words.FORMATS, words.OTHER_FORMATS) is template
        assert words.FORMAT_OF[template.value] == word
    for word, reason in ((words.OTHER_FORMATS[0], "is not kept by this platform"), ("Scroll", "is unknown")):
        with pytest.raises(Fault, match=reason):
            versions.template_of(word, words.FORMATS, words.OTHER_FORMATS)
