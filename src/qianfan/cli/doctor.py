"""`qianfan doctor`: what is set, what is installed, what can be reached; with the fix for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qianfan.config import get_config

OURS, THE_OTHER = "open-qianfan", "qianfan"
CONNECT_S = 3.0
EXTRAS = {
    "platform": ("starlette", "uvicorn", "sqlalchemy", "alembic", "cryptography", "gguf", "xllamacpp"),
    "train": ("torch", "transformers", "peft", "safetensors"),
    "dataset": ("yaml",),
    "redis": ("redis",),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fix` says what to do when it is not ok."""

    what: str
    state: Literal["ok", "note", "problem"]
    found: str
    fix: str = ""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor")(doctor)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Check credentials, network, extras and weights. Exit code 1 when something must be mended."""
    findings = [*_python(), *_distribution(), *_credentials(), *_network(), *_extras(), *_weights()]
    if json:
        sys.stdout.write(orjson.dumps([asdict(finding) for finding in findings]).decode() + "\n")
    else:
        show(findings)
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", "ok", version)


def _distribution() -> Iterator[Finding]:
    try:
        yield Finding(OURS, "ok", distribution(OURS).version)
    except PackageNotFoundError:
        yield Finding(OURS, "note", "run from a folder, not installed", f"pip install {OURS}")
    try:
        version = distribution(THE_OTHER).version
    except PackageNotFoundError:
        return
    yield Finding(
        "another `qianfan`",
        "problem",
        f"the distribution {THE_OTHER} {version} is installed beside ours, and both own `import qianfan`",
        f"pip uninstall {THE_OTHER}; pip install --force-reinstall {OURS}",
    )


def _credentials() -> Iterator[Finding]:
    config = get_config()
    pairs = {
        "inference (AK, SK)": ("AK", "SK"),
        "console (ACCESS_KEY, SECRET_KEY)": ("ACCESS_KEY", "SECRET_KEY"),
    }
    for what, (first, second) in pairs.items():
        halves = [bool(getattr(config, name)) for name in (first, second)]
        if all(halves):
            yield Finding(f"keys for {what}", "ok", "set")
        elif any(halves):
            yield Finding(
                f"keys for {what}",
                "problem",
                "only one half of the pair is set",
                f"set both QIANFAN_{first} and QIANFAN_{second}",
            )
        else:
            yield Finding(
                f"keys for {what}",
                "note",
                "not set",
                f"set QIANFAN_{first} and QIANFAN_{second}, or run `qianfan local -- COMMAND`",
            )


def _network() -> Iterator[Finding]:
    import socket

    config = get_config()
    for name in ("BASE_URL", "CONSOLE_API_BASE_URL"):
        url = str(getattr(config, name))
        parts = urlsplit(url)
        place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        try:
            socket.create_connection(place, CONNECT_S).close()
        except OSError as error:
            yield Finding(
                f"QIANFAN_{name}",
                "note",
                f"{parts.hostname}:{place[1]} cannot be reached: {error.strerror or error}",
                "start `qianfan serve` and set the variable to its address, or mend the network",
            )
        else:
            yield Finding(f"QIANFAN_{name}", "ok", f"{parts.hostname}:{place[1]} answers")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        if absent:
            yield Finding(
                f"extra {extra}", "note", f"lacks {', '.join(absent)}", f"pip install '{OURS}[{extra}]'"
            )
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _weights() -> Iterator[Finding]:
    if find_spec("gguf") is None:
        return
    from qianfan import embedded

    for name, state in embedded.weights().items():
        fix = "" if state == "ready" else "they are fetched when first needed"
        yield Finding(f"weights {name}", "ok" if state == "ready" else "note", state, fix)


def show(findings: list[Finding]) -> None:
    """Print the findings as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "what", "found", "fix"):
        table.add_column(name, overflow="fold")
    marks = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "problem": "[red]✗[/]"}
    for finding in findings:
        texts = (escape(text) for text in (finding.what, finding.found, finding.fix))
        table.add_row(marks[finding.state], *texts)
    Console().print(table)
