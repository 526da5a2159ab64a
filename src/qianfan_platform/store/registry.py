"""Which tables there are: those of every room that has a `tables` module."""

from __future__ import annotations

import importlib
from pathlib import Path

from sqlalchemy import MetaData

import qianfan_platform

from .rows import Base


def import_tables() -> MetaData:
    """Import `qianfan_platform.<room>.tables` of every room that has one; returns what they declare."""
    for folder in qianfan_platform.__path__:
        for file in sorted(Path(folder).glob("*/tables.py")):
            importlib.import_module(f"{qianfan_platform.__name__}.{file.parent.name}.tables")
    return Base.metadata
