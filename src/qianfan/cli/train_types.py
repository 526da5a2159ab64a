"""`qianfan finetune models`: what can be trained, by which mode and method, with which hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from . import options
from .output import emit, show_table


def add_to(nouns: typer.Typer) -> None:
    """Register the command."""
    nouns.command("models")(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A train type: its hyper-parameters are shown.", metavar="MODEL", show_default=False
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="Only this mode: SFT, PostPretrain or DPO.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """List what can be trained; with a MODEL its hyper-parameters, their defaults and ranges.

    qianfan finetune models ERNIE-Speed --mode SFT"""
    from qianfan.errors import InvalidArgumentError
    from qianfan.resources import FineTune

    options.check_mode(mode)
    found = FineTune.V2.supported_models()["result"]
    if name is not None:
        known = [row["model"] for row in found]
        found = [row for row in found if row["model"] == name]
        if not found:
            raise InvalidArgumentError(
                f"{name} cannot be trained here", advice=f"known are {', '.join(known)}"
            )
    if mode is not None:
        found = [{**row, "supportTrainMode": _only(row, mode)} for row in found]
    if json:
        emit({"models": found})
    elif name is None:
        show_table(
            ("model", "base", "mode", "by"),
            [
                (row["model"], row.get("baseModel"), kind["trainMode"], ", ".join(_methods(kind)))
                for row in found
                for kind in row["supportTrainMode"]
            ],
        )
    else:
        show_table(("mode", "by", "key", "default", "takes", "the cloud takes"), _rows(found[0]))


def _only(row: dict[str, Any], mode: str) -> list[dict[str, Any]]:
    return [kind for kind in row["supportTrainMode"] if kind["trainMode"] == mode]


def _methods(kind: dict[str, Any]) -> list[str]:
    return [scale["parameterScale"] for scale in kind["supportParameterScale"]]


def _rows(row: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for kind in row["supportTrainMode"]:
        for scale in kind["supportParameterScale"]:
            for entry in scale["supportHyperParameterConfig"]:
                yield (
                    kind["trainMode"],
                    scale["parameterScale"],
                    entry["key"],
                    _plain(entry["default"]),
                    _values(entry["checkValue"], entry.get("checkType") == "range"),
                    _values(entry.get("cloudValue") or [], entry.get("cloudCheckType") == "range"),
                )


def _values(values: list[Any], span: bool) -> str:
    return (" … " if span else ", ").join(map(_plain, values))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
