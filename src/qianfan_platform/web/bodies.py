"""Bodies: capped, parsed, rid of secrets and nulls, checked against a TypedDict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from qianfan.contract.errors import CONSOLE_PARAMETER, ErrorRow, Fault
from qianfan.contract.members import repeated

DEFAULT_LIMIT: Final = 8 * 1024 * 1024  # bytes
MAX_DEPTH: Final = 64
_WIDEST: Final = 2**63  # what the database's integers hold
SECRET_MEMBERS: Final = frozenset({"ak", "sk"})  # published clients leak them into bodies


def must_fit(fields: Mapping[bytes, bytes], limit: int, row: ErrorRow) -> None:
    """Look at the headers of a request before a byte of its body is asked for. Raises Fault(row), TooLarge."""
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Fault(row, "the body is compressed", "send it without Content-Encoding")
    length = fields.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > limit:
        raise TooLarge(row, limit)


class TooLarge(Fault):
    """The body is larger than what this route takes. Its HTTP status is 413, but on V1 routes, which answer 200."""

    status = 413

    def __init__(self, row: ErrorRow, limit: int) -> None:
        super().__init__(
            row, f"the body is larger than {limit} bytes", "send less at once, or upload it as a file"
        )


def parse(raw: bytes, *, row: ErrorRow = CONSOLE_PARAMETER) -> dict[str, Any]:
    """The JSON object in `raw`; nothing and `null` count as `{}`. Raises Fault(row)."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not raw.strip():
            return {}
        raise Fault(row, f"the body is not JSON: {error}", "send one JSON object") from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise Fault(row, f"the body is a JSON {_kind(parsed)}, not an object", "send one JSON object")
    if (name := repeated(raw, parsed, orjson.dumps)) is not None:
        raise Fault(row, f"the body has the member {name[:64]!r} twice in one object", "send it once")
    return parsed


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    return "text" if isinstance(value, str) else type(value).__name__


def tidy(body: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """`body` without `ak` and `sk`, without null members, and with aliases in their own spelling.

    An alias in lower case stands for its name in any case.

    Raises Fault when it nests deeper than MAX_DEPTH, or holds what no database takes."""
    return {
        name: value for name, value in _tidy(body, aliases, 0).items() if name.lower() not in SECRET_MEMBERS
    }


def _tidy(value: Any, aliases: Mapping[str, str], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Fault(
            CONSOLE_PARAMETER, f"the body nests deeper than {MAX_DEPTH} levels", "send a flatter object"
        )
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for name, member in value.items():
            if member is None:
                continue
            own = aliases.get(name) or aliases.get(name.lower(), name)
            if own != name and value.get(own) is not None:
                continue  # both spellings: the right one counts
            kept[own] = _tidy(member, aliases, depth + 1)
        return kept
    if isinstance(value, list):
        return [_tidy(item, aliases, depth + 1) for item in value]
    if isinstance(value, str) and "\0" in value:
        raise Fault(CONSOLE_PARAMETER, "a text in the body holds the character NUL", "remove it")
    if isinstance(value, int) and not -_WIDEST <= value < _WIDEST:
        raise Fault(CONSOLE_PARAMETER, "a number in the body does not fit 64 bits", "send a smaller one")
    return value


@lru_cache(maxsize=512)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def check(shape: Any, body: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    """`body` as the TypedDict `shape` wants it; unknown members are dropped, or named when `strict`.

    Raises Fault(CONSOLE_PARAMETER), with the members but never with their values."""
    if shape is None:
        return body
    try:
        checked: dict[str, Any] = _adapter(shape).validate_python(
            body, extra="forbid" if strict else "ignore", by_name=True, by_alias=True
        )
    except ValidationError as error:
        raise Fault(CONSOLE_PARAMETER, _problems(error)) from None
    return checked


def _problems(error: ValidationError) -> str:
    """`param[trainConfig.epoch] invalid: …`, three at most, one for each member."""
    texts: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        texts.setdefault(_place(problem["loc"]), _reason(problem["type"], problem["msg"]))
    lines = [f"param[{place}] invalid: {reason}" for place, reason in texts.items()]
    more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
    return "; ".join(lines[:3]) + more


def _place(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():  # the branch of a union is named `int`, `str`, `list[int]`, …
            if part in {"int", "str", "float", "bool", "bytes"} and text:
                continue
            text += f".{part}" if text else part
        elif not any(mark in part for mark in "[]{}()|,"):
            text += f".{part[:64]}" if text else part[:64]
    return text or "body"


def _reason(kind: str, message: str) -> str:
    if kind == "missing":
        return "it is required"
    if kind == "extra_forbidden":
        return "this route knows no such member"
    return message[:1].lower() + message[1:]
