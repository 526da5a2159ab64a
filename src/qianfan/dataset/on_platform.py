"""A dataset and the platform: bringing rows there, asking models, cleaning where the dataset lies."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qianfan.contract.enums import DataTemplateType
from qianfan.contract.ids import random_word
from qianfan.dataset import bos, packing
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.kept_rows import keep
from qianfan.dataset.problems import checked, exhausted
from qianfan.dataset.progress import working
from qianfan.dataset.rowed import Rowed
from qianfan.dataset.sources import QianfanDataSource, new_name
from qianfan.dataset.upload import transport_options, upload
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset.dataset import Dataset

CONVERSATION = DataTemplateType.NonSortedConversation


class OnPlatform(Rowed):
    """What needs a platform."""

    def is_dataset_located_in_qianfan(self) -> bool:
        """True when the dataset is used where it lies on the platform."""
        return self._chain is None

    def is_dataset_generic_text(self) -> bool:
        """True when the dataset's template is GenericText."""
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource):
            if source.template_type is None:
                source.refresh()
            return source.template_type is DataTemplateType.GenericText
        return self._template(None) is DataTemplateType.GenericText

    def check(self, template: DataTemplateType = CONVERSATION, *, only_annotated: bool = False) -> bool:
        """Check every row against a template. Returns whether all are annotated.

        Raises ValidationError (`problems`, `count`) that lists the first 20 problems by line."""
        chain = self._rows()
        chain.settle()
        return exhausted(self._checked(chain.read(), template, only_annotated))

    def _checked(self, rows: Any, template: DataTemplateType, only_annotated: bool = False) -> Any:
        return checked(
            packing.packed_if_grouped(rows),
            template,
            self._place,
            lambda row: self._shaped(row, template),
            only_annotated=only_annotated,
        )

    def to_platform(
        self,
        target: QianfanDataSource | None = None,
        create_args: dict[str, Any] | None = None,
        *,
        only_annotated: bool = False,
        on_import: Callable[[QianfanDataSource], None] | None = None,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> QianfanDataSource:
        """Check the rows, upload them, import them, wait; returns where they are then.

        only_annotated: a row without answers is a problem. on_import: called when the import has started."""
        arguments = dict(create_args or {})
        template = DataTemplateType(arguments.pop("template_type", None) or self._template(target))
        annotated = self.check(template, only_annotated=only_annotated)
        place = bos.place_of(target, arguments)
        arguments = {name: value for name, value in arguments.items() if not name.startswith("sup_storage_")}
        with tempfile.TemporaryDirectory(prefix="qianfan-") as folder:
            path, name = self._as_file(template, Path(folder))
            keys = target._options(options) if target else options
            if place is not None:
                remote = place.bring(path, name, options.get("ak"), options.get("sk"))
            else:
                remote = upload(path, name, once=True, **keys)["path"]
        if target is None:
            wanted = arguments.pop("name", None) or new_name(Path(name).stem, random_word(8))
            target = QianfanDataSource.create_bare_dataset(wanted, template, **arguments, **options)
        target.start_import(remote, annotated=annotated, **options)
        if on_import is not None:
            on_import(target)
        target.wait_for_import(stop, **options)
        return target

    def test_using_llm(
        self,
        model_version_id: int | str | None = None,
        service_model: str | None = None,
        service_endpoint: str | None = None,
        is_chat_service: bool = True,
        does_show_latency: bool = True,
        **kwargs: Any,
    ) -> Dataset:
        """Let a model answer every row; returns the answers as rows with `llm_output` and `expected_output`.

        model_version_id: of a model on the platform, which need not be deployed; the dataset must be on the
        platform as well. service_model, service_endpoint: a service, asked from here, several rows at once; a
        failed question has an empty answer. input_columns, reference_column: which columns are asked and expected,
        `prompt` and `response` where there are such. prompt_template: a text with the columns in braces.
        worker_num: calls in flight, default 8. stream, temperature, …: of the call.
        Raises ValueError when there is nobody to ask or no column to ask."""
        from qianfan.dataset import asking

        if model_version_id is not None:
            return self._answered_by(model_version_id, kwargs)
        who, manner = self._service(
            service_model, service_endpoint, is_chat_service, does_show_latency, kwargs
        )
        return _of_rows(asking.ask_all(list(self), who, manner))

    async def atest_using_llm(
        self,
        model_version_id: int | str | None = None,
        service_model: str | None = None,
        service_endpoint: str | None = None,
        is_chat_service: bool = True,
        does_show_latency: bool = True,
        **kwargs: Any,
    ) -> Dataset:
        """`test_using_llm` for asyncio."""
        import asyncio

        from qianfan.dataset import asking

        if model_version_id is not None:
            return await asyncio.to_thread(self._answered_by, model_version_id, kwargs)
        who, manner = self._service(
            service_model, service_endpoint, is_chat_service, does_show_latency, kwargs
        )
        return _of_rows(await asking.aask_all(list(self), who, manner))

    def _answered_by(self, version: int | str, kwargs: dict[str, Any]) -> Dataset:
        from qianfan.dataset import asking, batch
        from qianfan.resources import Model

        mine = cast("Dataset", self)
        batch.source_of(mine)
        keys = transport_options(kwargs)
        detail = Model.detail(version, **keys)["result"]
        versions = [{"modelId": detail.get("modelIdStr") or detail["modelId"], "modelVersionId": version}]
        shown, stop = kwargs.get("show_progress"), kwargs.get("stop")
        stop = stop if isinstance(stop, threading.Event) else None  # of a service it is a word to stop at
        answers = batch.run_versions(mine, versions, stop=stop, show_progress=shown, **keys)
        return _of_rows(asking.of_platform(answers.to_pylist()))

    def _service(
        self,
        model: str | None,
        endpoint: str | None,
        is_chat: bool,
        latency: bool,
        kwargs: dict[str, Any],
    ) -> Any:
        from qianfan.dataset import asking

        if model is None and endpoint is None:
            raise ValueError("nobody is asked: give model_version_id, service_model or service_endpoint")
        given = dict(kwargs)
        keys = {name: given.pop(name) for name in asking.KEYS if name in given}
        manner = asking.Manner.of(cast("Dataset", self), given, is_chat=is_chat, latency=latency)
        return asking.client(model, endpoint, is_chat=is_chat, **keys), manner

    def _download(self, **options: Any) -> None:
        from qianfan.dataset.chain import Chain
        from qianfan.dataset.formats import FormatError
        from qianfan.dataset.problems import DatasetFormatError

        assert isinstance(self.inner_data_source_cache, QianfanDataSource)
        with working("loading the dataset from the platform", None):
            fetched = (row for _, row in self.inner_data_source_cache.fetch(**options))
            try:
                self._chain = Chain(keep(enumerate(fetched, 1)))
            except FormatError as error:
                raise DatasetFormatError(error.problem) from None

    def _shaped(self, row: Any, template: DataTemplateType) -> Any:
        """A flat row as the platform takes it: one turn in an array; a cell of a table as one answer."""
        if not isinstance(row, dict) or "prompt" not in row or template is DataTemplateType.GenericText:
            return row
        source = self.inner_data_source_cache
        if isinstance(source, FileDataSource) and source.file_format in ("csv", "parquet"):
            row = {name: cell for name, cell in row.items() if cell or name == "prompt"}
            if "response" in row and template is not DataTemplateType.QuerySet:
                row["response"] = [[row["response"]]] if isinstance(row["response"], str) else row["response"]
        return [row]

    def _as_file(self, template: DataTemplateType, folder: Path) -> tuple[Path, str]:
        """A file to upload, and its name: the dataset's own where it is fit to go as it is."""
        source = self.inner_data_source_cache
        text = template is DataTemplateType.GenericText
        suffix = "txt" if text else "jsonl"
        stem = Path(source.path).stem if isinstance(source, FileDataSource) else "dataset"
        if (
            isinstance(source, FileDataSource)
            and not self._changed
            and not source.is_container
            and not source.is_a_text_file_an_entry
            and source.file_format == suffix
        ):
            if not any(isinstance(row, dict) for _, row in source.read()):
                return Path(source.path), f"{stem}.{suffix}"
            logger.info("%s: rows are wrapped in an array for the platform", Path(source.path).name)
        path = folder / f"data.{suffix}"
        rows = packing.packed_if_grouped(self._rows().read())
        FileDataSource(path).write(self._shaped(row, template) for _, row in rows)
        return path, f"{stem}.{suffix}"


def _of_rows(rows: list[Any]) -> Dataset:
    from qianfan.dataset.dataset import Dataset

    return Dataset.create_from_pyobj(rows)
