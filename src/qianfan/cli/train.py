"""`qianfan finetune run`: from a file of examples to a model that answers, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from . import options
from .output import emit, note, show_table

TRAINERS: Final = {"SFT": "LLMFinetune", "PostPretrain": "PostPreTrain", "DPO": "DPO"}
HYPER: Final = "Hyper-parameters"
SERVED: Final = ("service_id", "service_endpoint")


def add_to(nouns: typer.Typer) -> None:
    """Register the command."""
    nouns.command("run")(run)


def run(
    data: Annotated[
        list[str],
        typer.Argument(help="A file of examples, or a dataset on the platform (ds-…).", metavar="DATA"),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="What to train: `qianfan finetune models`.", show_default=False),
    ] = None,
    mode: Annotated[
        Literal["SFT", "PostPretrain", "DPO"],
        typer.Option(help="SFT: conversations; PostPretrain: texts; DPO: better and worse answers."),
    ] = "SFT",
    name: Annotated[str | None, typer.Option(help="Of the task on the platform.", show_default=False)] = None,
    further: Annotated[
        str | None, typer.Option("--from", help="A run (task-…) to train further.", show_default=False)
    ] = None,
    deploy: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX", help="Deploy what comes out; its endpoint ends in this.", show_default=False
        ),
    ] = None,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Keep it in the registry.")] = True,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A .json or .yaml of a TrainConfig; the options below go before it.",
            rich_help_panel=HYPER,
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Literal["LoRA", "ALL", "P-tuning"] | None, typer.Option(rich_help_panel=HYPER, show_default=False)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data.", rich_help_panel=HYPER, show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples a step.", rich_help_panel=HYPER, show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, rich_help_panel=HYPER, show_default=False)
    ] = None,
    max_seq_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens.", rich_help_panel=HYPER, show_default=False)
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            min=0, max=50, help="Percent kept back to measure on.", rich_help_panel=HYPER, show_default=False
        ),
    ] = None,
    too_long: Annotated[
        Literal["refuse", "drop", "truncate", "split"] | None,
        typer.Option(
            help="What becomes of samples that do not fit.", rich_help_panel=HYPER, show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, rich_help_panel=HYPER, show_default=False)] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other of `qianfan finetune models MODEL`.",
            rich_help_panel=HYPER,
            show_default=False,
        ),
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Train on examples, publish the model, and deploy it if asked; wait, and show what came out.

    Several DATA are mixed. Ctrl-C stops the waiting, not the run; `qianfan finetune resume` goes on with it.

    qianfan finetune run tickets.jsonl -m SmolLM2-135M-Instruct --epochs 3 --deploy tickets"""
    from qianfan import trainer as trainers
    from qianfan.contract import train_types

    set_here = options.given(
        peft_type=method,
        epoch=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_seq_len=max_seq_len,
        trainset_rate=held_out,
        too_long=too_long,
        seed=seed,
    )
    others = options.given(
        name=name,
        previous_task_id=further,
        deploy_config=_deployment(deploy, mode, publish),
        model_not_publish=None if publish or mode == "PostPretrain" else True,
        # what this release does not know may be the platform's own
        validate_strict=None if model is None or train_types.find(model) else False,
    )
    trained = getattr(trainers, TRAINERS[mode])(
        train_type=_train_type(model, further),
        dataset=_dataset(data),
        train_config=_config(config, set_here, more or []),
        **others,
    )
    trained.run(show_progress=False if json else None)
    made = trained.output if isinstance(trained.output, dict) else {}
    told = {
        "run": _run_of(made),
        **_model_of(made),
        **options.given(**{key: made.get(key) for key in SERVED}),
    }
    if json:
        emit(told)
        return
    show_table(("", ""), told.items())
    note(
        f"what it learned: qianfan finetune show {told['run']}; its curves: qianfan finetune curves {told['run']}"
    )
    if endpoint := told.get("service_endpoint"):
        note(f'ask it: qianfan chat -e {endpoint} "…"')


def _run_of(made: dict[str, Any]) -> Any:
    """The run among the ids of a training, as the other commands list it: its `task-…` where it has one."""
    from qianfan.model.runs import Run

    return Run(made["task_id"], made["job_id"]).public_id()


def _model_of(made: dict[str, Any]) -> dict[str, Any]:
    """The model and its version, as the other commands list them: `am-…` and `amv-…` where they have those."""
    from qianfan.resources import Model

    version = made.get("model_version_id")
    if version is None:
        return {}
    found = Model.detail(version)["result"]
    return {
        "model_id": found.get("modelIdStr") or made.get("model_id"),
        "model_version_id": found.get("modelVersionIdStr") or version,
    }


def _train_type(model: str | None, further: str | None) -> str | None:
    """What to train; with a run to go on from, what that one trained."""
    from qianfan.contract import train_types

    return model or (None if further else train_types.DEFAULT)


def _dataset(data: list[str]) -> Any:
    from qianfan.dataset import Dataset
    from qianfan.trainer.configs import DatasetConfig

    found: list[Any] = []
    for text in data:
        path = Path(text)
        if not path.exists() and (text.startswith("ds-") or text.isdigit()):
            found.append(Dataset.load(qianfan_dataset_id=text, is_download_to_local=False))
        else:
            found.append(Dataset.load(data_dir=path) if path.is_dir() else Dataset.load(data_file=path))
    return found[0] if len(found) == 1 else DatasetConfig(datasets=found)


def _config(file: Path | None, set_here: dict[str, Any], more: list[str]) -> Any:
    """The file's settings, with what the command line says in their place."""
    from qianfan.trainer.configs import TrainConfig

    base = TrainConfig.load(file).model_dump(exclude_unset=True) if file else {}
    extras = {**(base.pop("extras", None) or {}), **dict(map(_pair, more))}
    known = {name: extras.pop(name) for name in [*extras] if name in TrainConfig.model_fields}
    settings = {**base, **known, **set_here}
    return TrainConfig(**settings, extras=extras or None) if settings or extras else None


def _pair(text: str) -> tuple[str, Any]:
    """`lora_rank=8` → ("lora_rank", 8); what is no JSON is a text."""
    import orjson

    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise typer.BadParameter(f"--set takes KEY=VALUE, not {text!r}")
    try:
        return key.strip(), orjson.loads(value)
    except orjson.JSONDecodeError:
        return key.strip(), value


def _deployment(prefix: str | None, mode: str, publish: bool) -> Any:
    if prefix is None:
        return None
    if mode == "PostPretrain" or not publish:
        raise typer.BadParameter("only a model that is published can be deployed", param_hint="--deploy")
    from qianfan.trainer.configs import DeployConfig

    return DeployConfig(name=prefix, endpoint_prefix=prefix)
