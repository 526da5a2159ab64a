"""The command `qianfan`."""

from __future__ import annotations

import sys

import typer

from qianfan.errors import QianfanError

from . import demo, doctor, platform, trainer

app = typer.Typer(
    name="qianfan",
    help="The LLM platform you can own: serve it, tune a model on it, talk to it.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
platform.add_to(app)
demo.add_to(app)
doctor.add_to(app)
trainer.add_to(app)

FAILED = 1


def main() -> None:
    """Run the command; an error of ours is one plain text and exit code 1."""
    try:
        app()
    except QianfanError as error:
        print(f"qianfan: {error}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
