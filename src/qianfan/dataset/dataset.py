"""`Dataset`: rows of a file, of this program, or of the platform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import bos, packing
from qianfan.dataset import state as saved_state
from qianfan.dataset.chain import Chain
from qianfan.dataset.columns import By, Columns
from qianfan.dataset.editing import Editing
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.kept_rows import keep
from qianfan.dataset.on_platform import OnPlatform
from qianfan.dataset.processing import Processing
from qianfan.dataset.progress import reading, working
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.upload import tell_unused, transport_options
from qianfan.errors import InvalidArgumentError

if TYPE_CHECKING:
    from qianfan.dataset.statistics import Statistics

Source = FileDataSource | QianfanDataSource
Many = list[Any]  # inside the class, `list` is a method
COLUMN_NAMES = ("input_columns", "reference_column", "eval_input_column", "eval_llm_output_column")
REGROUPED = ("jsonl", "json", "txt")  # formats in which a group is one record


@saved_state.saved
class Dataset(Editing, Columns, Processing, OnPlatform):
    """A list of records, wherever they are.

    `Dataset(id=1)` is a dataset on the platform by its id. Rows of a JSONL file of arrays stay arrays: one
    conversation is one row. Rows of more than the setting DATASET_MEMORY (8 MiB as JSON) are never in memory
    together: a file is read again for each pass, what is to be done to its rows is done while they are saved, and
    what needs them twice keeps them in a temporary file."""

    kind: ClassVar[str] = "dataset"
    input_columns: Sequence[str] | None = None
    reference_column: str | None = None
    eval_input_column: str | None = None
    eval_llm_output_column: str | None = None
    _grouped = False  # the turns of its conversations were made rows when it was loaded

    @classmethod
    def load(
        cls,
        source: Source | None = None,
        data_file: str | Path | None = None,
        qianfan_dataset_id: int | str | None = None,
        bos_load_args: dict[str, Any] | None = None,
        huggingface_dataset: Any | None = None,
        bos_source_args: dict[str, Any] | None = None,
        schema: DataTemplateType | None = None,
        organize_data_as_group: bool = False,
        *,
        data_dir: str | Path | None = None,
        is_download_to_local: bool = True,
        file_format: str | None = None,
        is_a_text_file_an_entry: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load rows from a source, a table of others, a file, the platform, or a bucket, in this order of precedence.

        huggingface_dataset: of Hugging Face, or a table of pandas, polars or pyarrow. data_file: jsonl, json, csv,
        txt, parquet, or a zip of such; data_dir: a folder of them. is_a_text_file_an_entry: a text file is one row.
        qianfan_dataset_id: int or `ds-…`; is_download_to_local=False only asks what the dataset is, and it is used
        where it lies. bos_load_args: a dataset made on the platform of an object; bos_source_args: the object
        itself. schema: a template that every row must fit. organize_data_as_group: each turn of a conversation is a
        row, with its `_group`.
        Raises ValueError when nothing is given, FileNotFoundError, and ValidationError with line and column for a
        file that cannot be read; in a large file, the lines that are wrong come to light when they are read.
        ak, sk and retry options are taken for the calls of the console. input_columns, reference_column: what
        `test_using_llm` asks and expects; eval_input_column and eval_llm_output_column: what
        `EvaluationManager.eval_only` reads."""
        options = transport_options(kwargs)
        if source is None and huggingface_dataset is not None:
            return cls._of_table(huggingface_dataset, schema, organize_data_as_group, kwargs)
        if source is None and (data_file is not None or data_dir is not None):
            given = data_file if data_file is not None else data_dir
            assert given is not None
            source = FileDataSource(given, file_format, is_a_text_file_an_entry=is_a_text_file_an_entry)
        if source is None and qianfan_dataset_id is not None:
            source = QianfanDataSource.get_existed_dataset(
                qianfan_dataset_id, is_download_to_local, **options
            )
        if source is None and bos_load_args is not None:
            source = bos.load(bos_load_args, **options)
        if source is None and bos_source_args is not None:
            source = bos.target(bos_source_args)
        if source is None:
            raise ValueError(
                "nothing to load: give source=, data_file=, data_dir=, huggingface_dataset= or qianfan_dataset_id="
            )
        dataset = cls(source=source)
        if isinstance(source, FileDataSource):
            source.stamp()
            next(dataset._rows().read(), None)
            dataset._rows().settle()  # a small file is read, and so checked, at once
        elif source.download_when_init is not False and is_download_to_local:
            dataset._download(**options)
        return dataset._arranged(schema, organize_data_as_group, kwargs)

    @classmethod
    def _of_table(cls, table: Any, schema: Any, grouped: bool, kwargs: dict[str, Any]) -> Self:
        from qianfan.dataset.bridges import rows_of

        dataset = cls()
        dataset._chain = Chain(keep(enumerate(rows_of(table), 1)))
        return dataset._arranged(schema, grouped, kwargs)

    def _arranged(self, schema: DataTemplateType | None, grouped: bool, names: Mapping[str, Any]) -> Self:
        for name in COLUMN_NAMES:
            setattr(self, name, names.get(name))
        tell_unused("Dataset", names.keys() - set(COLUMN_NAMES))
        if schema is not None:
            template = DataTemplateType(schema)
            self._rows().then(lambda rows: self._checked(rows, template))
        self._grouped = grouped
        if grouped and isinstance(self._first(), list):
            self._rows().then(packing.unpacked)
        return self

    @classmethod
    def create_from_pyobj(cls, data: Iterable[Any] | dict[str, Many], **kwargs: Any) -> Self:
        """A dataset of Python values: a list of rows, or a dict of columns of one length.

        Keywords name columns, as those of `load` do."""
        if isinstance(data, dict):
            lengths = {len(column) for column in data.values()}
            if len(lengths) > 1:
                raise InvalidArgumentError(
                    f"the columns have different lengths: {sorted(lengths)}", advice="make them alike"
                )
            data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
        return cls(rows=[*data])._arranged(None, False, kwargs)

    @classmethod
    def create_from_pyarrow_table(cls, table: Any, **kwargs: Any) -> Self:
        """A dataset of the rows of a pyarrow table; a table of one column `_pack` has packed rows."""
        return cls._of_table(table, None, False, kwargs)

    def save(
        self,
        destination: Source | None = None,
        data_file: str | Path | None = None,
        qianfan_dataset_id: int | str | None = None,
        qianfan_dataset_create_args: dict[str, Any] | None = None,
        bos_source_args: dict[str, Any] | None = None,
        schema: DataTemplateType | None = None,
        replace_source: bool = False,
        *,
        save_as_folder: bool = False,
        show_progress: bool | None = None,
        **kwargs: Any,
    ) -> bool:
        """Write the rows to a file or an object of a bucket, or bring them to the platform: upload, create, import.

        data_file: jsonl, json, csv, txt or parquet (file_format=, else the suffix); save_as_folder: a folder with a
        file for each row. Grouped turns are packed, but for csv and parquet, and a text in csv that a spreadsheet
        would run is marked as text. qianfan_dataset_id: a dataset to add to. qianfan_dataset_create_args: name,
        template_type (default NonSortedConversation, GenericText for texts), storage_type; `{}` will do.
        bos_source_args: region, bucket, bos_file_path. Without any target a file is written in place.
        schema: a template that every row must fit. replace_source: the target becomes this dataset's source.
        A file is whole or unchanged, and nothing is sent before every row was checked; ValidationError lists the
        first 20 problems. Raises StorageNeeded on a cloud that takes no uploads. Returns True."""
        target = destination
        if target is None and data_file is not None:
            format = kwargs.pop("file_format", None)
            target = FileDataSource(data_file, format, save_as_folder, is_a_text_file_an_entry=save_as_folder)
        tell_unused("Dataset.save", kwargs)
        options, grouped = transport_options(kwargs), False
        if target is None and qianfan_dataset_id is not None:
            target = QianfanDataSource.get_existed_dataset(qianfan_dataset_id, False, **options)
        if target is None and qianfan_dataset_create_args is None:
            if bos_source_args is not None:
                target = bos.target(bos_source_args)
            else:
                target = self.inner_data_source_cache
            if isinstance(target, QianfanDataSource) and not self._changed:
                return True  # it is on the platform already
            if not isinstance(target, FileDataSource):
                raise ValueError("nowhere to save: give data_file= or qianfan_dataset_create_args={}")
        if isinstance(target, FileDataSource):
            grouped = self._to_file(target, schema, show_progress)
            same = (
                isinstance(self.inner_data_source_cache, FileDataSource)
                and Path(self.inner_data_source_cache.path).absolute() == Path(target.path).absolute()
            )
            replace_source = replace_source or same
        else:
            arguments = dict(qianfan_dataset_create_args or {})
            if schema is not None:
                arguments.setdefault("template_type", schema)
            with working("saving the dataset to the platform", show_progress):
                target = self.to_platform(target, arguments, **options)
        if replace_source:
            self.inner_data_source_cache, self._changed, self._done = target, False, []
            self._chain = Chain(target) if isinstance(target, FileDataSource) else None
            self._grouped = grouped
            if grouped:
                self._rows().then(packing.unpacked)
        return True

    def _to_file(self, target: FileDataSource, schema: DataTemplateType | None, shown: bool | None) -> bool:
        """Write the rows. Returns whether they are grouped here and packed there."""
        chain = self._rows()
        size = chain.base.size if isinstance(chain.base, FileDataSource) else 0
        with reading(f"saving {Path(target.path).name}", size, shown) as told:
            grouped, rows = packing.are_grouped(chain.read(told))
            grouped = grouped and target.file_format in REGROUPED
            if grouped:
                rows = packing.packed(rows)
            if schema is not None:
                rows = self._checked(rows, DataTemplateType(schema))
            count = target.write(map(itemgetter(1), rows))
        if not grouped:
            chain.counted(count)
        return grouped

    def list(self, by: By | None = None, **options: Any) -> Any:
        """Rows by an index, a closed slice, a list of indices, or all; columns by names.

        Of a dataset used on the platform, records by a number or a closed slice, each as {"entity_id",
        "entity_content"}; options are filters and transport options of `Data.list_all_entity_in_dataset`."""
        source = self.inner_data_source_cache
        if self._chain is None and isinstance(source, QianfanDataSource):
            from qianfan.dataset.entities import fetch

            return fetch(source, by, **options)  # type: ignore[arg-type]
        return self.to_pylist() if by is None else self[by]

    def __delitem__(self, key: By) -> None:
        """Remove rows, or the columns of these names."""
        names = key if isinstance(key, list) else [key]
        if names and all(isinstance(name, str) for name in names):
            self.col_delete(key)
        else:
            self.delete(key)  # type: ignore[arg-type]

    def statistics(self) -> Statistics:
        """What is in the dataset, in one pass: rows, lengths, duplicates, languages, empty members."""
        from qianfan.dataset.statistics import of_lines

        self._rows().settle()
        return of_lines(self._rows().read())

    def show_overview(self) -> None:
        """Print the statistics as a page of text, or show them in a notebook."""
        from qianfan.dataset.overview import show_overview

        show_overview(self.statistics())

    def to_arrow(self) -> Any:
        """A pyarrow Table; rows that are no objects are one column `_pack`."""
        from qianfan.dataset import bridges

        return bridges.to_arrow(self)

    def to_pandas(self) -> Any:
        """A pandas DataFrame; rows that are no objects are one column `_pack`."""
        from qianfan.dataset import bridges

        return bridges.to_pandas(self)

    def to_polars(self) -> Any:
        """A polars DataFrame; rows that are no objects are one column `_pack`."""
        from qianfan.dataset import bridges

        return bridges.to_polars(self)

    def to_huggingface(self) -> Any:
        """A Dataset of Hugging Face; rows that are no objects are one column `_pack`."""
        from qianfan.dataset import bridges

        return bridges.to_huggingface(self)

    def transform_to(self, name: str) -> Self:
        """Turn conversations into records of another format: openai, sharegpt, alpaca or columns. Returns self.

        Raises FormatError, naming the line, for a row that the format cannot hold."""
        from qianfan.dataset.mapping import BY_NAME

        if name not in BY_NAME:
            raise InvalidArgumentError(
                f"there is no format {name!r}", advice=f"give one of {', '.join(BY_NAME)}"
            )
        mapping = BY_NAME[name]

        def step(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
            for number, row in rows:
                source, line = self._place(number)
                yield number, mapping.from_row(row, line=line, source=source)

        self._then(step, f"transform_to {name}")
        return self

    def transform_to_template(self, template: DataTemplateType) -> Self:
        """Turn records of other formats (OpenAI's messages, ShareGPT, Alpaca, columns) into rows of a template.

        Rows that are of no such format stay. Returns self. Raises FormatError, naming the line, for a record that
        the template cannot hold."""
        from qianfan.dataset import mapping

        def step(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
            for number, row in rows:
                found = mapping.of(row)
                source, line = self._place(number)
                new = row if found is None else found.to_row(row, template, line=line, source=source)
                yield number, new

        self._then(step, f"transform_to_template {DataTemplateType(template).name}")
        return self

    def __repr__(self) -> str:
        source = self.inner_data_source_cache
        if isinstance(source, QianfanDataSource):
            return f"Dataset(id={source.id!r}, name={source.name!r}, on the platform={self._chain is None})"
        known = self._rows().known_count
        counted = "rows not counted yet" if known is None else f"{known} rows"
        return f"Dataset({counted}{f' of {source.path}' if source else ''})"

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
        if isinstance(source, bos.BosDataSource) and not self._changed:
            return {"bos": source.to_state()}
        if isinstance(source, FileDataSource) and not self._changed:
            named = {"file": str(Path(source.path).resolve()), "file_format": source.file_format}
            return {**named, "whole": source.is_a_text_file_an_entry, "grouped": self._grouped}
        chain = self._rows()
        chain.settle()
        numbered = [*chain.read()]
        return {"rows": [row for _, row in numbered], "lines": [line for line, _ in numbered]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Dataset:
        """A dataset of a saved state."""
        if "source" in state:
            return cls(source=QianfanDataSource.from_state(state["source"]))
        if "bos" in state:
            return cls(source=bos.target(state["bos"]))
        if "file" in state:
            whole = state.get("whole", False)
            source = FileDataSource(state["file"], state["file_format"], is_a_text_file_an_entry=whole)
            return cls(source=source)._arranged(None, state.get("grouped", False), {})
        return cls(rows=state["rows"], lines=state["lines"])
