"""`qianfan dataset list`, `download`, `entities`, `annotate`, `delete`: datasets on the platform."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from qianfan.contract.enums import DataImportStatus, DataReleaseStatus

from . import options
from .dataset_files import counted, flat, so_many, waiting, write, write_bytes
from .output import emit, note, show_table
from .rows import cut, visible

PAGE: Final = 30  # entities that a platform lists at once
Ident = Annotated[str, typer.Argument(help="A dataset on the platform: ds-…, or a number.", metavar="ID")]


def add_to(nouns: typer.Typer) -> None:
    """Register the commands."""
    nouns.command("list")(list_all)
    nouns.command("show")(show)
    nouns.command("release")(release)
    nouns.command("download")(download)
    nouns.command("entities")(list_entities)
    nouns.command("annotate")(annotate)
    nouns.command("delete")(delete)


def list_all(
    name: Annotated[str | None, typer.Option(help="A part of the name.", show_default=False)] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many, newest first.", min=1)] = 100,
    json: options.JsonObject = False,
) -> None:
    """List your datasets on the platform, newest first, each with its newest version."""
    from qianfan.resources import Data

    rows: list[dict[str, Any]] = []
    marker = None
    while len(rows) < count:
        result = Data.V2.describe_datasets(
            marker=marker,
            max_keys=min(count - len(rows), 100),
            filter={"datasetName": name} if name else None,
        )["result"]
        rows += result["datasetList"]
        marker = result["pageInfo"].get("nextMarker")
        if not marker or not result["datasetList"]:
            break
    if json:
        emit({"datasets": rows})
        return
    states = (
        Data.get_dataset_status_in_batch([row["latestVersionId"] for row in rows])["result"] if rows else {}
    )
    shown = []
    for row in rows:
        state = states[row["latestVersionId"]]
        released = state["releaseStatus"] == DataReleaseStatus.Finished.value
        word = "released" if released else _word(DataImportStatus, state["importStatus"])
        columns = (row["latestVersionId"], row["datasetName"], row["dataFormat"], row["versionCount"])
        shown.append([*columns, f"{state['entityCount']:,}", word, row["modifyTime"]])
    show_table(
        ("id", "name", "format", "versions", "records", "state", "changed"),
        [[visible(str(cell)) for cell in row] for row in shown],
        numbers=("versions", "records"),
    )


def show(ident: Ident, json: options.JsonObject = False) -> None:
    """Show what a dataset is: template, records, how its import and its release stand."""
    from qianfan.dataset import QianfanDataSource

    source = QianfanDataSource.get_existed_dataset(ident, False)
    info = source.info
    if json:
        emit({"name": source.name, **info})
        return
    reason = (info.get("progressDetail") or {}).get("reason")
    rows = {
        "dataset": f"{info.get('datasetPK') or source.id}  {source.name}, version {source.version}",
        "template": source.template_type.name if source.template_type else None,
        "records": f"{info.get('entityCount') or 0:,}, {info.get('annotatedEntityCount') or 0:,} annotated",
        "import": _word(DataImportStatus, info.get("importStatus")),
        "release": _word(DataReleaseStatus, info.get("releaseStatus")),
        "changed": info.get("modifyTime"),
        **({"reason": reason} if reason else {}),
    }
    show_table(("", ""), [(name, visible(str(value))) for name, value in rows.items()])


def _word(states: Any, value: Any) -> str:
    try:
        return str(states(value).name)
    except ValueError:
        return str(value)


def release(ident: Ident, json: options.JsonObject = False) -> None:
    """Release a dataset, and wait for it: its content is fixed from then on, and can be trained on."""
    from qianfan.dataset import QianfanDataSource

    source = QianfanDataSource.get_existed_dataset(ident, False)
    with waiting(f"releasing {ident}"):
        source.release_dataset()
    if json:
        emit({"id": source.id, "released": source.is_released})
    else:
        note(f"released {ident}")


def delete(
    idents: Annotated[list[str], typer.Argument(help="Datasets: ds-…, or numbers.", metavar="ID…")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.JsonObject = False,
) -> None:
    """Delete datasets of the platform with their content. Models that were trained on them stay."""
    from qianfan.resources import Data

    if not yes:
        typer.confirm(f"delete {', '.join(idents)}?", abort=True, err=True)
    for ident in idents:
        Data.delete_dataset(ident)
    if json:
        emit({"deleted": idents})
    else:
        note(f"deleted {', '.join(idents)}")


def download(
    ident: Ident,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; a .zip is the export as it is, with pictures.")
    ],
    json: options.JsonObject = False,
) -> None:
    """Export a dataset of the platform, and write its rows into a file.

    qianfan dataset download ds-… -o data.jsonl"""
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import QianfanDataSource
    from qianfan.dataset.upload import downloaded

    source = QianfanDataSource.get_existed_dataset(ident, True)
    packed = out.suffix.lower() == ".zip"
    if source.template_type is DataTemplateType.Text2Image and not packed:
        raise typer.BadParameter(f"dataset {ident} holds pictures; write them into a .zip")
    total = 0

    def rows() -> Iterator[Any]:
        nonlocal total
        for line, row in counted(source.fetch(), f"downloading {ident}"):
            total += 1
            yield flat(row, line, ident) if out.suffix.lower() == ".csv" else row

    try:
        if packed:
            with waiting(f"downloading {ident}"), downloaded(source.export()) as export:
                write_bytes(out, export)
            total = int(source.info.get("entityCount") or 0)
        else:
            write(out, rows())
    except LookupError as error:
        raise typer.BadParameter(str(error)) from None
    if json:
        emit({"id": source.id, "name": source.name, "rows": total, "out": str(out)})
    else:
        note(f"{so_many(total)} of {source.name} written to {out}")


def entities(ident: str, start: int = 0) -> Iterator[tuple[int, Any]]:
    """(number from 1, row) of a dataset on the platform, from `start` on, as they are asked for."""
    import orjson

    from qianfan.dataset.upload import download as fetched

    for number, item in _items(ident, start, "all"):
        content = fetched(item["url"])
        try:
            yield number, orjson.loads(content)
        except orjson.JSONDecodeError:
            try:
                yield number, content.decode()
            except UnicodeDecodeError:
                yield number, f"{item['name']}: a picture of {len(content):,} bytes"


def _items(ident: str, start: int, which: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from qianfan.contract.enums import EntityListingType
    from qianfan.resources import Data

    tab = {
        "all": EntityListingType.All,
        "yes": EntityListingType.AnnotatedOnly,
        "no": EntityListingType.NotAnnotatedOnly,
    }[which]
    while True:
        page = Data.list_all_entity_in_dataset(ident, start, PAGE, listing_type=tab)["result"]
        yield from enumerate(page["items"], start + 1)
        start += len(page["items"])
        if not page["items"] or start >= page["total"]:
            return


def list_entities(
    ident: Ident,
    start: Annotated[int, typer.Option("--from", help="Begin with this one, from 1.", min=1)] = 1,
    count: Annotated[int, typer.Option("--count", "-n", help="How many.", min=1)] = 20,
    annotated: Annotated[
        Literal["all", "yes", "no"], typer.Option(help="Only those that are annotated, or are not.")
    ] = "all",
    json: Annotated[bool, typer.Option("--json", help="JSON lines, one an entity.")] = False,
) -> None:
    """List single records of a dataset with their ids, which `annotate` takes."""
    from itertools import islice

    found = list(islice(_items(ident, start - 1, annotated), count))
    if json:
        for _, item in found:
            emit(item)
        return
    show_table(
        ("row", "id", "name", "labels"),
        [
            (
                number,
                item["id"],
                cut(visible(item["name"]), 40),
                ", ".join(visible(label["name"]) for label in item["labels"] or ()),
            )
            for number, item in found
        ],
        numbers=("row",),
    )


def annotate(
    ident: Ident,
    entity: Annotated[str, typer.Argument(help="The record, as `entities` lists it.")],
    content: Annotated[
        str | None,
        typer.Argument(
            help='The conversation as JSON, [{"prompt": "…", "response": [["…"]]}]; - reads it from a pipe.',
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Of a picture: what it shows.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Give a record of a dataset its answer, or a picture its description."""
    import orjson

    from qianfan.resources import Data

    if (content is None) == (not label):
        raise typer.BadParameter("give the content of a conversation, or --label for a picture")
    turns = None
    if content is not None:
        try:
            turns = orjson.loads(sys.stdin.read() if content == options.STDIN else content)
        except orjson.JSONDecodeError as error:
            raise typer.BadParameter(f"the content is no JSON: {error}") from None
    Data.annotate_an_entity(entity, ident, turns, [{"name": text} for text in label or ()] or None)
    if json:
        emit({"annotated": entity})
    else:
        note(f"annotated {entity}")
