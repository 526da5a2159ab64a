"""`qianfan chat`: ask once, or talk."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from . import options
from .answer import receive, shower
from .conversation import Conversation
from .options import given, text_of
from .output import emit, note
from .repl import Repl

LOCAL_ATTEMPTS: Final = 4  # weights that are fetched first take a minute or two


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("chat")(chat)


def chat(
    message: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask, `-` for what is piped in; nothing: talk.", show_default=False),
    ] = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    system: Annotated[
        str, typer.Option("--system", "-s", help="What the model is to keep in mind.", show_default=False)
    ] = "",
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    stream: options.Streamed = None,
    json: options.Json = False,
    v2: options.V2 = False,
    local: Annotated[
        bool, typer.Option("--local", help="Start a platform on this machine for the time of the chat.")
    ] = False,
    timeout: options.Timeout = options.TIMEOUT_S,
    history: Annotated[
        bool,
        typer.Option(
            "--history/--no-history",
            envvar="QIANFAN_CHAT_HISTORY",
            help="Remember the lines typed, in a file of yours.",
        ),
    ] = True,
) -> None:
    """Ask a model once, or talk with it: without a message a conversation begins.

    qianfan chat "Name a river in China."

    qianfan chat --local

    git diff | qianfan chat "Review this:" -"""
    talk = Conversation(
        model=model,
        endpoint=endpoint,
        system=system,
        v2=v2,
        options=given(temperature=temperature, top_p=top_p, max_tokens=max_tokens, request_timeout=timeout),
    )
    if local:
        talk.options["retry_count"] = LOCAL_ATTEMPTS
    on_terminal = sys.stdin.isatty() and not message
    if json and on_terminal:
        raise typer.BadParameter("--json needs a message: give it as an argument, or pipe it in")
    text = "" if on_terminal else text_of(message, "message")
    with _platform() if local else contextlib.nullcontext():
        talk.check()
        if on_terminal:
            Repl(talk, streamed=stream is not False, keep_history=history).run()
        else:
            _once(talk, text, json=json, streamed=not json if stream is None else stream)


def _once(talk: Conversation, text: str, *, json: bool, streamed: bool) -> None:
    talk.asked(text)
    with asyncio.Runner() as runner:
        answer = receive(runner, lambda: talk.ask(streamed), shower(json=json, streamed=streamed))
    if json:
        emit(answer.as_json(model=talk.answering))
    elif sys.stderr.isatty():
        note(answer.summary())


@contextlib.contextmanager
def _platform() -> Iterator[None]:
    """A platform for the time of a block; the SDK of this process speaks to it."""
    from qianfan import embedded

    with embedded.start() as platform:
        note(f"a platform for this chat: {platform.base_url}")
        yield
