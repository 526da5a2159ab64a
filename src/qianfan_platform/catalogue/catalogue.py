"""The catalogue: which weights really serve or train what a caller names.

The rows are in `catalogue.toml`; an operator's file of the same shape is merged over it. A documented name
served by other weights is a stand-in, and says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from qianfan.contract import models, train_types
from qianfan_platform.catalogue import rows
from qianfan_platform.catalogue.rows import KINDS, CatalogueInvalid, Entry, Kind

__all__ = ["KINDS", "Catalogue", "CatalogueInvalid", "Entry", "Kind", "Served", "Trained"]


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
    aliases: Mapping[str, str]  # another spelling → documented name or endpoint

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
            plain = rows.merged(plain, rows.read(override))
        return cls._from(plain, name, folder)

    @classmethod
    def _from(cls, plain: dict[str, Any], file: str, folder: Path) -> Catalogue:
        entries = {name: rows.entry(name, row, file, folder) for name, row in plain["models"].items()}
        for table in ("stand_ins", "serves", "trains"):
            for key, target in plain.get(table, {}).items():
                if target and target not in entries:
                    known = ", ".join(entries)
                    raise CatalogueInvalid(
                        f"{file}: {table}.{key} names {target!r}, which is no model; models: {known}"
                    )
        _kinds_fit(plain, entries, file)
        for name in [plain.get("stand_ins", {}).get("training"), *plain.get("trains", {}).values()]:
            if name and not entries[name].trainable:
                raise CatalogueInvalid(f"{file}: {name} stands for train types, but is not trainable")
        return cls(
            entries,
            plain.get("stand_ins", {}),
            plain.get("serves", {}),
            plain.get("trains", {}),
            {key.lower(): target for key, target in plain.get("aliases", {}).items()},
        )

    def serves(self, endpoint_or_model: str, kind: Kind | None = None) -> Served | None:
        """What answers for an endpoint such as `eb-instant`, or for a model name in any case; None: nothing does.

        kind: look only among models of this kind. A name goes before an endpoint of the same spelling."""
        asked = endpoint_or_model.lower()
        found = self._index.get((asked, kind))
        if found is None and asked in self.aliases:
            found = self._index.get((self.aliases[asked].lower(), kind))
        return found

    @cached_property
    def _index(self) -> dict[tuple[str, Kind | None], Served]:
        found: dict[tuple[str, Kind | None], Served] = {}
        served = list(self.names())
        for spelling in ("name", "endpoint"):
            for row in served:
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


def _kinds_fit(plain: dict[str, Any], entries: Mapping[str, Entry], file: str) -> None:
    """Whoever stands in for a kind, or for a documented name, must be of that kind. Raises CatalogueInvalid."""
    wanted: list[tuple[str, Kind, str]] = []
    for kind, target in plain.get("stand_ins", {}).items():
        if kind in KINDS:
            wanted.append((f"stand_ins.{kind}", kind, target))
        elif kind != "training":
            raise CatalogueInvalid(
                f"{file}: stand_ins.{kind} is no kind; kinds: {', '.join(KINDS)}, training"
            )
    for one in KINDS:
        documented = {name.lower() for name in models.table(one)}
        for name, target in plain.get("serves", {}).items():
            if name.lower() in documented:
                wanted.append((f"serves.{name}", one, target))
    for where, kind, target in wanted:
        if target and kind not in entries[target].kinds:
            raise CatalogueInvalid(
                f"{file}: {where} names {target!r}, which serves {', '.join(entries[target].kinds)}, not {kind}; "
                f'add "{kind}" to models.{target}.kinds, or name another model'
            )


def _stand_in(name: str, kind: Kind, endpoint: str, entry: Entry) -> Served:
    return Served(name, kind, endpoint, entry, stand_in=True, note=_note(name, entry, "served"))


def _note(name: str, entry: Entry, done: str) -> str:
    about = f" ({entry.about})" if entry.about else ""
    return f"{name} is {done} by the stand-in {entry.name}{about}"
