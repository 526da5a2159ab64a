"""What runs on this side of the wire: prompts in files or from the platform, and the hub they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import hub as hub
    from .prompt import Prompt as Prompt

__all__ = ["Prompt", "hub"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "Prompt":
        return import_module(".prompt", __name__).Prompt
    if name == "hub":
        return import_module(".hub", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
