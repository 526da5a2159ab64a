"""Where a dataset's rows are: a file of this machine, or a dataset on the platform."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Final

from qianfan.config import get_config
from qianfan.contract.enums import (
    DataExportDestinationType,
    DataExportStatus,
    DataImportStatus,
    DataProjectType,
    DataReleaseStatus,
    DataSetType,
    DataSourceType,
    DataStorageType,
    DataTemplateType,
)
from qianfan.dataset import bos
from qianfan.dataset.formats import READERS
from qianfan.dataset.state import saved
from qianfan.dataset.upload import downloaded, transport_options
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import FileSizeOverflow, InvalidArgumentError, QianfanRequestError
from qianfan.resources import Data

PIECE: Final = 1 << 20  # bytes read at once
_PROJECT: Final = {
    DataTemplateType.NonSortedConversation: DataProjectType.Conversation,
    DataTemplateType.SortedConversation: DataProjectType.Conversation,
    DataTemplateType.PromptChosenRejected: DataProjectType.Conversation,
    DataTemplateType.GenericText: DataProjectType.GenericText,
    DataTemplateType.QuerySet: DataProjectType.QuerySet,
    DataTemplateType.Text2Image: DataProjectType.Text2Image,
}


@saved
@dataclass
class QianfanDataSource:
    """A dataset on the platform. What only the platform knows is None until `refresh` asks for it.

    id: int or `ds-…`. old_dataset_id: the int id. storage_*: where its files lie. ak, sk: access keys of
    the console calls, by default the configured ones; they are neither shown nor saved."""

    kind: ClassVar[str] = "qianfan-data-source"

    id: int | str
    group_id: int | str | None = None
    name: str | None = None
    set_type: DataSetType | None = None
    project_type: DataProjectType | None = None
    template_type: DataTemplateType | None = None
    version: int | None = None
    storage_type: DataStorageType | None = None
    storage_id: str | None = None
    storage_path: str | None = None
    storage_name: str | None = None
    storage_raw_path: str | None = None
    storage_region: str | None = None
    download_when_init: bool | None = None
    data_format_type: str | None = None
    old_dataset_id: int | None = None
    ak: str | None = field(default=None, repr=False)
    sk: str | None = field(default=None, repr=False)
    info: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def get_existed_dataset(
        cls, dataset_id: int | str, is_download_to_local: bool = True, **options: Any
    ) -> QianfanDataSource:
        """A dataset that is there; asks the platform for it."""
        source = cls(
            id=dataset_id,
            download_when_init=is_download_to_local,
            ak=options.get("ak"),
            sk=options.get("sk"),
        )
        source.refresh(**options)
        return source

    @classmethod
    def create_bare_dataset(
        cls,
        name: str,
        template_type: DataTemplateType,
        storage_type: DataStorageType = DataStorageType.PublicBos,
        storage_id: str | None = None,
        storage_path: str | None = None,
        **options: Any,
    ) -> QianfanDataSource:
        """Create an empty dataset on the platform."""
        template = DataTemplateType(template_type)
        set_type = DataSetType.MultiModel if template is DataTemplateType.Text2Image else DataSetType.TextOnly
        result = Data.create_bare_dataset(
            name, set_type, _PROJECT[template], template, storage_type, storage_id, storage_path, **options
        )["result"]
        source = cls(
            id=result.get("datasetId", result.get("id")),
            name=name,
            group_id=result.get("groupPK", result.get("groupId")),
            set_type=set_type,
            project_type=_PROJECT[template],
            template_type=template,
            version=result.get("versionId"),
            storage_type=storage_type,
            ak=options.get("ak"),
            sk=options.get("sk"),
        )
        source.old_dataset_id = result["id"] if isinstance(result.get("id"), int) else None
        return source

    @classmethod
    def create_from_bos_file(
        cls,
        name: str,
        template_type: DataTemplateType,
        storage_id: str,
        storage_path: str,
        file_name: str,
        is_data_annotated: bool = True,
        **options: Any,
    ) -> QianfanDataSource:
        """A dataset in private storage, made of a file that lies there: created, imported, waited for.

        storage_id: the bucket. storage_path: a folder in it. file_name: the file in the folder."""
        remote = bos.path_of(storage_id, storage_path, file_name)
        private = DataStorageType.PrivateBos
        source = cls.create_bare_dataset(name, template_type, private, storage_id, storage_path, **options)
        source.start_import(remote, annotated=is_data_annotated, **options)
        source.wait_for_import(**options)
        return source

    def refresh(self, **options: Any) -> dict[str, Any]:
        """Ask for `dataset/info` and keep what it says; returns its result."""
        result: dict[str, Any] = Data.get_dataset_info(self.id, **self._options(options))["result"]
        version = result["versionInfo"]
        storage = version.get("storage") or {}
        self.info = version
        self.name = result.get("name", self.name)
        self.group_id = result.get("groupPK", version.get("groupId", self.group_id))
        self.old_dataset_id = version.get("datasetId", self.old_dataset_id)
        self.version = version.get("versionId")
        self.set_type = _enum(DataSetType, version.get("dataType"))
        self.project_type = _enum(DataProjectType, version.get("projectType"))
        self.template_type = _enum(DataTemplateType, version.get("templateType"))
        self.storage_type = _enum(DataStorageType, version.get("storageType"))
        self.storage_id, self.storage_name = storage.get("storageId"), storage.get("storageName")
        self.storage_path, self.storage_region = storage.get("storagePath"), storage.get("region")
        self.storage_raw_path = storage.get("rawStoragePath")
        return result

    @property
    def is_released(self) -> bool:
        """Whether the last answer of the platform said that it is released, so that it may be trained on."""
        return self.info.get("releaseStatus") == DataReleaseStatus.Finished

    def start_import(self, remote: str, *, annotated: bool, **options: Any) -> None:
        """Start the import of an uploaded file, `bos:/…`."""
        Data.create_data_import_task(
            self.id, annotated, DataSourceType.PrivateBos, remote, **self._options(options)
        )

    def wait_for_import(self, stop: threading.Event | None = None, **options: Any) -> None:
        """Wait until the import has ended. Raises QianfanRequestError when it failed."""
        waiting = (DataImportStatus.NotStarted, DataImportStatus.Initialized, DataImportStatus.Running)
        every = get_config().IMPORT_STATUS_POLLING_INTERVAL
        self._wait(lambda info: info.get("importStatus") not in waiting, every, stop, options)
        if self.info.get("importStatus") != DataImportStatus.Finished:
            raise self._failed("import", self.info.get("importErrorInfo"))

    def release_dataset(self, stop: threading.Event | None = None, **options: Any) -> bool:
        """Release the dataset unless it is, and wait for it. Raises QianfanRequestError when that fails."""
        if not self.info:
            self.refresh(**options)
        if self.is_released:
            return True
        if self.info.get("releaseStatus") != DataReleaseStatus.Running:
            Data.release_dataset(self.id, **self._options(options))
        ended = (DataReleaseStatus.Finished, DataReleaseStatus.Failed)
        every = get_config().RELEASE_STATUS_POLLING_INTERVAL
        self._wait(lambda info: info.get("releaseStatus") in ended, every, stop, options)
        if not self.is_released:
            raise self._failed("release", self.info.get("releaseErrCode"))
        return True

    def save(
        self,
        data: str | None = None,
        is_annotated: bool = False,
        does_release: bool = False,
        sup_storage_id: str | None = None,
        sup_storage_path: str | None = None,
        sup_storage_region: str | None = None,
        zip_file_path: str | Path | None = None,
        **options: Any,
    ) -> bool:
        """Add records to the dataset: `data`, the lines of a file, or a zip as it is; wait, and release if asked.

        A zip holds .jsonl or .txt files; for text to image pictures, each with a JSON of the same stem. sup_storage_*:
        the bucket to go through, where the dataset has none. Raises ValueError, QianfanRequestError. Returns True."""
        from qianfan.dataset.saving import save

        storage = {
            "sup_storage_id": sup_storage_id,
            "sup_storage_path": sup_storage_path,
            "sup_storage_region": sup_storage_region,
        }
        save(self, data, zip_file_path, annotated=is_annotated, storage=storage, **options)
        return self.release_dataset(**transport_options(options)) if does_release else True

    def fetch(self, stop: threading.Event | None = None, **options: Any) -> Iterator[tuple[int, Any]]:
        """Export the dataset, download it, and give its rows as `(line, row)`."""
        with downloaded(self.export(stop, **options)) as packed:
            yield from self._unpacked(packed)

    def export(self, stop: threading.Event | None = None, **options: Any) -> str:
        """Export the dataset, wait for it, and return the link of the zip.

        Raises LookupError for an empty dataset, QianfanRequestError when the export failed."""
        if not self.info:
            self.refresh(**options)
        if not self.info.get("entityCount"):
            raise LookupError(f"dataset {self.id} has no records on the platform")
        Data.create_dataset_export_task(
            self.id, DataExportDestinationType.PlatformBos, **self._options(options)
        )
        ended = (DataExportStatus.Finished, DataExportStatus.Failed)
        every = get_config().EXPORT_STATUS_POLLING_INTERVAL
        self._wait(lambda info: info.get("exportStatus") in ended, every, stop, options)
        if self.info.get("exportStatus") != DataExportStatus.Finished:
            raise self._failed("export", None)
        records = Data.get_dataset_export_records(self.id, **self._options(options))["result"]
        finished = [r for r in records if r.get("downloadUrl") and r.get("finishTime")]
        if not finished:
            raise self._failed("export", "there is no record of it")
        return str(max(finished, key=lambda record: str(record["finishTime"]))["downloadUrl"])

    def _unpacked(self, packed: IO[bytes]) -> Iterator[tuple[int, Any]]:
        texts = self.template_type is DataTemplateType.GenericText
        format = {DataTemplateType.GenericText: "txt", DataTemplateType.Text2Image: "json"}.get(
            self.template_type or DataTemplateType.NonSortedConversation, "jsonl"
        )
        limit, size = get_config().EXPORT_FILE_SIZE_LIMIT, 0
        with zipfile.ZipFile(packed) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(f".{format}")]
            for member in members:
                size += member.file_size
                if size > limit:
                    raise FileSizeOverflow(
                        f"the export unpacks to more than {limit} bytes",
                        advice="raise QIANFAN_EXPORT_FILE_SIZE_LIMIT, or use is_download_to_local=False",
                    )
                with archive.open(member) as file:
                    if texts and len(members) == self.info.get("entityCount"):
                        yield 1, file.read().decode("utf-8-sig").strip()
                    else:
                        yield from READERS[format](_pieces(file), member.filename)

    def _wait(
        self,
        final: Callable[[dict[str, Any]], bool],
        every: float,
        stop: threading.Event | None,
        options: dict[str, Any],
    ) -> None:
        wait_until(
            lambda: self.refresh(**options), lambda result: final(result["versionInfo"]), every, stop=stop
        )

    def _failed(self, what: str, why: Any) -> QianfanRequestError:
        reason = progress_of(self.info).get("reason") or why or "no reason is given"
        return QianfanRequestError(
            f"the {what} of dataset {self.id} failed: {reason}",
            advice="mend the data and save the dataset again",
        )

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        keys = {name: value for name, value in (("ak", self.ak), ("sk", self.sk)) if value}
        return {**keys, **options}

    def to_state(self) -> dict[str, Any]:
        """The ids; the rest is asked for again."""
        return {"id": self.id, "old_dataset_id": self.old_dataset_id, "name": self.name}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QianfanDataSource:
        """A source of saved ids."""
        return cls(**state)


def new_name(stem: str, word: str) -> str:
    """A name for a dataset, made of a file's and a random word; at most 40 characters."""
    return f"{stem[:31] or 'dataset'}_{word}"


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _enum(cls: Any, value: Any) -> Any:
    if value is None:
        return None
    try:
        return cls(value)
    except ValueError:
        raise InvalidArgumentError(
            f"the platform answered {value!r}, which is no {cls.__name__} this release knows",
            advice="update open-qianfan",
        ) from None
