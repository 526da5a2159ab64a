"""`qianfan dataset clean`, `convert`, `dedup`: one file of rows becomes another, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from . import options
from .dataset_files import Chosen, Existing, Out, flat, opened, so_many, template_of, write
from .output import emit, note, show_table
from .rows import cut, visible

if TYPE_CHECKING:
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import Problem
    from qianfan.dataset.operators import Stages
    from qianfan.dataset.operators.rows import Cleaning

AROUND: Final = 60  # characters of a sample before and after what has changed
AS_IS, QIANFAN, AUTO = "as-is", "qianfan", "auto"


def add_to(nouns: typer.Typer) -> None:
    """Register the commands."""
    nouns.command("operators")(operators)
    nouns.command("clean")(clean)
    nouns.command("convert")(convert)
    nouns.command("dedup")(dedup)


def operators(json: options.JsonObject = False) -> None:
    """List what `clean` can do: the operators in the order in which they run, with their arguments."""
    from qianfan.dataset.operators import CATALOGUE

    if json:
        rows = [
            {
                "name": one.name,
                "stage": one.stage,
                "about": one.about,
                "before": one.before,
                "after": one.after,
                "arguments": [vars(argument) for argument in one.arguments],
            }
            for one in CATALOGUE.values()
        ]
        emit({"operators": rows})
        return
    show_table(
        ("operator", "stage", "what it does", "arguments"),
        [
            (
                one.name,
                one.stage,
                one.about,
                ", ".join(f"{a.name}={a.default:g} ({a.low:g} to {a.high:g})" for a in one.arguments),
            )
            for one in CATALOGUE.values()
        ],
    )


def clean(
    file: Existing,
    op: Annotated[
        list[str],
        typer.Option("--op", help="NAME or NAME:ARGUMENT=NUMBER,…; again for more. See `operators`."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; only --explain does without.", show_default=False),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each operator did to samples.")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Only this member of a row, or of a turn; again for more.", show_default=False),
    ] = None,
    processes: Annotated[int, typer.Option(help="0: one on each core.", min=0, max=64)] = 0,
    json: options.JsonObject = False,
) -> None:
    """Clean every text of every row; a text that is dropped takes its row with it.

    Operators run by stage: clean, filter, deduplication (of whole rows), desensitization.

    qianfan dataset clean in.jsonl -o out.jsonl --op remove_emoji --op deduplication_simhash:distance=4 --explain"""
    from qianfan.dataset.operators import BadOperator
    from qianfan.dataset.operators.rows import Cleaning

    if out is None and not explain:
        raise typer.BadParameter("give -o FILE to write, or --explain to see what would be done")
    try:
        work = Cleaning(stages_of(op), columns=column or None, processes=processes)
    except BadOperator as bad:
        raise typer.BadParameter(f"{bad}; {bad.advice}") from None
    _, rows = opened(file, what="cleaning")
    kept = (row for _, row in work.run(rows))
    if out is None:
        for _ in kept:
            pass
    else:
        write(out, kept)
    if json:
        emit(
            {
                "rows": work.rows,
                "kept": work.kept,
                "funnel": [_done(one, explain) for one in work.funnel],
                "out": str(out) if out else None,
            }
        )
        return
    _show_funnel(work)
    if explain:
        _show_samples(work)
    note(f"{work.kept:,} of {so_many(work.rows)} kept" + (f", written to {out}" if out else ""))


def stages_of(given: list[str]) -> Stages:
    """Operators of the command line by their stages. Raises BadParameter for one that cannot be read."""
    from qianfan.dataset.operators import BadOperator, find

    stages: dict[str, list[dict[str, Any]]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        try:
            operator = find(name.strip())
        except BadOperator as bad:
            raise typer.BadParameter(f"{bad}; {bad.advice}") from None
        arguments: dict[str, float] = {}
        for pair in filter(None, (part.strip() for part in rest.split(","))):
            argument, equals, value = pair.partition("=")
            try:
                arguments[argument.strip()] = float(value)
            except ValueError:
                what = "is no number" if equals else "has no value; write NAME:ARGUMENT=NUMBER"
                raise typer.BadParameter(f"{text}: {pair!r} {what}") from None
        stages.setdefault(operator.stage, []).append({"name": operator.name, "args": arguments})
    return stages


def _done(done: Any, explain: bool) -> dict[str, Any]:
    told = {name: value for name, value in vars(done).items() if name != "samples"}
    return {**told, "samples": [vars(sample) for sample in done.samples]} if explain else told


def _show_funnel(work: Cleaning) -> None:
    show_table(
        ("operator", "stage", "changed", "dropped", "rows left"),
        [
            ("", "read", "", "", f"{work.rows:,}"),
            *(
                (one.name, one.stage, f"{one.changed:,}", f"{one.dropped:,}", f"{one.remaining:,}")
                for one in work.funnel
            ),
        ],
        numbers=("changed", "dropped", "rows left"),
    )


def _show_samples(work: Cleaning) -> None:
    console = Console(highlight=False)
    for one in work.funnel:
        for sample in one.samples:
            before, after = _around(sample.before, sample.after)
            console.print()
            console.print(Text.assemble((one.name, "bold"), f"  line {sample.line}"))
            console.print(Text.assemble(("before  ", "red"), visible(before)))
            console.print(
                Text.assemble(("after   ", "green"), visible(after))
                if sample.after is not None
                else Text("dropped", style="yellow")
            )


def _around(before: str, after: str | None) -> tuple[str, str]:
    """Both texts near the first place where they differ."""
    if after is None:
        return cut(before, 4 * AROUND), ""
    place = next(
        (at for at, (one, two) in enumerate(zip(before, after, strict=False)) if one != two),
        min(len(before), len(after)),
    )
    start = max(0, place - AROUND)
    head = "…" if start else ""
    return head + cut(before[start:], 2 * AROUND), head + cut(after[start:], 2 * AROUND)


def convert(
    file: Existing,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[
        str | None,
        typer.Option("--to", help="jsonl, json, csv, txt, parquet; default: the suffix.", show_default=False),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="auto, alpaca, sharegpt, openai, columns, text, qianfan; as-is: rows stay as they are.",
        ),
    ] = AUTO,
    shape: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="qianfan, alpaca, sharegpt, openai or columns; default: qianfan, for csv columns.",
            show_default=False,
        ),
    ] = None,
    template: Chosen = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave rows out that do not fit; each is told.")
    ] = False,
    json: options.JsonObject = False,
) -> None:
    """Write rows in another format: of the file, and of the records; what is mapped to what is shown.

    qianfan dataset convert alpaca.json data.jsonl

    qianfan dataset convert data.jsonl chat.jsonl --as openai"""
    from qianfan.dataset import FormatError, mapping

    known = (AUTO, AS_IS, QIANFAN, *mapping.BY_NAME)
    if source not in known or (shape is not None and shape not in known[2:]):
        raise typer.BadParameter(f"formats of records are {', '.join(known[2:])}")
    refused: list[Problem] = []

    def tell(problem: Problem) -> None:
        if not skip_bad:
            raise FormatError(problem)
        refused.append(problem)
        note(str(problem))

    first, rows = opened(file, lambda problem, raw: tell(problem), "converting")
    format = to or out.suffix.lstrip(".").lower() or "txt"
    shape = shape or ("columns" if format == "csv" else QIANFAN)
    counts: dict[str, int] = {}

    def converted() -> Iterator[Any]:
        wanted = template_of(template, first)
        for line, row in rows:
            found = mapping.of(row) if source == AUTO else mapping.BY_NAME.get(source)
            try:
                new = found.to_row(row, wanted, line=line, source=file.name, note=noted) if found else row
                if source == AUTO and not found:
                    _fitting(row, wanted, line, file.name, given=template is not None)
                if source != AS_IS and isinstance(new, list) and shape in mapping.BY_NAME:
                    new = mapping.BY_NAME[shape].from_row(new, line=line, source=file.name)
                if isinstance(new, str) and format == "csv":
                    new = flat(new, line, file.name)
            except FormatError as error:
                tell(error.problem)
                continue
            name = found.name if found else AS_IS if source == AS_IS else QIANFAN
            counts[name] = counts.get(name, 0) + 1
            yield new

    notes: dict[str, int] = {}

    def noted(text: str) -> None:
        notes[text] = notes.get(text, 0) + 1

    write(out, converted(), format)
    if json:
        done = {"rows": sum(counts.values()), "from": counts, "as": shape, "notes": notes}
        emit({**done, "refused": [str(problem) for problem in refused], "out": str(out)})
        return
    for name, count in counts.items():
        note(f"{so_many(count)} from {name} to {shape if source != AS_IS else name}")
        for told in mapping.BY_NAME[name].explained if name in mapping.BY_NAME else ():
            note(f"  {told}")
    for text, count in notes.items():
        note(f"{text}: {so_many(count)}")
    left = f", {len(refused):,} left out" if refused else ""
    note(f"{so_many(sum(counts.values()))} written to {out}{left}")


def _fitting(row: Any, template: DataTemplateType, line: int, source: str, *, given: bool) -> None:
    """Refuses a row of no known format, unless it is one of ours."""
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import FormatError
    from qianfan.dataset.schemas import check_row

    if template is DataTemplateType.NonSortedConversation and not given:
        template = DataTemplateType.SortedConversation  # several answers may come after the first rows
    problem = check_row(row, template, line, source)
    if problem is not None:
        raise FormatError(replace(problem, fix=f"{problem.fix}; --from as-is leaves rows as they are"))


def dedup(
    file: Existing,
    out: Out,
    near: Annotated[
        float | None,
        typer.Option(
            help="Also drop rows that share so much with one before: 0.5 to 1, such as 0.8.",
            min=0.5,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Keep the first of rows that are the same; with --near also the first of those that are nearly so.

    qianfan dataset dedup data.jsonl -o once.jsonl --near 0.8"""
    counts = {"rows": 0, "exact": 0, "near": 0}
    _, rows = opened(file, what="comparing")
    write(out, _once((row for _, row in rows), near, counts))
    kept = counts["rows"] - counts["exact"] - counts["near"]
    if json:
        emit({**counts, "kept": kept, "out": str(out)})
        return
    note(
        f"{kept:,} of {so_many(counts['rows'])} written to {out}: {counts['exact']:,} exact"
        + (f" and {counts['near']:,} near" if near is not None else "")
        + " duplicates left out"
    )


def _once(rows: Iterable[Any], near: float | None, counts: dict[str, int]) -> Iterator[Any]:
    from qianfan.dataset.near import NearDuplicates
    from qianfan.dataset.seen import Seen, identity

    seen = Seen()

    def exact() -> Iterator[Any]:
        for row in rows:
            counts["rows"] += 1
            if seen.is_new(identity(row)):
                yield row
            else:
                counts["exact"] += 1

    if near is None:
        yield from exact()
        return
    for row, new in NearDuplicates(near).judged(exact()):
        if new:
            yield row
        else:
            counts["near"] += 1
