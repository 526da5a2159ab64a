"""`Dataset`: rows of a file, of this program, or of the platform."""

from __future__ import annotations

import itertools
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from qianfan.contract.enums import DataTemplateType
from qianfan.contract.ids import random_word
from qianfan.dataset import state as saved_state
from qianfan.dataset.formats import FormatError, write_jsonl, write_txt
from qianfan.dataset.problems import DatasetFormatError, check_rows
from qianfan.dataset.progress import working
from qianfan.dataset.sources import FileDataSource, QianfanDataSource, new_name
from qianfan.dataset.upload import transport_options, upload
from qianfan.errors import InvalidArgumentError
from qianfan.utils.logging import logger

CONVERSATION: Final = DataTemplateType.NonSortedConversation


@saved_state.saved
class Dataset:
    """A list of records, wherever they are.

    `Dataset(id=1)` is a dataset on the platform by its id. Rows of a JSONL file of arrays stay arrays: one
    conversation is one row. A file is checked when it is loaded and read again when its rows are needed, so
    a large one that is only saved or trained on never fills the memory."""

    kind: ClassVar[str] = "dataset"
    input_columns: Sequence[str] | None = None
    reference_column: str | None = None
    eval_input_column: str | None = None
    eval_llm_output_column: str | None = None

    def __init__(
        self,
        id: int | str | None = None,
        *,
        source: FileDataSource | QianfanDataSource | None = None,
        rows: list[Any] | None = None,
        lines: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if id is not None and source is not None:
            raise InvalidArgumentError("give an id or a source, not both")
        self.inner_data_source_cache: FileDataSource | QianfanDataSource | None = (
            source if id is None else QianfanDataSource(id=id, ak=kwargs.get("ak"), sk=kwargs.get("sk"))
        )
        self._rows = [] if rows is None and self.inner_data_source_cache is None else rows
        self._lines = array("Q", lines if lines is not None else range(1, len(self._rows or ()) + 1))
        self._count: int | None = None  # of a file whose rows are not kept
        self._changed = False  # the rows are no longer those of the source

    @classmethod
    def load(
        cls,
        source: FileDataSource | QianfanDataSource | None = None,
        data_file: str | Path | None = None,
        qianfan_dataset_id: int | str | None = None,
        bos_load_args: dict[str, Any] | None = None,
        huggingface_dataset: Any | None = None,
        bos_source_args: dict[str, Any] | None = None,
        schema: DataTemplateType | None = None,
        organize_data_as_group: bool = False,
        *,
        is_download_to_local: bool = True,
        file_format: str | None = None,
        **kwargs: Any,
    ) -> Dataset:
        """Load rows from a source, a file, or the platform, in this order of precedence.

        data_file: jsonl, json, csv or txt. qianfan_dataset_id: int or `ds-…`; is_download_to_local=False only
        asks what the dataset is, and it is used where it lies. schema: a template that every row must fit.
        Raises ValueError when nothing is given, FileNotFoundError, and ValidationError with line and column
        for a file that cannot be read. ak, sk and retry options are taken for the calls of the console.
        input_columns, reference_column: what `test_using_llm` asks and expects; eval_input_column and
        eval_llm_output_column: what `EvaluationManager.eval_only` reads."""
        given = {"bos_load_args": bos_load_args, "huggingface_dataset": huggingface_dataset}
        given |= {
            "bos_source_args": bos_source_args,
            "organize_data_as_group": organize_data_as_group or None,
        }
        for name, value in given.items():
            if value is not None:
                raise InvalidArgumentError(
                    f"Dataset.load({name}=…) is not part of this release",
                    advice="load a file with data_file=, or rows with Dataset.create_from_pyobj()",
                )
        if source is None and data_file is not None:
            source = FileDataSource(data_file, file_format)
        options = transport_options(kwargs)
        if source is None and qianfan_dataset_id is not None:
            source = QianfanDataSource.get_existed_dataset(
                qianfan_dataset_id, is_download_to_local, **options
            )
        if source is None:
            raise ValueError("nothing to load: give source=, data_file= or qianfan_dataset_id=")
        dataset = cls(source=source)
        dataset._name_columns(kwargs)
        if isinstance(source, FileDataSource):
            dataset._count = sum(1 for _ in dataset._read())
        elif source.download_when_init is not False and is_download_to_local:
            dataset._download(**options)
        if schema is not None:
            dataset.check(DataTemplateType(schema))
        return dataset

    def _name_columns(self, names: dict[str, Any]) -> None:
        self.input_columns = names.get("input_columns")
        self.reference_column = names.get("reference_column")
        self.eval_input_column = names.get("eval_input_column")
        self.eval_llm_output_column = names.get("eval_llm_output_column")

    @classmethod
    def create_from_pyobj(cls, data: list[Any] | dict[str, list[Any]], **kwargs: Any) -> Dataset:
        """A dataset of Python values: a list of rows, or a dict of columns of one length.

        Keywords name columns, as those of `load` do."""
        if isinstance(data, dict):
            lengths = {len(column) for column in data.values()}
            if len(lengths) > 1:
                raise InvalidArgumentError(
                    f"the columns have different lengths: {sorted(lengths)}", advice="make them alike"
                )
            data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
        dataset = cls(rows=list(data))
        dataset._name_columns(kwargs)
        return dataset

    def save(
        self,
        destination: FileDataSource | QianfanDataSource | None = None,
        data_file: str | Path | None = None,
        qianfan_dataset_id: int | str | None = None,
        qianfan_dataset_create_args: dict[str, Any] | None = None,
        bos_source_args: dict[str, Any] | None = None,
        schema: DataTemplateType | None = None,
        replace_source: bool = False,
        *,
        show_progress: bool | None = None,
        **kwargs: Any,
    ) -> bool:
        """Write the rows to a file, or bring them to the platform: upload, create, import, wait.

        qianfan_dataset_id: a dataset to add to. qianfan_dataset_create_args: name, template_type (default
        NonSortedConversation, GenericText for texts), storage_type; `{}` will do. Without any target a file
        is written in place. replace_source: the target becomes this dataset's source.
        Every row is checked before anything is sent; ValidationError lists the first 20 problems.
        Raises StorageNeeded on a cloud that takes no uploads. Returns True."""
        if bos_source_args is not None:
            raise InvalidArgumentError(
                "saving to BOS is not part of this release",
                advice="save to a file with data_file=, and upload it with the tools of BOS",
            )
        target = destination
        if target is None and data_file is not None:
            target = FileDataSource(data_file, kwargs.pop("file_format", None))
        options = transport_options(kwargs)
        if target is None and qianfan_dataset_id is not None:
            target = QianfanDataSource.get_existed_dataset(qianfan_dataset_id, False, **options)
        if target is None and qianfan_dataset_create_args is None:
            target = self.inner_data_source_cache
            if isinstance(target, QianfanDataSource) and not self._changed:
                return True  # it is on the platform already
            if not isinstance(target, FileDataSource):
                raise ValueError("nowhere to save: give data_file= or qianfan_dataset_create_args={}")
        if isinstance(target, FileDataSource):
            if schema is not None:
                self.check(DataTemplateType(schema))
            rows = list(self) if self._rows is None and target == self.inner_data_source_cache else self
            target.write(rows)
        else:
            arguments = dict(qianfan_dataset_create_args or {})
            if schema is not None:
                arguments.setdefault("template_type", schema)
            with working("saving the dataset to the platform", show_progress):
                target = self.to_platform(target, arguments, **options)
        if replace_source:
            self.inner_data_source_cache, self._rows, self._count = target, None, None
            self._changed = False
            if isinstance(target, FileDataSource):
                self._count = sum(1 for _ in self._read())
        return True

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
        with tempfile.TemporaryDirectory(prefix="qianfan-") as folder:
            path, name = self._as_file(template, Path(folder))
            keys = target._options(options) if target else options
            remote = upload(path, name, **keys)["path"]
        if target is None:
            wanted = arguments.pop("name", None) or new_name(Path(name).stem, random_word(8))
            target = QianfanDataSource.create_bare_dataset(wanted, template, **arguments, **options)
        target.start_import(remote, annotated=annotated, **options)
        if on_import is not None:
            on_import(target)
        target.wait_for_import(stop, **options)
        return target

    def check(self, template: DataTemplateType = CONVERSATION, *, only_annotated: bool = False) -> bool:
        """Check every row against a template. Returns whether all are annotated.

        Raises ValidationError (`problems`, `count`) that lists the first 20 problems by line."""
        shaped = ((line, self._shaped(row, template)) for line, row in self._numbered())
        return check_rows(shaped, template, self._source_name(), only_annotated=only_annotated)

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
        return Dataset.create_from_pyobj(asking.ask_all(list(self), who, manner))

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
        return Dataset.create_from_pyobj(await asking.aask_all(list(self), who, manner))

    def _answered_by(self, version: int | str, kwargs: dict[str, Any]) -> Dataset:
        from qianfan.dataset import asking, batch
        from qianfan.resources import Model

        batch.source_of(self)
        keys = transport_options(kwargs)
        detail = Model.detail(version, **keys)["result"]
        versions = [{"modelId": detail.get("modelIdStr") or detail["modelId"], "modelVersionId": version}]
        shown = kwargs.get("show_progress")
        answers = batch.run_versions(self, versions, show_progress=shown, **keys)
        return Dataset.create_from_pyobj(asking.of_platform(answers.to_pylist()))

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
        manner = asking.Manner.of(self, given, is_chat=is_chat, latency=latency)
        return asking.client(model, endpoint, is_chat=is_chat, **keys), manner

    def is_dataset_located_in_qianfan(self) -> bool:
        """True when the dataset is used where it lies on the platform."""
        return isinstance(self.inner_data_source_cache, QianfanDataSource) and self._rows is None

    @property
    def is_changed(self) -> bool:
        """True when rows were added, filtered or mapped since they were loaded."""
        return self._changed

    def is_dataset_generic_text(self) -> bool:
        """True when the dataset's template is GenericText."""
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource):
            if source.template_type is None:
                source.refresh()
            return source.template_type is DataTemplateType.GenericText
        return self._template(None) is DataTemplateType.GenericText

    @property
    def row_number(self) -> int:
        """How many rows there are."""
        return len(self)

    def to_pylist(self) -> list[Any]:
        """The rows as a list; changing it changes nothing here."""
        return list(self._kept())

    def append(self, row: Any) -> Dataset:
        """Add a row, or each of a list of objects. Returns self."""
        rows = self._kept()
        new = row if isinstance(row, list) and row and self._flat() else [row]
        rows.extend(new)
        last = self._lines[-1] if self._lines else 0
        self._lines.extend(range(last + 1, last + 1 + len(new)))
        self._changed = True
        return self

    def filter(self, op: Callable[[Any], bool], **kwargs: Any) -> Dataset:
        """Keep the rows for which `op` returns True; it must return a bool. Returns self."""

        def kept(row: Any) -> bool:
            answer = op(row)
            if not isinstance(answer, bool):
                raise ValueError(f"the filter returned {answer!r} for a row; it must return True or False")
            return answer

        return self._replaced((line, row) for line, row in self._numbered() if kept(row))._touched()

    def map(self, op: Callable[[Any], Any], **kwargs: Any) -> Dataset:
        """Replace each row by what `op` returns for it; a row for which that is empty goes. Returns self."""

        def mapped() -> Iterator[tuple[int, Any]]:
            for line, row in self._numbered():
                new = op(row)
                if not new:
                    continue
                if not isinstance(new, (dict, list, str)):
                    raise ValueError(
                        f"the map returned {type(new).__name__}; a row is a dict, a list or a text"
                    )
                yield line, new

        return self._replaced(mapped())._touched()

    def __len__(self) -> int:
        source = self.inner_data_source_cache
        if self._rows is not None:
            return len(self._rows)
        if isinstance(source, QianfanDataSource):
            if not source.info:
                source.refresh()
            return int(source.info.get("entityCount") or 0)
        if self._count is None:
            self._count = sum(1 for _ in self._read())
        return self._count

    def __bool__(self) -> bool:
        return True  # a dataset is something, also when it is empty; asking must not call the platform

    def __iter__(self) -> Iterator[Any]:
        return (row for _, row in self._numbered())

    def __getitem__(self, key: int | slice) -> Any:
        """A row by index, or rows by a slice. Slices are closed: `ds[1:3]` has three rows."""
        if isinstance(key, bool) or not isinstance(key, (int, slice)):
            raise TypeError(f"a row is picked by an index or a slice, not by {type(key).__name__}")
        if isinstance(key, int):
            return self._kept()[key]
        if key.start is None or key.stop is None or key.step is not None:
            raise ValueError("a slice needs its first and last row and no step: ds[1:3] has rows 1, 2 and 3")
        if key.start < 0 or key.stop < 0:
            raise ValueError("a slice counts rows from the first, 0; negative ends are not taken")
        if self._rows is None and isinstance(self.inner_data_source_cache, FileDataSource):
            return list(itertools.islice(self, key.start, key.stop + 1))
        return self._kept()[key.start : key.stop + 1]

    def __repr__(self) -> str:
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource):
            return f"Dataset(id={source.id!r}, name={source.name!r}, on the platform={self._rows is None})"
        return f"Dataset({len(self)} rows{f' of {source.path}' if source else ''})"

    def dumps(self) -> bytes:
        """The dataset as versioned JSON: an id, the path of an unchanged file, or the rows."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Dataset:
        """A new dataset of what `dumps` wrote; this one stays as it is."""
        return saved_state.unpack(data, Dataset)  # type: ignore[no-any-return]

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource) and not self._changed:
            return {"source": source.to_state()}
        if isinstance(source, FileDataSource) and not self._changed:
            return {"file": str(Path(source.path).resolve()), "file_format": source.file_format}
        return {"rows": self._rows, "lines": list(self._lines)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Dataset:
        """A dataset of a saved state."""
        if "source" in state:
            return cls(source=QianfanDataSource.from_state(state["source"]))
        if "file" in state:
            return cls(source=FileDataSource(state["file"], state["file_format"]))
        return cls(rows=state["rows"], lines=state["lines"])

    def _read(self) -> Iterator[tuple[int, Any]]:
        assert isinstance(self.inner_data_source_cache, FileDataSource)
        try:
            yield from self.inner_data_source_cache.read()
        except FormatError as error:
            raise DatasetFormatError(error.problem) from None

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        if self._rows is not None:
            return zip(self._lines, self._rows, strict=True)
        if isinstance(self.inner_data_source_cache, FileDataSource):
            return self._read()
        raise InvalidArgumentError(
            "the rows of this dataset are on the platform",
            advice="load it with is_download_to_local=True to have them here",
        )

    def _kept(self) -> list[Any]:
        """The rows, in memory from now on."""
        if self._rows is None:
            self._replaced(self._numbered())
        assert self._rows is not None
        return self._rows

    def _touched(self) -> Dataset:
        self._changed = True
        return self

    def _replaced(self, numbered: Iterable[tuple[int, Any]]) -> Dataset:
        rows, lines = [], array("Q")
        for line, row in numbered:
            rows.append(row)
            lines.append(line)
        self._rows, self._lines, self._count = rows, lines, None
        return self

    def _download(self, **options: Any) -> None:
        assert isinstance(self.inner_data_source_cache, QianfanDataSource)
        with working("loading the dataset from the platform", None):
            fetched = (
                (index, row)
                for index, (_, row) in enumerate(self.inner_data_source_cache.fetch(**options), 1)
            )
            try:
                self._replaced(fetched)
            except FormatError as error:
                raise DatasetFormatError(error.problem) from None

    def _first(self) -> Any:
        return next((row for _, row in self._numbered()), None)

    def _flat(self) -> bool:
        return isinstance(self._first(), dict)

    def _source_name(self) -> str:
        source = self.inner_data_source_cache
        return Path(source.path).name if isinstance(source, FileDataSource) else ""

    def _template(self, target: QianfanDataSource | None) -> DataTemplateType:
        if target is not None and target.template_type is not None:
            return target.template_type
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource) and source.template_type is not None:
            return source.template_type
        return DataTemplateType.GenericText if isinstance(self._first(), str) else CONVERSATION

    def _shaped(self, row: Any, template: DataTemplateType) -> Any:
        """A flat row as the platform takes it: one turn in an array; a cell of CSV as one answer."""
        if not isinstance(row, dict) or "prompt" not in row or template is DataTemplateType.GenericText:
            return row
        source = self.inner_data_source_cache
        if isinstance(source, FileDataSource) and source.file_format == "csv":
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
        if isinstance(source, FileDataSource) and not self._changed and source.file_format == suffix:
            if not any(isinstance(row, dict) for row in self):
                return Path(source.path), f"{stem}.{suffix}"
            logger.info("%s: rows are wrapped in an array for the platform", Path(source.path).name)
        path = folder / f"data.{suffix}"
        rows = (self._shaped(row, template) for row in self)
        with path.open("wb") as file:
            file.writelines(write_txt(rows) if text else write_jsonl(rows))
        return path, f"{stem}.{suffix}"
