"""Datasets: rows of files, of programs, and of the platform."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bos import BosDataSource as BosDataSource
    from .dataset import Dataset as Dataset
    from .files import FileDataSource as FileDataSource
    from .formats import FormatError as FormatError
    from .schemas import Problem as Problem
    from .sources import QianfanDataSource as QianfanDataSource

# The platform imports `schemas` and `formats` of this package, so the rest waits until it is asked for.
_NAMES = {
    "BosDataSource": "bos",
    "Dataset": "dataset",
    "FileDataSource": "files",
    "QianfanDataSource": "sources",
    "FormatError": "formats",
    "Problem": "schemas",
}

__all__ = ["BosDataSource", "Dataset", "FileDataSource", "FormatError", "Problem", "QianfanDataSource"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _NAMES:
        raise AttributeError(f"module 'qianfan.dataset' has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
