"""`qianfan model`: the registry: list, look, publish, export, import, delete."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from qianfan.errors import InternalError

from . import gate, options
from .model_files import chosen, progress, uploaded
from .output import emit, note, show_table

nouns = typer.Typer(help="Your models: publish, look, export, import, delete.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="A model version: a number, or amv-….")]
Wait = Annotated[float, typer.Option("--timeout", help="Seconds to wait.", min=1)]
WAIT_S: Final = 3600.0
LOOK_S: Final = 0.3


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="model")


@nouns.command("list")
def list_all(
    name: Annotated[str | None, typer.Option(help="A part of the name.", show_default=False)] = None,
    preset: Annotated[bool, typer.Option("--preset", help="The platform's own models instead.")] = False,
    json: options.JsonObject = False,
) -> None:
    """List your models, newest first, or those of the platform."""
    from qianfan.resources import Model

    rows: list[dict[str, Any]] = []
    total, page = 1, 1
    while len(rows) < total:
        listing = Model.preset_list if preset else Model.user_list
        result = listing(name_filter=name, page_no=page, page_size=200)["result"]
        rows, total, page = rows + result["items"], result["total"], page + 1
        if not result["items"]:
            break
    if json:
        emit({"models": rows})
    elif preset:
        show_table(
            ("id", "name", "tokens", "answers"),
            [
                (
                    row["modelIdStr"],
                    row["modelName"],
                    row["ctxLength"],
                    f"{row['servedBy']} (stand-in)" if row["standIn"] else row["servedBy"],
                )
                for row in rows
            ],
            numbers=("tokens",),
        )
    else:
        show_table(
            ("id", "name", "versions", "newest", "state", "source", "made"),
            [_row(row) for row in rows],
            numbers=("versions",),
        )


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    newest = row["latestVersionInfo"]
    return (
        row["modelIdStr"],
        row["modelName"],
        row["versionCount"],
        newest.get("versionIdStr"),
        newest.get("state"),
        newest.get("sourceType"),
        row["createTime"],
    )


@nouns.command("show")
def show(
    ident: Annotated[str, typer.Argument(help="A model (am-…) or a version (amv-…).")],
    json: options.JsonObject = False,
) -> None:
    """Show a model with its versions, or a version with the way back to its run, data and base."""
    from qianfan.resources import Model

    if ident.startswith("amv-"):
        version = Model.detail(ident)["result"]
        emit(version) if json else _show_version(version)
        return
    model = Model.list(ident)["result"]
    if json:
        emit(model)
        return
    print(f"{model['modelName']}  {model['modelIdStr']}")
    columns = ("modelVersionIdStr", "version", "state", "sourceType", "algorithm", "createTime")
    names = ("id", "version", "state", "source", "base", "made")
    show_table(names, [[row.get(name) for name in columns] for row in model["modelVersionList"]])
    if model["source"] != "PlatformPreset":
        guard = Model.V2.describe_model_gate(model["modelIdStr"])["result"]["gate"]
        if guard:
            note(f"gate: {gate.told(guard)}")
    for row in model["modelVersionList"]:
        if row.get("reason"):
            note(f"{row['modelVersionIdStr']}: {row['reason']}")


def _show_version(version: dict[str, Any]) -> None:
    lineage = version.get("lineage") or {}
    run, base = lineage.get("run"), lineage.get("base")
    rows: list[tuple[str, Any]] = [
        ("version", f"{version['modelVersionIdStr']}  {version['modelName']} {version['version']}"),
        ("state", f"{version['state']}  {version['reason']}".strip()),
        ("source", version["sourceType"]),
    ]
    while run:
        rows.append(("run", f"{run['runIdStr']}  {run['trainType']} {run['peftType']}, seed {run['seed']}"))
        rows.append(("task", f"{run['taskIdStr']}  {run['taskName']}"))
        rows += [
            ("dataset", f"{one['datasetIdStr'] or one['datasetId']}  {one['name'] or '(deleted)'}")
            for one in run["datasets"]
        ]
        run = run.get("startFrom")
    if base:
        rows.append(("base", f"{base['name']}  {base['source'] or ''}".strip()))
    if lineage.get("origin", {}).get("source"):
        rows.append(("origin", lineage["origin"]["source"]))
    proof = version.get("proof") or {}
    if proof.get("tokens"):
        rows.append(
            (
                "proof",
                f"{proof['tokens']} tokens differ by {proof['mean_difference']:.4f} nats on average, "
                f"at most {proof['bound']:.4f} are let pass",
            )
        )
    for one in lineage.get("verdicts") or []:
        said = "yes" if one["passed"] else "no"
        rows.append(
            (
                "verdict",
                f"{said}, evaluation {one['evaluationId']}, {one['metric']} against "
                f"{one['baselineName']}: {one['reason']}",
            )
        )
    show_table(("", ""), rows)


@nouns.command("publish")
def publish(
    run: Annotated[str, typer.Argument(help="The training run: a number, or task-….")],
    name: Annotated[str | None, typer.Option(help="Of a new model.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Add a version to this model instead.", show_default=False)
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="A checkpoint of the run, not its end.", min=1, show_default=False)
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="May be given again.", show_default=False)] = None,
    timeout: Wait = WAIT_S,
    json: options.JsonObject = False,
) -> None:
    """Make a model version of a run, and wait until it is proved to answer as it was trained.

    qianfan model publish task-… --name tickets"""
    from qianfan.resources import Model

    if (name is None) == (model is None):
        raise typer.BadParameter("give either --name for a new model, or --model for a new version")
    meta: dict[str, Any] = {"iterationId": run, **({"step": step} if step else {})}
    made = Model.publish(model is None, meta, model_name=name, model_id=model, tags=tag)["result"]
    _finish(made["versionIdStr"], timeout, json)


@nouns.command("import")
def import_weights(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of safetensors, a .gguf file, hf:REPO[@COMMIT], or modelscope:REPO#FILE."
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the model.")],
    kind: Annotated[Literal["chat"], typer.Option(help="What it is for.")] = "chat",
    sha256: Annotated[
        str | None, typer.Option(help="Of one file of a hub (hf:REPO#FILE).", show_default=False)
    ] = None,
    timeout: Wait = WAIT_S,
    json: options.JsonObject = False,
) -> None:
    """Bring weights from elsewhere: checked, packed for the engine, and asked before they are Ready.

    qianfan model import ./my-model --name my-model"""
    from qianfan.resources import Model

    if source.startswith(("hf:", "modelscope:")):
        meta: dict[str, Any] = {"source": source, "kind": kind, **({"sha256": sha256} if sha256 else {})}
    else:
        files = chosen(Path(source).expanduser())
        meta = {"files": uploaded(files), "kind": kind}
    model = Model.V2.create_custom_model_set(name)["result"]["modelSetId"]
    try:
        made = Model.V2.create_custom_model(model, "Import", import_meta=meta)["result"]["modelId"]
    except BaseException:
        Model.V2.delete_model_set(model)  # nothing came of it
        raise
    _finish(made, timeout, json)


@nouns.command("export")
def export(
    version: Version,
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    format: Annotated[
        Literal["safetensors", "gguf", "ollama"],
        typer.Option(help="Hugging Face layout, GGUF, or for Ollama."),
    ] = "safetensors",
    merged: Annotated[
        bool, typer.Option("--merged/--adapter", help="One whole model, or the adapter beside its base.")
    ] = True,
    dtype: Annotated[
        Literal["f32", "f16", "bf16", "q8_0"] | None,
        typer.Option(help="Of the matrices in a GGUF file; default f16.", show_default=False),
    ] = None,
    timeout: Wait = WAIT_S,
    json: options.JsonObject = False,
) -> None:
    """Write a version out in a format of others; what is written was loaded and compared first.

    qianfan model export amv-… --format ollama --out ./tickets && cd tickets && ollama create tickets -f Modelfile"""
    from qianfan.resources import Model
    from qianfan.resources.console.download import fetch

    task = _export_task(version, format, merged, dtype)
    row = _look(
        lambda: Model.V2.describe_model_export_task(exportTaskId=task, **options.PATIENT)["result"],
        lambda found: found["status"] not in ("creating", "running"),
        f"writing {version} as {format}",
        timeout,
    )
    if row["status"] != "succeeded":
        raise InternalError(f"the export failed: {row['failedReason']}")
    out.mkdir(parents=True, exist_ok=True)
    with progress("downloading", sum(file["size"] for file in row["files"])) as advance:
        for file in row["files"]:
            target = out / Path(file["name"]).name
            fetch(file["downloadUrl"], target, size=file["size"], sha256=file["sha256"], on_bytes=advance)
    if json:
        shown = [{key: file[key] for key in ("name", "size", "sha256")} for file in row["files"]]
        emit({**{key: row[key] for key in ("exportTaskId", "modelId", "format", "merged", "dtype", "proof")}, "out": str(out), "files": shown})  # fmt: skip
        return
    show_table(("file", "bytes"), [(file["name"], file["size"]) for file in row["files"]], numbers=("bytes",))
    note(f"written to {out}; {row['proof']['tokens']} tokens compared with the version: the same")
    if format == "ollama":
        note(f"next: cd {out} && ollama create NAME -f Modelfile")


def _export_task(version: str, format: str, merged: bool, dtype: str | None) -> str:
    """A finished or running export of the same kind goes on; else a new one.

    Which precision a GGUF file has that none was asked for, only the platform knows: that one is made anew."""
    from qianfan.errors import QianfanError
    from qianfan.resources import Model

    wish = {"format": format, "merged": merged, **({"dtype": dtype} if dtype else {})}
    try:
        last = Model.V2.describe_model_export_task(version)["result"]
        known = dtype is not None or format == "safetensors"
        if known and last["status"] != "failed" and all(last[key] == value for key, value in wish.items()):
            return str(last["exportTaskId"])
    except QianfanError:
        pass  # never exported, or the version is not there: starting one says so
    return str(Model.V2.create_model_export_task(version, **wish)["result"]["exportTaskId"])


@nouns.command("delete")
def delete(
    idents: Annotated[list[str], typer.Argument(help="Models (am-…) or versions (amv-…).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.JsonObject = False,
) -> None:
    """Delete models with all their versions, or single versions, and their files."""
    from qianfan.resources import Model

    if not yes:
        typer.confirm(f"delete {', '.join(idents)} and the files?", abort=True, err=True)
    versions = [ident for ident in idents if ident.startswith("amv-")]
    models = [ident for ident in idents if ident not in versions]
    if versions:
        Model.batch_delete_model_version(versions)
    if models:
        Model.batch_delete_model(models)
    if json:
        emit({"deleted": idents})
    else:
        note(f"deleted {', '.join(idents)}")


def _finish(version: str, timeout: float, json: bool) -> None:
    """Wait until a version is Ready, and show it. Raises InternalError with the reason when it fails."""
    from qianfan.resources import Model

    found = _look(
        lambda: Model.detail(version, **options.PATIENT)["result"],
        lambda row: row["state"] != "Creating",
        f"waiting for {version}",
        timeout,
    )
    if json:
        emit(found)
    elif found["state"] == "Ready":
        _show_version(found)
    if found["state"] != "Ready":
        raise InternalError(f"{version} is {found['state']}: {found['reason']}")


def _look(look: Callable[[], Any], done: Callable[[Any], bool], text: str, timeout: float) -> Any:
    """What `look` says once it is `done`. Raises InternalError when that takes too long."""
    from rich.console import Console

    end = time.monotonic() + timeout
    try:
        with Console(stderr=True).status(text):
            while not done(found := look()):
                if time.monotonic() > end:
                    raise InternalError(f"{text}: not done after {timeout:g} s; the platform goes on with it")
                time.sleep((found.get("progressDetail") or {}).get("pollAfter", LOOK_S))
    except KeyboardInterrupt:
        note(f"{text}: the platform goes on with it")
        raise
    return found
