"""`qianfan completion`: have a model go on with a text."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from . import options
from .answer import receive, shower
from .options import given, named, text_of
from .output import emit, note


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("completion")(completion)


def completion(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="The text to go on with; `-` or nothing: what is piped in.", show_default=False),
    ] = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    stream: options.Streamed = None,
    json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Have a model go on with a text.

    qianfan completion --model CodeLlama-7b-Instruct "def fibonacci(n):" """
    from qianfan.resources import Completion

    text = text_of(prompt, "prompt")
    more = given(temperature=temperature, top_p=top_p, max_output_tokens=max_tokens, request_timeout=timeout)
    who = named(Completion, model, endpoint)
    client, streamed = Completion(), not json if stream is None else stream
    with asyncio.Runner() as runner:
        answer = receive(
            runner,
            lambda: client.ado(text, stream=streamed, **who, **more),
            shower(json=json, streamed=streamed),
        )
    if json:
        emit(answer.as_json(model=endpoint or model or Completion.default_model))
    elif sys.stderr.isatty():
        note(answer.summary())
