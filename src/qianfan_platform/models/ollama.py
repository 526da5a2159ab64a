"""A Modelfile for Ollama: the model's chat template as a Go template, its end tokens, its parameters.

Ollama reads no Jinja. What a template writes is learned by asking the engine that renders it: the text before,
between and after the messages, for each role that follows another. A template that is more than such texts
cannot be written so, and is refused: `check` compares with what the engine renders of other conversations.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Message = dict[str, str]
Render = Callable[[Sequence[Message]], Awaitable[str]]
"""A conversation as the prompt up to where the answer begins."""

S, A, B, C = "⟦system⟧", "⟦first⟧", "⟦second⟧", "⟦third⟧"
CHECKED: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    (("user", "What is 2 + 3?"),),
    (("system", "Be brief."), ("user", "Name a river.")),
    (("user", "你好"), ("assistant", "你好！"), ("user", "Once more?")),
    (
        ("system", "You count."),
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
        ("assistant", "four {{ five }}"),
        ("user", 'a "quoted" line\nand another'),
    ),
)


class NoGoTemplate(Exception):
    """The chat template cannot be written as a Go template; the text says where it differs."""


@dataclass(frozen=True)
class Texts:
    """What stands before a message of a role, by the role before it ("" at the start), and at the end."""

    before: dict[tuple[str, str], str] = field(default_factory=dict)  # (role before, role) → text
    end: str = ""  # after the last question: where the answer begins

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation that ends with a question, as the Go template writes it. Raises KeyError."""
        said, role = "", ""
        for message in messages:
            said += self.before[role, message["role"]] + message["content"]
            role = message["role"]
        return said + self.end


async def texts_of(render: Render) -> Texts:
    """The texts of a chat template. Raises NoGoTemplate."""
    one = _split(await render([_user(A)]), A)
    turns = _split(await render([_user(A), _assistant(B), _user(C)]), A, B, C)
    before = {("", "user"): one[0], ("user", "assistant"): turns[1], ("assistant", "user"): turns[2]}
    if one[0] != turns[0] or one[1] != turns[3]:
        raise NoGoTemplate("the chat template writes the first turn differently when others follow")
    try:
        system = _split(await render([{"role": "system", "content": S}, _user(A)]), S, A)
    except NoGoTemplate:
        raise
    except Exception as problem:
        raise NoGoTemplate(f"the chat template takes no system text: {problem}") from problem
    before |= {("", "system"): system[0], ("system", "user"): system[1]}
    return Texts(before, one[1])


async def check(texts: Texts, render: Render) -> None:
    """Compare with the engine on other conversations. Raises NoGoTemplate."""
    for turns in CHECKED:
        messages = [{"role": role, "content": content} for role, content in turns]
        ours, theirs = texts.render(messages), await render(messages)
        if ours != theirs:
            at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
            raise NoGoTemplate(
                f"the chat template is more than texts around the messages: of {len(messages)} messages it writes "
                f"{theirs[at : at + 40]!r} where a Go template would write {ours[at : at + 40]!r}"
            )


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _split(text: str, *marks: str) -> list[str]:
    """The texts around the marks, which must be there once each, in order."""
    found = []
    for mark in marks:
        before, there, text = text.partition(mark)
        if not there or mark in text:
            raise NoGoTemplate("the chat template drops or repeats what a message says")
        found.append(before)
    return [*found, text]


def go_template(texts: Texts) -> str:
    """The texts as a template of Go's text/template, as Ollama gives it `.Messages`.

    All texts are quoted, and every action eats the space around it, so that not a character is left to chance."""
    before = texts.before
    lines = [
        '{{- $before := "" -}}',
        "{{- range .Messages -}}",
        '{{- if eq .Role "system" -}}',
        f"{{{{- {_quoted(before['', 'system'])} -}}}}",
        '{{- else if eq .Role "user" -}}',
        '{{- if eq $before "" -}}',
        f"{{{{- {_quoted(before['', 'user'])} -}}}}",
        '{{- else if eq $before "system" -}}',
        f"{{{{- {_quoted(before['system', 'user'])} -}}}}",
        "{{- else -}}",
        f"{{{{- {_quoted(before['assistant', 'user'])} -}}}}",
        "{{- end -}}",
        "{{- else -}}",
        f"{{{{- {_quoted(before['user', 'assistant'])} -}}}}",
        "{{- end -}}",
        "{{- .Content -}}",
        "{{- $before = .Role -}}",
        "{{- end -}}",
        f'{{{{- if ne $before "assistant" -}}}}{{{{- {_quoted(texts.end)} -}}}}{{{{- end -}}}}',
    ]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A string of Go on one line, whose escapes are those of JSON. It never holds three quotes in a row, which
    would end the template in a Modelfile."""
    return json.dumps(text, ensure_ascii=False)


def modelfile(
    *, model: str, template: str, stops: Sequence[str], parameters: dict[str, Any], adapter: str = ""
) -> str:
    """The text of a Modelfile. model, adapter: names of files beside it."""
    lines = [f"FROM ./{model}"]
    if adapter:
        lines.append(f"ADAPTER ./{adapter}")
    lines.append(f'TEMPLATE """{template}"""')
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines += [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    return "\n".join(lines) + "\n"
