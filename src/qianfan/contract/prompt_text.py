"""The text of a prompt template: which variables it has, and how values are put in their places.

Rendering is one pass over the template: what a value holds is never looked at again, so a value that itself
looks like a variable stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

IDENTIFIERS: Final = ("{}", "{{}}", "[]", "[[]]", "()", "(())")
"""What marks a variable: the left half stands before its name, the right half after it."""
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{1,29}")
"""The name of a variable: 2 to 30 letters, digits and underscores, not beginning with a digit."""


class BadVariable(ValueError):
    """A template whose variables cannot be used. `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        self.advice = advice
        super().__init__(message)


@lru_cache(maxsize=len(IDENTIFIERS))
def _marked(identifier: str) -> re.Pattern[str]:
    if identifier not in IDENTIFIERS:
        raise BadVariable(f"{identifier!r} cannot mark variables", f"use one of {', '.join(IDENTIFIERS)}")
    half = len(identifier) // 2
    left, right = re.escape(identifier[:half]), re.escape(identifier[half:])
    return re.compile(f"{left}(.*?){right}", re.DOTALL)


def variables_of(template: str, identifier: str) -> list[str]:
    """Names of the variables in a template, in order, repeated ones too.

    Raises BadVariable for an identifier, or a name, that cannot be used."""
    names: list[str] = _marked(identifier).findall(template)
    for name in names:
        if not NAME.fullmatch(name):
            raise BadVariable(
                f"{name[:60]!r} cannot be the name of a variable",
                "use 2 to 30 letters, digits and underscores, not beginning with a digit; or give another"
                " identifier, such as {{}}, when the text has braces of its own",
            )
    return names


def render(template: str, identifier: str, values: Mapping[str, object]) -> str:
    """The template with its variables replaced by the text of their values, in one pass.

    A variable without a value stays as it is written; values that the template does not name are left out.
    Raises BadVariable for an identifier that cannot be used."""
    return _marked(identifier).sub(
        lambda found: str(values[found[1]]) if found[1] in values else found[0], template
    )
