"""`Executable`, `Serializable` and `ExecuteSerializable`, where later releases have them."""

from __future__ import annotations

from importlib import import_module

_NAMES = ("Executable", "ExecuteSerializable", "Serializable")


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("qianfan.model.runnable"), name)
