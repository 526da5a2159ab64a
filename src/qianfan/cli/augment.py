"""`qianfan dataset augment`: a model writes more records after the pattern of a dataset on the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from . import failures, options
from .output import emit, note, show_table

LOOK_S: Final = 1.0
NAME: Final = 40  # characters of a made name at most
Ident = Annotated[str, typer.Argument(help="A dataset on the platform: ds-…, or a number.", metavar="ID")]


def add_to(nouns: typer.Typer) -> None:
    """Register the command."""
    nouns.command("augment")(augment)


def augment(
    source: Ident,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Who writes: a model's name, or the endpoint of a service.")
    ],
    count: Annotated[
        int, typer.Option("--count", "-n", help="Samples that are wanted.", min=1, max=5000)
    ] = 20,
    few: Annotated[int, typer.Option(help="Samples shown in one prompt.", min=1, max=10)] = 3,
    threshold: Annotated[
        float, typer.Option(help="Keep what is less like all others than this, by ROUGE-L.", min=0, max=1)
    ] = 0.7,
    into: Annotated[
        str | None, typer.Option(help="Add to this dataset instead of a new one.", show_default=False)
    ] = None,
    questions: Annotated[
        bool, typer.Option("--questions", help="Questions without answers, in a new dataset.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Of the new dataset and the task.", show_default=False)
    ] = None,
    provenance: Annotated[
        Path | None,
        typer.Option(
            help="Write every try, with what was kept and dropped, into this file.", show_default=False
        ),
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Have a model write more records, and wait for them; tells what was kept, what was dropped, and why.

    qianfan dataset augment ds-… -m ERNIE-Speed-8K -n 50 --provenance tries.jsonl"""
    from rich.console import Console

    from qianfan.contract.enums import AugmentationStatus
    from qianfan.contract.lifecycle import AUGMENTATION
    from qianfan.dataset.upload import download
    from qianfan.dataset.waiting import wait_until
    from qianfan.resources import Data

    name = name or f"{Data.get_dataset_info(source)['result']['name'][:NAME]}_augmented"
    target = into or _new(name, questions)
    task = Data.create_dataset_augmenting_task(name, source, target, model, model, 0, few, count, threshold)[
        "result"
    ]
    with Console(stderr=True).status(f"{model} writes {count} samples: {task}") as status:

        def look() -> dict[str, Any]:
            row: dict[str, Any] = Data.get_dataset_augmenting_task_info(task)["result"]
            done = row["progressDetail"]
            status.update(f"{model} writes: {done['done']} of {done['of']} kept after {done['tries']} tries")
            return row

        row = wait_until(look, lambda seen: AUGMENTATION.is_final(seen["status"]), LOOK_S)
    found = row["provenance"]
    if provenance is not None:
        provenance.write_bytes(download(found["downloadUrl"]))
    done = row["status"] == AugmentationStatus.Finished
    if json:
        emit({"task": task, "dataset": target, "finished": done, "reason": row["retStr"], **_counts(row)})
    else:
        show_table(
            ("what became of them", "samples"),
            [("kept", found["kept"])]
            + [(found["meanings"].get(why, why), number) for why, number in found["dropped"].items()],
            numbers=("samples",),
        )
        if row["retStr"]:
            note(row["retStr"])
        if done:
            note(f"{found['kept']:,} samples are in {target}")
    if not done:
        raise typer.Exit(failures.FAILED)


def _new(name: str, questions: bool) -> str:
    from qianfan.contract.enums import DataProjectType, DataSetType, DataTemplateType
    from qianfan.resources import Data

    template = DataTemplateType.QuerySet if questions else DataTemplateType.NonSortedConversation
    project = DataProjectType(template.value // 100)
    made = Data.create_bare_dataset(name, DataSetType.TextOnly, project, template)
    return str(made["result"]["datasetId"])


def _counts(row: dict[str, Any]) -> dict[str, Any]:
    found = row["provenance"]
    return {
        "kept": found["kept"],
        "wanted": row["numInstancesToGenerate"],
        "tries": found["tries"],
        "dropped": found["dropped"],
    }
