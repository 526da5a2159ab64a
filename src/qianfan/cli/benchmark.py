"""`qianfan evaluation benchmark`: a service answers public benchmarks, by lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import emit, note, show_table


def benchmark(
    service: Annotated[str, typer.Option(help="Who answers: an address, or a preset's name.")],
    tasks: Annotated[
        list[str], typer.Option("--tasks", "-t", help="Names that lm-eval knows, joined by commas.")
    ],
    include: Annotated[
        Path | None, typer.Option(help="A folder of further tasks (YAML).", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Questions of each task.", min=1, show_default=False)
    ] = None,
    fewshot: Annotated[
        int | None, typer.Option(help="Examples before a question.", min=0, show_default=False)
    ] = None,
    at_once: Annotated[int, typer.Option("--at-once", help="Questions at a time.", min=1, max=64)] = 4,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Of an answer.", min=1)] = 256,
    json: options.JsonObject = False,
) -> None:
    """Let a service answer public benchmarks by lm-eval, which the extra `benchmarks` brings.

    qianfan evaluation benchmark --service SmolLM2-135M-Instruct --tasks gsm8k,ifeval --limit 50"""
    from qianfan.evaluation import benchmarks

    names = [name.strip() for joined in tasks for name in joined.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("name at least one task")
    found = benchmarks.run(
        service, names, include=include, limit=limit, fewshot=fewshot, at_once=at_once, max_tokens=max_tokens
    )
    if json:
        emit(found)
        return
    show_table(
        ("task", "questions", "metric", "value"),
        [
            (task, found["samples"].get(task, ""), metric, float(value))
            for task, scores in found["results"].items()
            for metric, value in scores.items()
            if "stderr" not in metric
        ],
        numbers=("questions", "value"),
    )
    note(f"{service} answered {', '.join(names)}")
