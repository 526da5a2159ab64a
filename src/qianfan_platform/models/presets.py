"""The platform's own models as the registry shows them: what the catalogue serves, honest about stand-ins."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from qianfan.contract.bodies import Id
from qianfan.contract.errors import NOT_FOUND, Fault
from qianfan.contract.ids import ALPHABET, as_number
from qianfan_platform.catalogue.catalogue import Catalogue, Kind, Served

TYPES: Final[dict[Kind, int]] = {"chat": 0, "completions": 0, "text2image": 1, "embeddings": 4, "reranker": 4, "image2text": 5}  # fmt: skip
FIRST: Final = 2**40  # ids from here on are those of presets; rows of the database stay below
VENDORS: Final = {
    "ernie": "Baidu", "eb": "Baidu", "embedding-v1": "Baidu", "tao": "Baidu", "qianfan": "Baidu",
    "llama": "Meta", "codellama": "Meta", "bloomz": "BigScience", "chatglm": "Zhipu", "aquila": "BAAI", "bge": "BAAI",
    "mixtral": "Mistral", "gemma": "Google", "yi": "01.AI", "qwen": "Alibaba", "smollm": "HuggingFace",
    "stable-diffusion": "StabilityAI", "fuyu": "Adept", "sqlcoder": "Defog", "xuanyuan": "Duxiaoman",
    "bce": "Youdao", "use-": "Google",
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """One name that everybody may call here. `served`: a row for each kind it answers as; the first counts."""

    id: int
    public_id: str
    version_id: int
    version_public_id: str
    name: str
    served: tuple[Served, ...]

    @property
    def first(self) -> Served:
        return self.served[0]

    @property
    def model_type(self) -> int:
        return TYPES[self.first.kind]

    @property
    def context(self) -> int:
        """Tokens of one sequence."""
        return self.first.entry.context

    @property
    def description(self) -> str:
        return self.first.note or self.first.entry.about

    @property
    def vendor(self) -> str:
        name = self.name.lower()
        return next((vendor for begin, vendor in VENDORS.items() if name.startswith(begin)), "")


@lru_cache(maxsize=8)
def _grouped(names: tuple[Served, ...]) -> tuple[Preset, ...]:
    groups: dict[str, list[Served]] = {}
    for served in names:
        groups.setdefault(served.name, []).append(served)
    return tuple(
        Preset(
            _number("am", name), _public("am", name), _number("amv", name), _public("amv", name), name, tuple(rows)
        )
        for name, rows in groups.items()
    )  # fmt: skip


def all_of(catalogue: Catalogue) -> tuple[Preset, ...]:
    """Every preset, honest names first. Their ids are made of their names, so that they stay."""
    return _grouped(tuple(catalogue.names()))


def find(catalogue: Catalogue, ident: Id) -> Preset | None:
    """The preset with this id, of the model or of its version, as a number, numeric text or `am…`."""
    number = as_number(ident)
    if number is not None and number < FIRST:
        return None
    for preset in all_of(catalogue):
        if number is not None and number in (preset.id, preset.version_id):
            return preset
        if number is None and ident in (preset.public_id, preset.version_public_id):
            return preset
    return None


def named(catalogue: Catalogue, name: str) -> Preset | None:
    """The preset that is called so, in any case."""
    return next((one for one in all_of(catalogue) if one.name.lower() == name.lower()), None)


def must_be_own(catalogue: Catalogue, *idents: Id | None) -> None:
    """Raises Fault when one of these ids of models or versions is that of a preset: it is nobody's to change."""
    for ident in idents:
        if ident is not None and (preset := find(catalogue, ident)) is not None:
            raise Fault(
                NOT_FOUND,
                f"{ident} is {preset.name}, a model of the platform itself, not of this account",
                f'it answers as model="{preset.name}" without being deployed, and is neither changed nor deleted',
            )


def matching(catalogue: Catalogue, wish: Mapping[str, Any], types: Sequence[int]) -> list[Preset]:
    """Presets that fit the filters of model/preset/list, in the order asked for."""
    found = [preset for preset in all_of(catalogue) if _fits(preset, wish, types)]
    if wish.get("orderBy") == "name":
        found.sort(key=lambda preset: preset.name.lower())
    if wish.get("order") == "desc":
        found.reverse()
    return found


def _fits(preset: Preset, wish: Mapping[str, Any], types: Sequence[int]) -> bool:
    if types and preset.model_type not in types:
        return False
    if str(wish.get("nameFilter", "")).lower() not in preset.name.lower():
        return False
    vendors = {vendor.lower() for vendor in wish.get("modelVersionVendor", ())}
    if vendors and preset.vendor.lower() not in vendors:
        return False
    lengths = [_tokens(text) for text in wish.get("ctxLength", ())]
    if lengths and not any(_near(preset.context, length) for length in lengths):
        return False
    languages = {_language(text) for text in wish.get("languageSupport", ())}
    if languages and not languages & set(preset.first.entry.languages):
        return False
    # Advantages and expansions are the cloud's own words; no model here claims any.
    return not wish.get("modelAdvantage") and not wish.get("expansion")


def _tokens(text: str) -> int:
    """`8k`, `8K`, `8192`, `1M` → tokens; 0 for anything else."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*([km]?)\s*", text.lower())
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2}[found[2]] if found else 0


def _near(context: int, wanted: int) -> bool:
    return wanted > 0 and wanted * 0.9 <= context <= wanted * 1.1


def _language(text: str) -> str:
    low = text.lower()
    return {"中文": "zh", "chinese": "zh", "英文": "en", "english": "en"}.get(low, low)


def capabilities(preset: Preset, catalogue: Catalogue) -> list[str]:
    """`supportOptions` of a preset."""
    trained = catalogue.trains(preset.name)
    return ["OnlineTest", "APIDoc", *(["FineTuning"] if trained is not None else [])]


def listed(presets: Sequence[Preset], number: int, size: int) -> Iterator[Preset]:
    """One page, from 1."""
    yield from presets[(number - 1) * size : number * size]


def _number(prefix: str, name: str) -> int:
    return FIRST + (zlib.crc32(f"{prefix}|{name}".encode()) | (2**32 if prefix == "amv" else 0))


def _public(prefix: str, name: str) -> str:
    digest = hashlib.sha256(f"{prefix}|{name}".encode()).digest()
    return f"{prefix}-" + "".join(ALPHABET[byte % 36] for byte in digest[:12])
