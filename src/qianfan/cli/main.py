"""The command `qianfan`."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, NoReturn

import typer

from qianfan import VERSION
from qianfan.utils.logging import RedactingFormatter, enable_log, logger

from . import (
    chat,
    completion,
    dataset,
    demo,
    doctor,
    embedding,
    evaluation,
    failures,
    faults,
    finetune,
    image,
    kb,
    key,
    limits,
    model,
    models,
    platform,
    plugin,
    prompt,
    rerank,
    service,
    token,
    usage,
)

app = typer.Typer(
    name="qianfan",
    help="The LLM platform you can own: serve it, tune a model on it, talk to it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
_debug = False  # of this process: `qianfan --debug …`


def _print_version(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


@app.callback()
def every_command(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the SDK's log.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """The LLM platform you can own: serve it, tune a model on it, talk to it."""
    global _debug
    _debug = debug
    if debug:
        enable_log("DEBUG")
        return
    for handler in logger.handlers:  # a person reads it, not a log file
        handler.setFormatter(RedactingFormatter("qianfan: %(message)s"))


for noun in (
    chat,
    completion,
    embedding,
    rerank,
    plugin,
    kb,
    prompt,
    image,
    dataset,
    model,
    service,
    models,
    evaluation,
    usage,
    limits,
    faults,
    key,
    token,
    platform,
    demo,
    doctor,
    finetune,
):
    noun.add_to(app)


def run(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line; an error is one plain text. Ends with the exit codes of `failures`."""
    try:
        app(arguments, prog_name="qianfan")
    except KeyboardInterrupt:
        sys.exit(failures.INTERRUPTED)
    except Exception as error:
        sys.exit(failures.tell(error, debug=_debug))
    sys.exit()


def main() -> None:
    """The script `qianfan`.

    The process ends without taking the interpreter down first: threads of the HTTP library may still be letting
    go of what they held, and an interpreter that shuts down under them aborts."""
    try:
        run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a reader that has left
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
