"""Members of a body, one check each. A wrong one raises Fault that names it; null counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

from qianfan.contract.errors import PARAMETER, ErrorRow, Fault

MAX_STOPS: Final = 16  # the cloud takes 4 of 20 characters; engines here take more
MAX_STOP_CHARS: Final = 256

Body = Mapping[str, Any]


def refuse(problem: str, advice: str = "", row: ErrorRow = PARAMETER) -> NoReturn:
    """Raise the Fault that says what is wrong with a member."""
    raise Fault(row, problem, advice)


def number(body: Body, name: str, low: float, high: float, *, above: bool = False) -> float | None:
    """A number from `low` to `high`; `above`: it must be more than `low`."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"{name} must be a number")
    if not low <= value <= high or (above and value == low):  # NaN and infinity fail this too
        within = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        refuse(f"{name} must be {within}")
    return float(value)


def whole(body: Body, name: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`; 5.0 counts as 5."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(f"{name} must be a whole number")
    if not low <= value <= high:
        refuse(f"{name} must be from {low} to {high}")
    return value


def flag(body: Body, name: str) -> bool:
    """true or false; false when absent."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        refuse(f"{name} must be true or false")
    return bool(value)


def text(body: Body, name: str, *, most: int) -> str:
    """A text that is not blank, of at most `most` characters."""
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        refuse(f"{name} must be a text that is not empty")
    if len(value) > most:
        refuse(f"{name} has {len(value)} characters; at most {most} are allowed")
    return value


def texts(body: Body, name: str, *, most: int, chars: int) -> list[str]:
    """A list of 1 to `most` texts, none blank, each of at most `chars` characters."""
    values = body.get(name)
    if not isinstance(values, list) or not values:
        refuse(f"{name} must be a list with at least one text")
    if len(values) > most:
        refuse(f"{name} has {len(values)} texts; at most {most} are allowed", "send them in several calls")
    for place, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            refuse(f"{name}[{place}] must be a text that is not empty")
        if len(value) > chars:
            refuse(f"{name}[{place}] has {len(value)} characters; at most {chars} are allowed")
    return values


def stops(body: Body) -> tuple[str, ...]:
    """The texts that end an answer: a list, or one text."""
    value = body.get("stop")
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if (
        not isinstance(found, list)
        or len(found) > MAX_STOPS
        or not all(isinstance(one, str) and 0 < len(one) <= MAX_STOP_CHARS for one in found)
    ):
        refuse(f"stop must be a list of at most {MAX_STOPS} texts of 1 to {MAX_STOP_CHARS} characters")
    return tuple(found)


def only_one(body: Body, name: str = "n") -> None:
    """Refuse to be asked for several answers: they would have to be several calls."""
    if body.get(name) not in (None, 1):
        refuse(f"{name} must be 1", "ask again for another answer")
