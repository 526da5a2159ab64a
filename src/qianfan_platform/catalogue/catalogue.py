"""The catalogue: which weights really serve or train what a caller names.

The rows are in `catalogue.toml`; an operator's file of the same shape is merged over it. A documented name
served by other weights is a stand-in, and says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, get_args

from qianfan.contract import models, train_types
from qianfan_platform.catalogue.source import BadSource, Source

Kind = Literal["chat", "completions", "embeddings"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DTYPES: Final = ("f32", "f16", "bf16", "q8_0")
TABLES: Final = ("models", "stand_ins", "serves", "trains")


class CatalogueInvalid(ValueError):
    """The operator's file cannot be used. The text names the file, the key and what is wrong."""


@dataclass(frozen=True)
class Entry:
    """Weights that can serve or train here. Sizes are bytes, `context` tokens of one sequence."""

    name: str
    engine: Literal["llamacpp", "echo"] = "llamacpp"
    source: Source | None = None  # None only for echo
    sha256: str = ""
    size: int = 0
    download: int = 0
    licence: str = ""
    languages: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("chat",)
    context: int = 2048
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f16"  # when packed from a folder
    serve_as: Literal["", "f16", "bf16"] = ""  # widen a quantised file to this before serving it
    trainable: bool = False
    about: str = ""


@dataclass(frozen=True)
class Served:
    """What answers for a name. `name` and `endpoint` as documented; `note` is for the caller, "" when honest."""

    name: str
    kind: Kind
    endpoint: str
    entry: Entry
    stand_in: bool
    note: str = ""


@dataclass(frozen=True)
class Trained:
    """What really trains for a train type."""

    train_type: str
    entry: Entry
    stand_in: bool
    note: str = ""


@dataclass(frozen=True)
class Catalogue:
    """Look up by name. Made by `load`."""

    entries: Mapping[str, Entry]
    stand_ins: Mapping[str, str]
    particular: Mapping[str, str]  # model → entry
    training: Mapping[str, str]  # train type → entry

    @classmethod
    def load(cls, override: Path | None = None) -> Catalogue:
        """The built-in catalogue with the operator's file over it. Raises CatalogueInvalid.

        Relative paths in the file are relative to it."""
        plain = tomllib.loads(
            resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
        )
        name, folder = "catalogue.toml", Path()
        if override is not None:
            name, folder = override.name, override.resolve().parent
            plain = _merged(plain, _read(override))
        return cls._from(plain, name, folder)

    @classmethod
    def _from(cls, plain: dict[str, Any], file: str, folder: Path) -> Catalogue:
        entries = {name: _entry(name, row, file, folder) for name, row in plain["models"].items()}
        for table in TABLES[1:]:
            for key, target in plain.get(table, {}).items():
                if target and target not in entries:
                    known = ", ".join(entries)
                    raise CatalogueInvalid(
                        f"{file}: {table}.{key} names {target!r}, which is no model; models: {known}"
                    )
        for name in [plain.get("stand_ins", {}).get("training"), *plain.get("trains", {}).values()]:
            if name and not entries[name].trainable:
                raise CatalogueInvalid(f"{file}: {name} stands for train types, but is not trainable")
        return cls(
            entries,
            plain.get("stand_ins", {}),
            plain.get("serves", {}),
            plain.get("trains", {}),
        )

    def serves(self, endpoint_or_model: str, kind: Kind | None = None) -> Served | None:
        """What answers for an endpoint such as `eb-instant`, or for a model name in any case; None: nothing does.

        kind: look only among models of this kind. A name goes before an endpoint of the same spelling."""
        return self._index.get((endpoint_or_model.lower(), kind))

    @cached_property
    def _index(self) -> dict[tuple[str, Kind | None], Served]:
        found: dict[tuple[str, Kind | None], Served] = {}
        rows = list(self.names())
        for spelling in ("name", "endpoint"):
            for row in rows:
                for kind in (row.kind, None):
                    found.setdefault((getattr(row, spelling).lower(), kind), row)
        return found

    def trains(self, train_type: str) -> Trained | None:
        """What really trains for a train type, in any case; None when nothing does."""
        wanted = train_type.lower()
        particular = {name.lower(): target for name, target in self.training.items()}
        entry = next((e for e in self.entries.values() if e.name.lower() == wanted), None)
        if entry is not None:
            return Trained(entry.name, entry, stand_in=False) if entry.trainable else None
        known = next((name for name in train_types.table() if name.lower() == wanted), None)
        target = particular.get(wanted, self.stand_ins.get("training", "") if known else "")
        if not target:
            return None
        entry = self.entries[target]
        name = known or train_type
        return Trained(name, entry, stand_in=True, note=_note(name, entry, "trained"))

    def names(self, kind: Kind | None = None) -> Iterator[Served]:
        """Everything that is served: honest names first, then the documented ones, by kind."""
        for entry in self.entries.values():
            for one in entry.kinds:
                if kind in (None, one):
                    yield Served(entry.name, one, entry.name.lower(), entry, stand_in=False)
        particular = {name.lower(): target for name, target in self.particular.items()}
        documented = set()
        for one in KINDS:
            for preset in models.table(one).values():
                documented.add(preset.name.lower())
                target = particular.get(preset.name.lower(), self.stand_ins.get(one, ""))
                if target and kind in (None, one) and preset.name not in self.entries:
                    yield _stand_in(preset.name, one, preset.path, self.entries[target])
        for name, target in self.particular.items():
            if target and name.lower() not in documented:  # a name of the operator's own
                for one in self.entries[target].kinds:
                    if kind in (None, one):
                        yield _stand_in(name, one, name.lower(), self.entries[target])


