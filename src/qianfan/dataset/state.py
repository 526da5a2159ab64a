"""Saved state: versioned JSON, never pickle. What is saved by one process can be resumed by another.

A class takes part by `kind`, `to_state()` and `from_state()`, and by the decorator `saved`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Final, Protocol, TypeVar

import orjson

from qianfan.errors import InvalidArgumentError, UnsafeState

FORMAT: Final = "open-qianfan-state"
VERSION: Final = 1
_KIND: Final = "$kind"


class Saved(Protocol):
    """An object whose state can be written down."""

    kind: ClassVar[str]

    def to_state(self) -> dict[str, Any]:
        """The state as values that `pack` takes."""

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """An object of that state."""


_KINDS: Final[dict[str, Any]] = {}
S = TypeVar("S", bound=type)


def saved(cls: S) -> S:
    """Class decorator: objects of this class may stand in saved state, under the name `cls.kind`."""
    _KINDS[cls.kind] = cls  # type: ignore[attr-defined]
    return cls


def pack(thing: Saved) -> bytes:
    """An object as versioned JSON. Raises InvalidArgumentError for a value that cannot be written down."""
    return orjson.dumps({"format": FORMAT, "version": VERSION, "object": _plain(thing, type(thing).__name__)})


def unpack(data: bytes, wanted: type | None = None) -> Any:
    """The object that `pack` wrote, of class `wanted`.

    Raises UnsafeState for anything but our own JSON: pickled bytes could run code and are never read."""
    raw = bytes(data)
    if raw[:1] == b"\x80":
        raise UnsafeState(
            "these bytes are pickled; reading them could run any code, so it is refused",
            advice="save the state again with dumps() of this release; it writes JSON",
        )
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnsafeState(
            "these bytes are no saved state", cause=error, advice="give what dumps() returned"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UnsafeState("this JSON is no saved state", advice="give what dumps() returned")
    if document.get("version") != VERSION:
        raise UnsafeState(
            f"the state is of version {document.get('version')!r}, this release reads version {VERSION}",
            advice="read it with the release that wrote it",
        )
    thing = _object(document.get("object"))
    if wanted is not None and not isinstance(thing, wanted):
        raise InvalidArgumentError(
            f"the saved state is of a {type(thing).__name__}, not of a {wanted.__name__}",
            advice=f"call loads() of {type(thing).__name__}, or qianfan.trainer.loads()",
        )
    return thing


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(getattr(value, "kind", None), str) and hasattr(value, "to_state"):
        if _KINDS.get(value.kind) is not type(value):  # it would come back as something else, or not at all
            raise InvalidArgumentError(
                f"{where} is a {type(value).__name__}, a class that is not saved",
                advice="give the class a kind of its own and the decorator qianfan.dataset.state.saved",
            )
        state = {key: _plain(item, f"{where}.{key}") for key, item in value.to_state().items()}
        return {_KIND: value.kind, "state": state}
    if isinstance(value, Mapping):
        if _KIND in value:
            raise InvalidArgumentError(
                f"{where} has a member {_KIND!r}, which is reserved", advice="rename it"
            )
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    body = getattr(value, "body", None)
    if isinstance(body, Mapping):  # a response of the platform
        return _plain(body, where)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    raise InvalidArgumentError(
        f"{where} is a {type(value).__name__} and cannot be saved",
        advice="keep plain values there, or give the class kind, to_state and from_state",
    )


def _object(value: Any) -> Any:
    if isinstance(value, list):
        return [_object(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _KIND not in value:
        return {key: _object(item) for key, item in value.items()}
    kind = value[_KIND]
    if kind not in _KINDS:
        raise UnsafeState(
            f"the saved state holds a {kind!r}, which this process does not know",
            advice="import the module that defines it, then load again",
        )
    return _KINDS[kind].from_state(_object(value.get("state", {})))
