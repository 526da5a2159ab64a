"""`qianfan serve` and `qianfan local`: the platform from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from qianfan import embedded

COMMAND_NOT_FOUND = 127
EACH = "Most for each account that has no limits of its own; 0: no limit."


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve")(serve)
    app.command("local", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(local)


def serve(
    data: Annotated[Path, typer.Option(help="Folder of everything that must survive.")] = Path(
        "qianfan-data"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8866,
    database: Annotated[
        str | None, typer.Option(help="postgresql://…; default: SQLite in the folder.")
    ] = None,
    allow_fetch: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="Let imports fetch from here though it is private."),
    ] = None,
    catalogue: Annotated[Path | None, typer.Option(help="TOML merged over the built-in catalogue.")] = None,
    objects: Annotated[
        Path | None, typer.Option(help="TOML of the object stores (S3, BOS) that datasets may use.")
    ] = None,
    bad_share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of an import's records that may be refused while the others are taken; default 0.",
        ),
    ] = None,
    print_env: Annotated[
        bool, typer.Option("--print-env", help="Print export lines before `ready`.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Allow an address that others can reach.")] = False,
    requests_per_second: Annotated[float, typer.Option(min=0, help=EACH)] = 0,
    requests_per_minute: Annotated[int, typer.Option(min=0, help="Likewise.")] = 0,
    tokens_per_minute: Annotated[int, typer.Option(min=0, help="Likewise: prompt and answer.")] = 0,
    requests_per_day: Annotated[int, typer.Option(min=0, help="Likewise; days of UTC.")] = 0,
    total_tokens: Annotated[int, typer.Option(min=0, help="Likewise, ever.")] = 0,
    most_connections: Annotated[int | None, typer.Option(min=1, help="Open at once.")] = None,
    answer_seconds: Annotated[float | None, typer.Option(min=1, help="Longest answer.")] = None,
    stall_seconds: Annotated[
        float | None, typer.Option(min=1, help="A reader that takes nothing for so long is cut.")
    ] = None,
    head_seconds: Annotated[float | None, typer.Option(min=1, help="Longest head of a request.")] = None,
    body_seconds: Annotated[
        float | None, typer.Option(min=1, help="Longest silence within a request's body.")
    ] = None,
    idle_sleep: Annotated[
        float | None,
        typer.Option(min=1, help="An engine that nobody asked for so many seconds ends until somebody does."),
    ] = None,
    train_device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="What runs train on: cpu (default), cuda or cuda:N.")
    ] = None,
    train_sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=TARGET]", help="Send the figures of runs to mlflow, wandb or swanlab, too."
        ),
    ] = None,
) -> None:
    """Run the platform until Ctrl-C. Keys are in DATA/credentials.json; `ready <url>` says it answers."""
    embedded.need_the_platform()
    command = [
        sys.executable,
        "-m",
        "qianfan_platform",
        "--data",
        str(data),
        "--host",
        host,
        "--port",
        str(port),
    ]
    for place in allow_fetch or []:
        command += ["--allow-fetch", place]
    for sink in train_sink or []:
        command += ["--train-sink", sink]
    if train_device:
        command += ["--train-device", train_device]
    if database:
        command += ["--database", database]
    if catalogue:
        command += ["--catalogue", str(catalogue)]
    if objects:
        command += ["--objects", str(objects)]
    command += ["--print-env"] if print_env else []
    command += ["--public"] if public else []
    limits = {
        "--requests-per-second": requests_per_second,
        "--requests-per-minute": requests_per_minute,
        "--tokens-per-minute": tokens_per_minute,
        "--requests-per-day": requests_per_day,
        "--total-tokens": total_tokens,
        "--most-connections": most_connections,
        "--answer-seconds": answer_seconds,
        "--stall-seconds": stall_seconds,
        "--head-seconds": head_seconds,
        "--body-seconds": body_seconds,
        "--idle-sleep": idle_sleep,
        "--bad-share": bad_share,
    }
    for name, value in limits.items():
        command += [name, f"{value:g}" if isinstance(value, float) else str(value)] if value else []
    sys.stdout.flush()
    os.execv(sys.executable, command)  # the server is this process: signals and exit code are its own


def local(context: typer.Context) -> None:
    """Run COMMAND with an embedded platform and its credentials in the environment.

    qianfan local -- python app.py

    Whatever keys the script itself sets are taken for the platform's one account."""
    if not context.args:
        raise typer.BadParameter("say what to run, for example: qianfan local -- python app.py")
    with embedded.start(use=False, any_key=True) as platform:
        print(f"qianfan local: {platform.base_url}, log in {platform.log_file}", file=sys.stderr)
        try:
            child = subprocess.Popen(context.args, env={**os.environ, **platform.environment})
        except OSError as missing:
            print(f"qianfan local: cannot run {context.args[0]}: {missing.strerror}", file=sys.stderr)
            raise typer.Exit(COMMAND_NOT_FOUND) from None
        code = _wait(child)
    raise typer.Exit(code)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Its exit code; Ctrl-C is the child's to answer, as it would be without us."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forward = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
        signal.signal(signal.SIGTERM, forward)
    return code if code >= 0 else 128 - code
