"""`qianfan dataset upload`: a file becomes a dataset on the platform, and every refused line is told."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from qianfan.config import get_config

from . import failures, options
from .dataset_files import PACKED, Chosen, Existing, opened, so_many, template_of, waiting, write_bytes
from .output import emit, note
from .rows import cut, visible

if TYPE_CHECKING:
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import QianfanDataSource

PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp")
NAME: Final = 40  # characters of a made name at most


def add_to(nouns: typer.Typer) -> None:
    """Register the command."""
    nouns.command("upload")(upload)


def upload(
    file: Existing,
    name: Annotated[
        str | None, typer.Option(help="Of the dataset; default: of the file.", show_default=False)
    ] = None,
    template: Chosen = None,
    into: Annotated[
        str | None, typer.Option(help="Add to this dataset instead of a new one.", show_default=False)
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Release it, so that it can be trained on.")
    ] = False,
    bad_share: Annotated[
        float | None,
        typer.Option(
            help="Share of bad lines, 0 to 1, up to which the others are imported; default: the platform's.",
            min=0,
            max=1,
            show_default=False,
        ),
    ] = None,
    quarantine: Annotated[
        Path | None, typer.Option(help="Write the refused lines into this file.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Send a file to the platform, and wait until it is imported; refused lines are told one by one.

    The platform reads the file as it is: any of the formats, also Alpaca, ShareGPT and OpenAI messages, and a zip
    or tar.gz of files or pictures.

    qianfan dataset upload data.jsonl --name tickets --release"""
    from qianfan.contract.enums import DataImportStatus
    from qianfan.dataset.upload import downloaded
    from qianfan.errors import QianfanRequestError
    from qianfan.resources.console.files import Files

    packed = file.suffix.lower() in PACKED
    first, _ = ([], None) if packed else opened(file)  # what is wrong the platform tells
    chosen = template_of("image" if template is None and packed and _pictured(file) else template, first)
    source = _target(into, name or file.stem, chosen)
    with waiting(f"sending {file.name}, {file.stat().st_size / 1e6:,.1f} MB"):
        remote = Files.upload(file, once=True)["result"]["path"]
    source.start_import(remote, annotated=_annotated(first, chosen), **options.given(bad_share=bad_share))
    failed = None
    try:
        _watch(source, f"importing {file.name}")
    except KeyboardInterrupt:
        note(f"the platform goes on importing: qianfan dataset show {source.id}")
        raise
    try:
        source.wait_for_import()
    except QianfanRequestError as error:
        failed = str(error)
    done = source.info.get("importStatus") == DataImportStatus.Finished
    problems, link = _verdicts(source)
    if quarantine is not None and link:
        with downloaded(link) as refused:
            write_bytes(quarantine, refused)
    if done and release:
        with waiting("releasing"):
            source.release_dataset()
    if json:
        emit(_outcome(source, done, problems, link, failed))
    else:
        _show(source, done, problems, quarantine if link else None, link, failed)
    if not done:
        raise typer.Exit(failures.FAILED)


def _pictured(file: Path) -> bool:
    """Whether the archive is a zip with pictures in it."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.lower().endswith(PICTURES) for name in archive.namelist())


def _watch(source: QianfanDataSource, text: str) -> None:
    """A bar on standard error until the import has ended, well or not."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from qianfan.contract.enums import DataImportStatus
    from qianfan.dataset.waiting import wait_until

    under_way = (DataImportStatus.NotStarted, DataImportStatus.Initialized, DataImportStatus.Running)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(text, total=100, rows="")

        def look() -> dict[str, Any]:
            info: dict[str, Any] = source.refresh()["versionInfo"]
            told = (info.get("progressDetail") or {}).get("import") or {}
            rows = so_many(told["rows"]) if told.get("rows") else ""
            bar.update(task, completed=info.get("importProgress") or 0, rows=rows)
            return info

        every = get_config().IMPORT_STATUS_POLLING_INTERVAL
        wait_until(look, lambda info: info.get("importStatus") not in under_way, every)