def _stand_in(name: str, kind: Kind, endpoint: str, entry: Entry) -> Served:
    return Served(name, kind, endpoint, entry, stand_in=True, note=_note(name, entry, "served"))


def _note(name: str, entry: Entry, done: str) -> str:
    about = f" ({entry.about})" if entry.about else ""
    return f"{name} is {done} by the stand-in {entry.name}{about}"


def _read(override: Path) -> dict[str, Any]:
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


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key. A model with a source of its own takes no hash or size from the one below."""
    found = {table: dict(below.get(table, {})) for table in TABLES}
    for table, rows in above.items():
        for key, row in rows.items():
            if table != "models":
                found[table][key] = row
                continue
            old = dict(found[table].get(key, {}))
            if "source" in row:
                for stale in ("sha256", "size", "download"):
                    old.pop(stale, None)
            found[table][key] = {**old, **row}
    return found


def _entry(name: str, row: dict[str, Any], file: str, folder: Path) -> Entry:
    known = {field.name: field for field in fields(Entry) if field.name != "name"}
    values: dict[str, Any] = {}
    for key, value in row.items():
        where = f"{file}: models.{name}.{key}"
        if key not in known:
            raise CatalogueInvalid(f"{where} is unknown; keys: {', '.join(known)}")
        if key == "source":
            try:
                value = Source.parse(str(value), folder)
            except BadSource as problem:
                raise CatalogueInvalid(f"{where}: {problem}") from problem
        elif key in ("languages", "kinds"):
            if not isinstance(value, list) or (key == "kinds" and not set(value) <= set(KINDS)):
                raise CatalogueInvalid(f"{where} must be a list" + (f" of {KINDS}" if key == "kinds" else ""))
            value = tuple(value)
        elif key in ("size", "download", "context"):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CatalogueInvalid(f"{where} must be a whole number above 0")
        elif key == "trainable":
            if not isinstance(value, bool):
                raise CatalogueInvalid(f"{where} must be true or false")
        elif not isinstance(value, str):
            raise CatalogueInvalid(f"{where} must be a text")
        values[key] = value
    entry = Entry(name, **values)
    if entry.engine not in ("llamacpp", "echo"):
        raise CatalogueInvalid(f"{file}: models.{name}.engine is {entry.engine!r}; llamacpp or echo")
    if entry.serve_as not in ("", "f16", "bf16"):
        raise CatalogueInvalid(f"{file}: models.{name}.serve_as is {entry.serve_as!r}; f16 or bf16")
    if entry.dtype not in DTYPES:
        raise CatalogueInvalid(f"{file}: models.{name}.dtype is {entry.dtype!r}; one of {', '.join(DTYPES)}")
    if entry.engine == "llamacpp":
        if entry.source is None:
            raise CatalogueInvalid(f"{file}: models.{name} needs a source")
        if entry.source.needs_hash and not entry.sha256:
            raise CatalogueInvalid(f"{file}: models.{name} comes over the network and needs a sha256")
    return entry
