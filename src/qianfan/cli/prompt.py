"""`qianfan prompt`: templates of the platform and of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .output import emit, note, show_table

nouns = typer.Typer(help="Prompt templates: keep, render and improve them.", no_args_is_help=True)
EXCERPT = 60

Source = Annotated[str, typer.Argument(help="A file, a name on the platform, or an id such as pt-….")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="prompt")


def _prompt(source: str) -> Any:
    """The prompt of a file, of a name, or of an id."""
    from qianfan.common import Prompt, hub
    from qianfan.resources import Prompt as PromptResource

    if Path(source).is_file():
        return Prompt.from_file(source)
    if source.startswith("pt-") or source.isdigit():
        return Prompt.from_platform(PromptResource.info(source)["result"])
    return hub.load(f"prompt/{source}")


def _shown(prompt: Any) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "name": prompt.name,
        "template": prompt.template,
        "identifier": prompt.identifier,
        "variables": list(dict.fromkeys(prompt.variables)),
        "negative_template": prompt.negative_template,
        "labels": [label.get("labelName") for label in prompt.labels],
    }


@nouns.command("list")
def list_all(
    name: Annotated[str | None, typer.Argument(help="Part of the name.", show_default=False)] = None,
    preset: Annotated[bool, typer.Option("--preset", help="Those that ship with the platform.")] = False,
    json: options.JsonObject = False,
) -> None:
    """List templates: yours, or those that ship with the platform."""
    from qianfan.consts import PromptType
    from qianfan.resources import Prompt as PromptResource

    kind = PromptType.Preset if preset else PromptType.User
    rows: list[dict[str, Any]] = []
    while True:
        result = PromptResource.list(offset=len(rows), page_size=100, name=name, type=kind)["result"]
        rows += result["items"]
        if not result["items"] or len(rows) >= result["total"]:
            break
    if json:
        emit({"prompts": rows})
        return
    show_table(
        ("id", "name", "variables", "template"),
        [
            (row["templatePK"], row["templateName"], row["templateVariables"], _short(row["templateContent"]))
            for row in rows
        ],
    )
    if not rows and not preset:
        note("you have none yet; see those of the platform: qianfan prompt list --preset")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


@nouns.command("show")
def show(source: Source, json: options.JsonObject = False) -> None:
    """Show a template with its variables."""
    prompt = _prompt(source)
    if json:
        emit(_shown(prompt))
        return
    print(prompt.template)
    if prompt.negative_template:
        note(f"negative: {prompt.negative_template}")
    if prompt.variables:
        note(f"variables: {', '.join(dict.fromkeys(prompt.variables))}")


@nouns.command("render")
def render(
    source: Source,
    values: Annotated[
        list[str] | None, typer.Argument(help="Values, each as name=text.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Put values into a template, and print the prompt.

    qianfan prompt render poem.txt topic=rivers lines=4 | qianfan chat -"""
    given: dict[str, str] = {}
    for pair in values or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair!r} is no value; write name=text")
        given[name] = text
    prompt = _prompt(source)
    text, negative = prompt.render(**given)
    for name in given.keys() - {*prompt.variables, *prompt.negative_variables}:
        note(f"the template has no variable {name}")
    if json:
        emit({"prompt": text, "negative_prompt": negative})
        return
    print(text)
    if negative:
        note(f"negative: {negative}")


@nouns.command("save")
def save(
    file: Annotated[Path, typer.Argument(help="A text, or what `show --json` wrote.", exists=True)],
    name: Annotated[str | None, typer.Option(help="On the platform; default: of the file.")] = None,
    identifier: Annotated[
        str | None, typer.Option(help="What marks variables: {} {{}} [] [[]] () (()).")
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Keep a template of this machine on the platform; prints its id. One of the same name is changed."""
    from qianfan.common import Prompt, hub
    from qianfan.errors import InvalidArgumentError

    prompt = Prompt.from_file(file)
    if identifier:
        prompt = Prompt(prompt.template, name=prompt.name, identifier=identifier)
    prompt.name = name or prompt.name or file.stem
    try:
        prompt.id = hub.load(f"prompt/{prompt.name}").id
    except InvalidArgumentError:  # a new one
        prompt.id = None
    hub.push(prompt)
    emit(_shown(prompt)) if json else print(prompt.id)


@nouns.command("delete")
def delete(source: Source, json: options.JsonObject = False) -> None:
    """Delete a template of yours on the platform."""
    prompt = _prompt(source)
    ident = prompt.id
    if ident is None:
        raise typer.BadParameter(f"{source} is a file of this machine; delete it there")
    prompt.delete()
    if json:
        emit({"deleted": ident})
    else:
        note(f"deleted {ident}")


@nouns.command("optimize")
def optimize(
    source: Source,
    model: options.Model = None,
    shorten: Annotated[bool, typer.Option("--shorten", help="Make it shorter.")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=2, help="How often the model works on it.")] = 1,
    chain_of_thought: Annotated[
        bool, typer.Option("--chain-of-thought", help="Let the model think before it answers.")
    ] = False,
    json: options.JsonObject = False,
) -> None:
    """Let a model improve a prompt, and print it. Its variables stay."""
    better = _prompt(source).optimize(
        shorten=shorten, iteration_round=rounds, chain_of_thought=chain_of_thought, service_name=model
    )
    emit({"prompt": better.template}) if json else print(better.template)
