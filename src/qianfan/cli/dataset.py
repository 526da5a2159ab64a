"""`qianfan dataset`: look at rows, check them, clean them, and bring them to the platform and back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import augment, dataset_changes, dataset_platform, dataset_upload, failures, options
from .dataset_files import Chosen, Existing, known, opened, so_many, template_of
from .output import emit, note
from .rows import show_row

if TYPE_CHECKING:
    from qianfan.dataset import Problem

nouns = typer.Typer(
    help="Datasets: check, look, count, clean, convert, upload, download.", no_args_is_help=True
)
SHOWN: Final = 10  # rows of `view`


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    dataset_changes.add_to(nouns)
    dataset_platform.add_to(nouns)
    dataset_upload.add_to(nouns)
    augment.add_to(nouns)
    app.add_typer(nouns, name="dataset")


@nouns.command("check")
def check(
    file: Existing,
    template: Chosen = None,
    limit: Annotated[
        int, typer.Option(help="Print so many problems at most; 0 for all. All are counted.", min=0)
    ] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="JSON lines: one a problem, the summary last.")
    ] = False,
) -> None:
    """Tell every row that does not fit, by line, and how to mend it. Ends with code 1 when there is one.

    qianfan dataset check data.jsonl --template conversation"""
    counts = {"rows": 0, "bad": 0, "annotated": 0}
    kinds: dict[str, int] = {}
    notes: dict[str, int] = {}

    def tell(problem: Problem) -> None:
        counts["bad"] += 1
        if limit and counts["bad"] > limit:
            return
        if json:
            emit({name: value for name, value in vars(problem).items() if value not in ("", None)})
        else:
            print(problem)

    with known() as problems:
        first, rows = opened(file, lambda problem, raw: tell(problem), "checking")
        chosen = template_of(template, first)
        for _, problem, annotated in _judged(rows, chosen, file.name, kinds, notes):
            counts["rows"] += 1
            counts["annotated"] += annotated
            if problem is not None:
                tell(problem)
    for problem in problems:
        tell(problem)
    empty = not counts["rows"] and not counts["bad"]
    mapped = {name: count for name, count in kinds.items() if name}
    if json:
        emit(
            {
                "ok": not counts["bad"] and not empty,
                "template": chosen.name,
                **counts,
                "mapped": mapped,
                "notes": notes,
            }
        )
    else:
        if limit and counts["bad"] > limit:
            note(f"… and {counts['bad'] - limit:,} more problems")
        for name, count in mapped.items():
            _explain(name, count)
        for text, count in notes.items():
            note(f"{text}: {so_many(count)}")
        bad = f"{counts['bad']:,} do not fit" if counts["bad"] else "all fit"
        told = f"{so_many(counts['rows'])} as {chosen.name}: {bad}, {counts['annotated']:,} annotated"
        note(f"{file.name} has no rows" if empty else told)
    if counts["bad"] or empty:
        raise typer.Exit(failures.FAILED)


def _judged(
    rows: Iterator[tuple[int, Any]], template: Any, source: str, kinds: dict[str, int], notes: dict[str, int]
) -> Iterator[tuple[Any, Problem | None, bool]]:
    """(row, its problem, annotated) of each; records of other formats are judged as what becomes of them."""
    from qianfan.dataset import FormatError, mapping
    from qianfan.dataset.schemas import check_row, is_annotated

    def noted(text: str) -> None:
        notes[text] = notes.get(text, 0) + 1

    for line, row in rows:
        found = mapping.of(row)
        kinds[found.name if found else ""] = kinds.get(found.name if found else "", 0) + 1
        try:
            mine = found.to_row(row, template, line=line, source=source, note=noted) if found else row
        except FormatError as error:
            yield row, error.problem, False
            continue
        problem = check_row(mine, template, line, source)
        yield mine, problem, problem is None and is_annotated(mine)


def _explain(name: str, count: int) -> None:
    from qianfan.dataset import mapping

    note(f"{so_many(count)} of the format {name}; an import and `qianfan dataset convert` read them so:")
    for line in mapping.BY_NAME[name].explained:
        note(f"  {line}")


@nouns.command("view")
def view(
    source: Annotated[str, typer.Argument(help="A file, or a dataset on the platform (ds-… or a number).")],
    row: Annotated[
        int | None, typer.Option("--row", help="Only the row in this line, whole.", min=1, show_default=False)
    ] = None,
    start: Annotated[int, typer.Option("--from", help="Begin with this row, from 1.", min=1)] = 1,
    count: Annotated[int, typer.Option("--count", "-n", help="How many rows.", min=1)] = SHOWN,
    json: Annotated[bool, typer.Option("--json", help="JSON lines, one a row.")] = False,
) -> None:
    """Show rows: turns of conversations by who speaks, long texts cut; one row whole with --row.

    qianfan dataset view data.jsonl --from 100 -n 3"""
    if Path(source).expanduser().is_file():
        _, rows = opened(Path(source).expanduser())
        if row is not None:
            shown = islice((found for found in rows if found[0] == row), 1)
        else:
            shown = islice(rows, start - 1, start - 1 + count)
    else:
        if not source.startswith("ds-") and not source.isdigit():
            raise typer.BadParameter(f"there is no file {source}, and it is no id of a dataset (ds-…)")
        first = row or start
        shown = islice(dataset_platform.entities(source, first - 1), 1 if row else count)
    some = False
    for line, item in shown:
        some = True
        if json:
            emit({"line": line, "row": item})
        else:
            show_row(line, item, whole=row is not None)
    if not some:
        raise typer.BadParameter(f"{source} has no row {row or start}")


@nouns.command("stats")
def stats(file: Existing, json: options.JsonObject = False) -> None:
    """Count: rows, turns, lengths as a drawing, annotated ones, duplicates, empty members, languages.

    qianfan dataset stats data.jsonl"""
    from qianfan.dataset.statistics import of_lines

    _, rows = opened(file, what="counting")
    figures = of_lines(rows)
    if json:
        emit(figures.as_dict())
    else:
        print(figures)
