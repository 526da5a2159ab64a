"""The rows of a catalogue file: what each may say, and the errors that name the file, the key and the fix."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from qianfan_platform.catalogue.source import BadSource, Source

Kind = Literal["chat", "completions", "embeddings", "reranker", "text2image", "image2text"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
EngineKind = Literal["llamacpp", "echo", "encoder", "upstream", "pictures"]
TABLES: Final = ("models", "stand_ins", "serves", "trains", "aliases")


class CatalogueInvalid(ValueError):
    """The operator's file cannot be used. The text names the file, the key and what is wrong."""


@dataclass(frozen=True)
class Entry:
    """What can serve or train here. Sizes are bytes, `context` tokens of one sequence."""

    name: str
    engine: EngineKind = "llamacpp"
    source: Source | None = None  # None for encoder; of echo, a JSON file of its options, or None
    sha256: str = ""
    size: int = 0
    download: int = 0
    licence: str = ""
    languages: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("chat",)
    context: int = 2048
    parallel: int = 0  # requests at once; 0: the engine's own default
    dimensions: int = 0  # of its embeddings; 0: not said
    temperature: float | None = None  # where the caller names none; 0 picks the likeliest token
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f16"  # when packed from a folder
    serve_as: Literal["", "f16", "bf16"] = ""  # widen a quantised file to this before serving it
    trainable: bool = False
    key_env: str = ""  # upstream: the environment variable that holds its key
    tools: Literal["native", "json"] = "native"  # upstream: json when the server itself knows no tools
    timeout_s: int = 120  # upstream: the longest silence in an answer; pictures: the longest step
    about: str = ""

    @property
    def has_weights(self) -> bool:
        """True when a file or a folder must be here before its engine can start."""
        return self.engine in ("llamacpp", "pictures")


LISTS: Final = ("languages", "kinds")
NUMBERS: Final = ("size", "download", "context", "parallel", "dimensions", "timeout_s")
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "engine": get_args(EngineKind),
    "serve_as": ("", "f16", "bf16"),
    "dtype": ("f32", "f16", "bf16", "q8_0"),
    "tools": ("native", "json"),
}
# What an engine can be asked for. llama.cpp serves one line of these, not several from one process.
CAN: Final[dict[str, tuple[set[str], ...]]] = {
    "llamacpp": ({"chat", "completions"}, {"embeddings"}, {"reranker"}),
    "echo": (set(KINDS),),
    "encoder": ({"embeddings", "reranker"},),
    "upstream": (set(KINDS),),
    "pictures": ({"text2image"}, {"image2text"}),
}


