"""Datasets and buckets: private storage, imports from objects, releases and exports that are written there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.enums import DataExportDestinationType, DataStorageType
from qianfan.contract.errors import Fault
from qianfan_platform.files.objects import ObjectMissing, ObjectPath, Objects, parse
from qianfan_platform.platform import Platform

from .tables import Dataset

SYSTEM: Final = "_system_"  # what the platform writes lies there
OURS: Final = f"{SYSTEM}/dataset"  # below the dataset's own folder
RELEASED: Final = "jsonl"  # folder of a released content, below storagePath
MOST_FILES: Final = 100  # of one import, as documented


def is_private(dataset: Dataset) -> bool:
    """True when the dataset belongs into a bucket of its owner."""
    return dataset.storage_type == DataStorageType.PrivateBos.value


def chosen(objects: Objects, owner: int, spec: Mapping[str, Any]) -> tuple[str, str]:
    """(bucket, folder) of the private storage that a new dataset asks for. The folder is "" or ends with `/`."""
    bucket, folder = spec.get("storageId"), spec.get("rawStoragePath")
    if not bucket or not folder:
        absent = "storageId" if not bucket else "rawStoragePath"
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[{absent}] invalid: private storage needs it",
            "send storageId, the bucket, and rawStoragePath, a folder in it, or use sysBos",
        )
    objects.bucket(bucket, owner)
    folder = folder.strip("/")
    path = parse(f"bos:/{bucket}/{folder}")
    if path is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[rawStoragePath] invalid: {folder[:200]!a} is no folder of a bucket",
            "give a path such as /datasets/",
        )
    return bucket, f"{path.key}/" if path.key else ""


def storage(objects: Objects, dataset: Dataset) -> dict[str, Any]:
    """The block `storage` of a dataset. A store that is not connected any more has no region."""
    if not is_private(dataset):
        path = f"/local/{dataset.public_id}"
        names = {"storageId": "local", "storageName": "local", "region": "local"}
        return {**names, "storagePath": path, "rawStoragePath": f"{path}/"}
    try:
        region = objects.bucket(dataset.storage_id, dataset.owner_id).region
    except Fault:
        region = ""
    return {
        "storageId": dataset.storage_id,
        "storageName": dataset.storage_id,
        "storagePath": f"/{_place(dataset).key}/texts",
        "rawStoragePath": f"/{dataset.raw_path}",
        "region": region,
    }


def released_path(dataset: Dataset) -> ObjectPath:
    """The folder that a release of a private dataset is written into: `<storagePath>/jsonl`."""
    place = _place(dataset)
    return ObjectPath(place.bucket, f"{place.key}/texts/{RELEASED}")


def _place(dataset: Dataset) -> ObjectPath:
    return ObjectPath(dataset.storage_id, f"{dataset.raw_path}{OURS}/{dataset.public_id}")


async def fetched(
    objects: Objects, owner: int, text: str, folder: Path, limit: int
) -> list[tuple[str, Path]]:
    """Bring what a path names into `folder`: one object, or all of a folder, by name. limit: bytes of all.

    Returns (name, file). Raises Fault when there is nothing."""
    path = objects.at(text, owner)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_folder:
        try:
            return [(path.name, await _fetched(objects, path, folder / "0", limit))]
        except ObjectMissing as absent:
            found = await objects.list(path)  # a folder may be named without its slash
            if not found:
                raise absent from None
    else:
        found = await objects.list(path)
    found = [one for one in found if one.size and not one.path.is_folder]
    if not found:
        raise ObjectMissing(errors.CONSOLE_PARAMETER, f"there is no object under {path}", "check the path")
    if len(found) > MOST_FILES:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"{path} holds {len(found)} objects, more than {MOST_FILES}",
            "put them together, or import part after part",
        )
    files: list[tuple[str, Path]] = []
    for number, one in enumerate(found):
        limit -= one.size
        if limit < 0:
            raise Fault(
                errors.CONSOLE_PARAMETER, f"the objects under {path} are too large together", "split them"
            )
        files.append(
            (one.path.name, await _fetched(objects, one.path, folder / str(number), one.size + limit))
        )
    return files


async def _fetched(objects: Objects, path: ObjectPath, target: Path, limit: int) -> Path:
    await objects.fetch(path, target, limit)
    return target


async def write_release(platform: Platform, dataset: Dataset) -> None:
    """Write the content of a private dataset into its bucket. Nothing for others."""
    if not is_private(dataset) or dataset.file_id is None:
        return
    content = await platform.files.local(dataset.file_id)
    folder = released_path(dataset)
    platform.objects.bucket(folder.bucket, dataset.owner_id)
    await platform.objects.put(ObjectPath(folder.bucket, f"{folder.key}/data.jsonl"), content)


def export_bucket(
    objects: Objects, owner: int, to: int, bucket: str | None, member: str = "storageId"
) -> str:
    """The bucket that an export goes to, "" for the platform itself. Raises Fault."""
    if to != DataExportDestinationType.PrivateBos.value:
        return ""
    if not bucket:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[{member}] invalid: an export to a bucket needs its name",
            f"send {member}, or export to the platform",
        )
    objects.bucket(bucket, owner)
    return bucket


async def write_export(platform: Platform, dataset: Dataset, where: str, file_id: str) -> dict[str, str]:
    """Write a packed export to `bucket` or `bucket/folder`; returns what its record says of that."""
    bucket, _, folder = where.partition("/")
    platform.objects.bucket(bucket, dataset.owner_id)
    place = (
        _place(dataset) if dataset.storage_id == bucket else ObjectPath(bucket, f"{OURS}/{dataset.public_id}")
    )
    folder = folder.strip("/") or f"{place.key}/export"
    path = ObjectPath(bucket, f"{folder}/{file_id}.zip")
    await platform.objects.put(path, await platform.files.local(file_id))
    return {"bucket": path.bucket, "key": path.key}
