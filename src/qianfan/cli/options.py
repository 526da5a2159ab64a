"""Options that several commands take, and texts that come as arguments or on standard input."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

from qianfan.contract.models import find
from qianfan.resources.llm.base import ModelClient

STDIN: Final = "-"

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model by name, or a service of your own.", show_default=False),
]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", "-e", help="A service by its address.", show_default=False)
]
Temperature = Annotated[
    float | None, typer.Option(help="0 to 1: how much chance has a say.", show_default=False)
]
TopP = Annotated[float | None, typer.Option("--top-p", help="0 to 1.", show_default=False)]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", help="Longest answer, in tokens.", show_default=False)
]
Streamed = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="In pieces as they come; default: yes, with --json no."),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object; with --stream JSON lines, the object last.")
]
JsonObject = Annotated[bool, typer.Option("--json", help="One JSON object.")]
V2 = Annotated[bool, typer.Option("--v2", help="Speak the V2 (OpenAI-shaped) interface.")]
Timeout = Annotated[float, typer.Option(help="Seconds; of a stream, between two pieces.", min=0.1)]
PATIENT: Final[dict[str, Any]] = {"retry_count": 6, "backoff_factor": 1.0}
"""Of every look of a command that waits: a server that starts again within half a minute is waited for."""
TIMEOUT_S: Final = 180.0  # a fresh platform fetches its weights before the first answer


def named(client: type[ModelClient], model: str | None, endpoint: str | None) -> dict[str, Any]:
    """`model=` or `endpoint=` for a client; a name that is no preset is taken for a service of your own."""
    if endpoint:
        return {"endpoint": endpoint}
    if not model:
        return {}
    return {"model": model} if find(client.table(), model) else {"endpoint": model}


def given(**values: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def check_mode(mode: str | None) -> None:
    """Refuse a mode of training that there is not. Raises BadParameter."""
    from qianfan.contract.enums import TrainMode

    modes = [one.value for one in TrainMode]
    if mode is not None and mode not in modes:
        raise typer.BadParameter(f"--mode is one of {', '.join(modes)}")


def text_of(words: list[str] | None, what: str) -> str:
    """The arguments as one text, `-` being standard input; without arguments, what is piped in.

    Raises BadParameter when there is no text."""
    if words:
        parts = [sys.stdin.read().strip() if word == STDIN else word for word in words]
        text = " ".join(part for part in parts if part)
    else:
        text = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    if not text.strip():
        raise typer.BadParameter(f"there is no {what}: give it as an argument, or pipe it in")
    return text


def lines_of(texts: list[str] | None, what: str) -> list[str]:
    """The arguments, `-` or no argument at all being the lines of standard input that are not empty.

    Raises BadParameter when there is none."""
    found: list[str] = []
    for text in texts or ([] if sys.stdin.isatty() else [STDIN]):
        if text == STDIN:
            found += [line.strip() for line in sys.stdin.read().splitlines()]
        else:
            found.append(text)
    found = [text for text in found if text.strip()]
    if not found:
        raise typer.BadParameter(f"there are no {what}: give them as arguments, or pipe in one a line")
    return found