def read(override: Path) -> dict[str, Any]:
    """The tables of an operator's file. Raises CatalogueInvalid."""
    try:
        plain = tomllib.loads(override.read_text(encoding="utf-8"))
    except OSError as problem:
        raise CatalogueInvalid(f"the catalogue file cannot be read: {problem}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise CatalogueInvalid(f"{override.name} is not valid TOML: {problem}") from problem
    for table, rows in plain.items():
        if table not in TABLES:
            raise CatalogueInvalid(f"{override.name}: unknown table [{table}]; tables: {', '.join(TABLES)}")
        if not isinstance(rows, dict):
            raise CatalogueInvalid(f"{override.name}: {table} must be a table")
        for key, row in rows.items():
            if not isinstance(row, dict if table == "models" else str):
                shape = "a table" if table == "models" else "the name of a model"
                raise CatalogueInvalid(f"{override.name}: {table}.{key} must be {shape}")
    return plain


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key. A model with a source of its own takes nothing that belongs to the one below."""
    found = {table: dict(below.get(table, {})) for table in TABLES}
    for table, rows in above.items():
        for key, row in rows.items():
            if table != "models":
                found[table][key] = row
                continue
            old = dict(found[table].get(key, {}))
            if "source" in row:
                stale = ["sha256", "size", "download", "temperature"]
                if str(row["source"]).startswith("openai:"):
                    stale += ["engine", "trainable", "serve_as", "dtype"]
                for name in stale:
                    old.pop(name, None)
            found[table][key] = {**old, **row}
    return found


def entry(name: str, row: dict[str, Any], file: str, folder: Path) -> Entry:
    """One model, checked. Relative paths are taken from `folder`. Raises CatalogueInvalid."""
    known = [field.name for field in fields(Entry) if field.name != "name"]
    values: dict[str, Any] = {}
    for key, value in row.items():
        where = f"{file}: models.{name}.{key}"
        if key not in known:
            raise CatalogueInvalid(f"{where} is unknown; keys: {', '.join(known)}")
        values[key] = _value(key, value, where, folder)
    source = values.get("source")
    values.setdefault("engine", "upstream" if source is not None and source.kind == "openai" else "llamacpp")
    found = Entry(name, **values)
    _consistent(found, f"{file}: models.{name}")
    return found


def _value(key: str, value: Any, where: str, folder: Path) -> Any:
    if key == "source":
        try:
            return Source.parse(str(value), folder)
        except BadSource as problem:
            raise CatalogueInvalid(f"{where}: {problem}") from problem
    if key in LISTS:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise CatalogueInvalid(f"{where} must be a list of texts")
        unknown = [one for one in value if one not in KINDS] if key == "kinds" else []
        if unknown or not value:
            raise CatalogueInvalid(f"{where} must name kinds of models: {', '.join(KINDS)}; not {unknown}")
        return tuple(value)
    if key in NUMBERS:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CatalogueInvalid(f"{where} must be a whole number above 0")
        return value
    if key == "temperature":
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 2:
            raise CatalogueInvalid(f"{where} must be a number from 0 to 2")
        return float(value)
    if key == "trainable":
        if not isinstance(value, bool):
            raise CatalogueInvalid(f"{where} must be true or false")
        return value
    if not isinstance(value, str):
        raise CatalogueInvalid(f"{where} must be a text")
    if key in CHOICES and value not in CHOICES[key]:
        choices = ", ".join(one for one in CHOICES[key] if one)
        raise CatalogueInvalid(f"{where} is {value!r}; one of: {choices}")
    if key == "key_env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        # Never repeat the value: it may be the key itself.
        raise CatalogueInvalid(
            f"{where} must be the name of an environment variable, such as OPENAI_API_KEY, not the key itself"
        )
    return value


def _consistent(entry: Entry, where: str) -> None:
    """What the keys of a model say together. Raises CatalogueInvalid."""
    if not any(set(entry.kinds) <= can for can in CAN[entry.engine]):
        able = " or ".join("+".join(sorted(can)) for can in CAN[entry.engine])
        advice = (
            "write two models for two uses of one file; images need the engine upstream or pictures"
            if entry.engine == "llamacpp"
            else "take another engine for the rest"
        )
        raise CatalogueInvalid(
            f"{where}.kinds: the engine {entry.engine} serves {able}, not {'+'.join(entry.kinds)}; {advice}"
        )
    kind = entry.source.kind if entry.source is not None else ""
    if (entry.engine == "upstream") != (kind == "openai"):
        raise CatalogueInvalid(
            f"{where} has the engine {entry.engine} and the source {entry.source or 'none'}; a source such as "
            '"openai:http://127.0.0.1:8000/v1#model" goes with the engine upstream, and only with it'
        )
    if entry.engine == "upstream":
        for key in ("trainable", "sha256", "serve_as"):
            if getattr(entry, key):
                raise CatalogueInvalid(
                    f"{where}.{key}: the weights of an upstream are not here; remove the key"
                )
    elif entry.key_env:
        raise CatalogueInvalid(f"{where}.key_env is only for sources that begin with openai:")
    if entry.engine == "pictures":
        _pictures(entry, kind, where)
    if entry.engine == "encoder" and kind:
        raise CatalogueInvalid(f"{where}.source: the engine encoder brings its weights along; remove the key")
    if entry.engine == "echo" and kind not in ("", "path"):
        raise CatalogueInvalid(f"{where}.source: the engine echo takes a path: to a JSON file of its options")
    if entry.engine == "llamacpp":
        if entry.source is None:
            raise CatalogueInvalid(f"{where} needs a source")
        if entry.source.needs_hash and not entry.sha256:
            raise CatalogueInvalid(f"{where} comes over the network and needs a sha256")


def _pictures(entry: Entry, kind: str, where: str) -> None:
    """The engine pictures reads folders. Raises CatalogueInvalid."""
    if kind not in ("path", "hf") or (entry.source is not None and entry.source.member):
        raise CatalogueInvalid(
            f"{where}.source: the engine pictures reads a folder of safetensors; write path:FOLDER or "
            "hf:REPO@COMMIT"
        )
    for key in ("trainable", "sha256", "serve_as"):
        if getattr(entry, key):
            raise CatalogueInvalid(f"{where}.{key} is not for the engine pictures; remove the key")