def _outcome(
    source: QianfanDataSource, done: bool, problems: list[dict[str, Any]], link: str | None, why: str | None
) -> dict[str, Any]:
    info = source.info
    return {
        "id": source.id,
        "name": source.name,
        "imported": done,
        "rows": info.get("importRecordCount") if done else 0,
        "annotated": info.get("annotatedEntityCount"),
        "released": source.is_released,
        "refused": sum(found.get("count") or 1 for found in info.get("importErrorInfo") or []),
        "problems": problems,
        "quarantine": link,
        "progress": info.get("progressDetail") or {},
        "error": why,
    }


def _show(
    source: QianfanDataSource,
    done: bool,
    problems: list[dict[str, Any]],
    quarantine: Path | None,
    link: str | None,
    why: str | None,
) -> None:
    outcome = _outcome(source, done, problems, link, why)
    for mapping in (outcome["progress"].get("import") or {}).get("mappings") or []:
        note(f"read as {mapping if isinstance(mapping, str) else mapping.get('name')}")
    for told in (outcome["progress"].get("import") or {}).get("notes") or []:
        note(f"{told['what']} ({told['count']:,})")
    for problem in problems:
        note(_told(problem))
    if outcome["refused"] > len(problems):
        note(f"… and {outcome['refused'] - len(problems):,} more")
    if quarantine is not None:
        note(f"the refused lines are in {quarantine}")
    elif link:
        note("--quarantine FILE keeps all refused lines, with their reasons")
    if done:
        refused = f", {outcome['refused']:,} refused" if outcome["refused"] else ""
        released = ", released" if outcome["released"] else ""
        note(f"{so_many(outcome['rows'] or 0)} imported{refused}{released}")
        print(source.id)
    else:
        note(f"nothing was imported: {(why or 'the platform does not say why').splitlines()[0].rstrip(':')}")
        if not source.info.get("entityCount"):
            note(f"{source.id} is empty: fill it by --into {source.id}, or `qianfan dataset delete` it")


def _target(into: str | None, name: str, template: DataTemplateType) -> QianfanDataSource:
    from qianfan.contract.ids import random_word
    from qianfan.dataset import QianfanDataSource

    if into is not None:
        return QianfanDataSource.get_existed_dataset(into, False)
    return QianfanDataSource.create_bare_dataset(name[:NAME] or random_word(8), template)


def _annotated(first: list[Any], template: DataTemplateType) -> bool:
    """Whether the first rows have answers, all of them."""
    from qianfan.dataset import FormatError, mapping
    from qianfan.dataset.schemas import is_annotated

    try:
        rows = [found.to_row(row, template) if (found := mapping.of(row)) else row for row in first]
    except FormatError:
        return False
    return bool(rows) and all(map(is_annotated, rows))


def _verdicts(source: QianfanDataSource) -> tuple[list[dict[str, Any]], str | None]:
    """The refused lines in their order, the first hundred of each kind, and a link to all of them where there is
    one."""
    from qianfan.resources import Data

    codes = [found["code"] for found in source.info.get("importErrorInfo") or [] if "code" in found]
    problems: list[dict[str, Any]] = []
    link = None
    for code in codes:
        result = Data.get_dataset_import_error_detail(source.id, code)["result"]
        problems += result.get("content") or []
        link = result.get("downloadUrl") or link
    return sorted(problems, key=lambda one: (one.get("sampleFileName") or "", one.get("line") or 0)), link


def _told(problem: dict[str, Any]) -> str:
    place = f"{problem.get('sampleFileName') or ''} {problem.get('textLocation') or ''}".strip()
    what = problem.get("what") or cut(str(problem.get("textContent") or ""))
    fix = f" — fix: {problem['fix']}" if problem.get("fix") else ""
    return visible(f"{place}: {what}{fix}")
