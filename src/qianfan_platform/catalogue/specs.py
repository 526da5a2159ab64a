"""From a row of the catalogue to what an engine is started with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.engines.protocol import Adapter, EngineSpec

PARALLEL: Final = {
    "llamacpp": 4,
    "echo": 256,
    "encoder": 64,
    "upstream": 64,
    "pictures": 1,
}  # requests at once


def spec_for(entry: Entry, model: Path | None = None, adapters: Sequence[Adapter] = ()) -> EngineSpec:
    """The engine that serves `entry`. `model`: its weights here, None for engines that have none.

    Weights that were trained from the entry are served by llama.cpp, whatever the entry says. The engine
    pictures is the other that has weights, and what it serves is never trained here."""
    kind = "llamacpp" if model is not None and entry.engine != "pictures" else entry.engine
    return EngineSpec(
        kind=kind,
        model=model,
        adapters=tuple(adapters),
        context=entry.context,
        parallel=entry.parallel or PARALLEL[kind],
        options=_options(entry),
    )


def place(entry: Entry, model: Path | None = None) -> str:
    """What two requests must share to share an engine: the weights and how they are used."""
    use = entry.kinds[0] if entry.kinds[0] in ("embeddings", "reranker") else "answers"
    return entry.name if model is None else f"{model} ({use})"


def _options(entry: Entry) -> dict[str, Any]:
    if entry.engine == "llamacpp":
        uses: dict[str, Any] = {use: True for use in ("embeddings", "reranker") if use in entry.kinds}
        return uses if entry.temperature is None else {**uses, "temperature": entry.temperature}
    if entry.engine == "upstream":
        source = entry.source
        assert source is not None
        return {
            "name": entry.name,
            "url": source.place,
            "model": source.member or entry.name,
            "key_env": entry.key_env,
            "kinds": entry.kinds,
            "tools": entry.tools,
            "idle_s": entry.timeout_s,
        }
    if entry.engine == "pictures":
        return {"kinds": entry.kinds, "idle_s": entry.timeout_s}
    if entry.engine == "echo" and entry.source is not None:
        return {"file": entry.source.place}
    return {}
