"""`qianfan service`: deploy model versions, look at them, change them, take them offline."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from qianfan.errors import InternalError

from . import options
from .options import given
from .output import emit, note, show_table

POLL_S: Final = 0.5
BUSY: Final = ("New", "Deploying")

nouns = typer.Typer(help="Services: model versions that answer under an endpoint.", no_args_is_help=True)

Ident = Annotated[str, typer.Argument(help="The service: a number, or svco-…")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until it serves; exit code 1 when it cannot.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="service")


@nouns.command("list")
def list_all(
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Only New, Deploying, Serving, Failed or Stopped; may be repeated.", show_default=False
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only names with this part.", show_default=False)] = None,
    presets: Annotated[bool, typer.Option("--presets", help="The platform's own instead of yours.")] = False,
    json: options.JsonObject = False,
) -> None:
    """List services and what state they are in."""
    from qianfan.resources import Service

    rows: list[dict[str, Any]] = []
    if presets:
        rows = Service.V2.describe_preset_services()["result"]["serviceList"]
    marker: str | None = None
    while not presets:
        asked = given(name=name, run_status=status, marker=marker)
        result = Service.V2.describe_services(max_keys=100, **asked)["result"]
        rows += result["serviceList"]
        marker = result["pageInfo"].get("nextMarker")
        if marker is None:
            break
    if json:
        emit({"serviceList": rows})
        return
    if presets:
        show_table(
            ("endpoint", "type", "name", "answered by"),
            [
                (
                    row["endpoint"],
                    row["serviceType"],
                    row["name"],
                    f"{row['servedBy']}{' (stand-in)' * row['standIn']}",
                )
                for row in rows
            ],
        )
        return
    show_table(
        ("id", "service", "name", "endpoint", "status", "engines", "model"),
        [
            (
                row["id"],
                row["serviceId"],
                row["name"],
                row["endpoint"],
                _status(row),
                _engines(row),
                row["modelId"],
            )
            for row in rows
        ],
        numbers=("id",),
    )


@nouns.command("show")
def show(service: Ident, json: options.JsonObject = False) -> None:
    """Show one service: its state and why, its endpoint, its engines."""
    from qianfan.resources import Service

    _tell(Service.V2.describe_service(service)["result"], json)


@nouns.command("create")
def create(
    version: Annotated[str, typer.Argument(help="The model version: a number, or amv-…")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "service",
    uri: Annotated[str, typer.Option(help="The end of its endpoint: letters, digits, - and _.")] = "chat",
    replicas: Annotated[int, typer.Option(min=1, max=64, help="Engines.")] = 1,
    description: Annotated[str | None, typer.Option(show_default=False)] = None,
    wait: Wait = True,
    json: options.JsonObject = False,
) -> None:
    """Deploy a model version, and wait until it answers.

    qianfan service create amv-… --name tickets --uri tickets"""
    from qianfan.resources import Model, Service

    detail = Model.detail(version)["result"]
    made = Service.create(
        detail["modelId"],
        detail["modelVersionId"],
        name=name,
        uri=uri,
        replicas=replicas,
        **given(description=description),
    )["result"]
    _finish(made["serviceId"], wait, json)


@nouns.command("update")
def update(
    service: Ident,
    version: Annotated[str, typer.Argument(help="The version that is to answer: a number, or amv-…")],
    wait: Wait = True,
    json: options.JsonObject = False,
) -> None:
    """Let a service answer with another version, without a pause."""
    from qianfan.resources import Model, Service

    detail = Model.detail(version)["result"]
    Service.update(service, detail["modelId"], detail["modelVersionId"])
    _finish(service, wait, json)


@nouns.command("scale")
def scale(
    service: Ident,
    replicas: Annotated[int, typer.Argument(min=1, max=64, help="Engines.")],
    json: options.JsonObject = False,
) -> None:
    """Have another number of engines answer for a service."""
    from qianfan.resources import Service

    _tell(Service.scale(service, replicas)["result"], json)


@nouns.command("stop")
def stop(service: Ident, json: options.JsonObject = False) -> None:
    """Take a service offline. It keeps its endpoint."""
    from qianfan.resources import Service

    _tell(Service.stop(service)["result"], json)


@nouns.command("start")
def start(service: Ident, wait: Wait = True, json: options.JsonObject = False) -> None:
    """Put a service online again that was stopped, or failed."""
    from qianfan.resources import Service

    Service.start(service)
    _finish(service, wait, json)


@nouns.command("delete")
def delete(
    service: Ident,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.JsonObject = False,
) -> None:
    """Delete a service for good, and free what it used."""
    from qianfan.resources import Service

    if not yes:
        told = Service.V2.describe_service(service)["result"]
        typer.confirm(f"Delete {told['name']} ({told['endpoint']})?", abort=True, err=True)
    Service.delete(service)
    if json:
        emit({"deleted": service})


def _finish(service: int | str, wait: bool, json: bool) -> None:
    """Wait for the end of what was begun, if that is wanted; raise when it went wrong."""
    from qianfan.resources import Service

    told = Service.V2.describe_service(service)["result"]
    try:
        while wait and (told["runStatus"] in BUSY or told["updateStatus"] == "Updating"):
            time.sleep(float(told["progressDetail"].get("pollAfter", POLL_S)))
            told = Service.V2.describe_service(service, **options.PATIENT)["result"]
    except KeyboardInterrupt:
        note(f"the platform goes on with it: qianfan service show {service}")
        raise
    _tell(told, json)
    if wait and told["runStatus"] == "Failed":
        raise InternalError(f"service {told['id']} failed: {told['reason']}")
    if wait and told["updateStatus"] == "Failed":
        raise InternalError(
            f"service {told['id']} was not updated, and answers as before: {told['updateReason']}"
        )


def _tell(row: dict[str, Any], json: bool) -> None:
    if json:
        emit(row)
        return
    rows = [
        ("service", f"{row['id']}  {row['serviceId']}"),
        ("name", row["name"]),
        ("endpoint", row["endpoint"]),
        ("url", row["url"]),
        ("model", f"{row['modelSetId']}  {row['modelId']}"),
        ("status", _status(row)),
        ("engines", _engines(row)),
        ("reason", row["reason"] or row["updateReason"]),
        ("since", row["createTime"]),
    ]
    show_table(("", ""), [pair for pair in rows if pair[1]])
    if row["engines"]["warning"]:
        note(row["engines"]["warning"])


def _status(row: dict[str, Any]) -> str:
    words = {"Updating": ", is being updated", "Failed": ", the update failed"}
    return f"{row['runStatus']}{words.get(row['updateStatus'], '')}"


def _engines(row: dict[str, Any]) -> str:
    engines = row["engines"]
    return f"{engines['running']}/{engines['wanted']} {engines['state']}"
