"""Prompts of the platform by name: `hub.load("prompt/NAME")`, `hub.push(prompt)`."""

from __future__ import annotations

from typing import Any, Final

from qianfan.common.prompt import Prompt
from qianfan.contract.enums import PromptType
from qianfan.errors import InvalidArgumentError
from qianfan.resources.console.prompt import Prompt as PromptResource

PROMPTS: Final = "prompt/"


def load(path: str, **kwargs: Any) -> Prompt:
    """The prompt `prompt/NAME`: the account's own first, then that of the platform.

    Raises InvalidArgumentError when there is none."""
    if not path.startswith(PROMPTS) or path == PROMPTS:
        raise InvalidArgumentError(f"{path!r} names nothing of the hub", advice='write "prompt/NAME"')
    name = path.removeprefix(PROMPTS)
    for kind in (PromptType.User, PromptType.Preset):
        for row in PromptResource.list(name=name, type=kind, **kwargs)["result"]["items"]:
            if row["templateName"] == name:
                return Prompt.from_platform(row)
    raise InvalidArgumentError(
        f"there is no prompt called {name!r}", advice="see what there is with qianfan.Prompt.list()"
    )


def push(prompt: Prompt, **kwargs: Any) -> Prompt:
    """Keep a prompt on the platform: created when it has no id, else changed. Returns it, with its id."""
    return prompt.upload(**kwargs)
