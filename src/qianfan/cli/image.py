"""`qianfan image`: have a model draw, or say what is in a picture."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from . import options
from .answer import receive, shower
from .options import given, named, text_of
from .output import emit, note

QUESTION: Final = "What is in this picture?"
KINDS: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp", b"GIF8": "gif"}

nouns = typer.Typer(help="Draw pictures, and have them described.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="image")


@nouns.command("make")
def make(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="What to draw; nothing: what is piped in.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder, or file of a single picture.")] = Path(),
    size: Annotated[str | None, typer.Option(help="As in 1024x1024.", show_default=False)] = None,
    count: Annotated[int | None, typer.Option("-n", min=1, max=4, show_default=False)] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", help="What not to draw.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(show_default=False)] = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    json: options.JsonObject = False,
    timeout: options.Timeout = 600.0,
) -> None:
    """Have a model draw, and save the pictures. Prints their files.

    qianfan image make "a red kettle on a blue table" --out kettle.png"""
    from qianfan.resources import Text2Image

    text = text_of(prompt, "prompt")
    client, who = Text2Image(), named(Text2Image, model, endpoint)
    more = given(size=size, n=count, negative_prompt=negative, seed=seed, request_timeout=timeout)

    async def ask() -> Any:
        return await client.ado(text, **who, **more)

    rows = asyncio.run(ask())["data"]
    files = [_save(base64.b64decode(row["b64_image"]), out, number) for number, row in enumerate(rows, 1)]
    if json:
        emit({"model": endpoint or model or Text2Image.default_model, "files": [str(file) for file in files]})
    else:
        for file in files:
            print(file)


def _save(content: bytes, out: Path, number: int) -> Path:
    """Write one picture; a name that is taken is not overwritten in a folder, only where a file was named."""
    kind = next((kind for mark, kind in KINDS.items() if content.startswith(mark)), "bin")
    if out.suffix and not out.is_dir():
        file = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
    else:
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"image-{number}.{kind}"
        while file.exists():
            number += 1
            file = out / f"image-{number}.{kind}"
    file.write_bytes(content)
    return file


@nouns.command("describe")
def describe(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A picture.")],
    question: Annotated[str, typer.Argument(help="What to say of it.")] = QUESTION,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    json: options.JsonObject = False,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Have a model say what is in a picture.

    qianfan image describe kettle.png "What colour is the table?" """
    from qianfan.resources import Image2Text

    client, who = Image2Text(), named(Image2Text, model, endpoint)
    picture = base64.b64encode(file.read_bytes()).decode()
    with asyncio.Runner() as runner:
        answer = receive(
            runner,
            lambda: client.ado(prompt=question, image=picture, request_timeout=timeout, **who),
            shower(json=json, streamed=False),
        )
    if json:
        emit(answer.as_json(model=endpoint or model or Image2Text.default_model))
    elif sys.stderr.isatty():
        note(answer.summary())
