"""Run the scenarios of a program: its public functions, in order. One line of JSON tells how each ended."""

from __future__ import annotations

import asyncio
import inspect
import json
import traceback
from typing import Any


def play(program: dict[str, Any]) -> None:
    """Call every public function that the module `program` (its globals) defines itself."""
    for name, scenario in list(program.items()):
        if name.startswith("_") or not inspect.isfunction(scenario):
            continue
        if scenario.__module__ != program["__name__"]:
            continue
        try:
            done = scenario()
            if inspect.iscoroutine(done):
                asyncio.run(done)
            told = {"name": name}
        except Exception:
            told = {"name": name, "error": traceback.format_exc()}
        print(json.dumps(told), flush=True)
