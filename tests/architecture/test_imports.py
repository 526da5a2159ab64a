"""Who may import whom: the table of ARCHITECTURE.md, held by reading every import line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

SDK_ORDER = [
    "transport",
    "resources",
    "common",
    "dataset",
    "model",
    "evaluation",
    "trainer",
    "cli",
]  # each may import those before it
SDK_FOR_ALL = {"contract", "config", "errors", "utils", "version"}
PURE_DATASET = {
    "qianfan.dataset.encodings",
    "qianfan.dataset.formats",
    "qianfan.dataset.lines",
    "qianfan.dataset.mapping",
    "qianfan.dataset.operators",
    "qianfan.dataset.parquet",
    "qianfan.dataset.schemas",
}

PURE_EVALUATION = {
    "qianfan.dataset.cells",
    "qianfan.evaluation.metrics",
    "qianfan.evaluation.statistics",
}

ROOM_ORDER = [
    "accounts",
    "datasets",
    "cleaning",
    "training",
    "models",
    "serving",
    "inference",
    "evaluation",
    "augmentation",
    "plugins",
    "prompts",
    "batch",
]
GROUND = {"engines", "trainers", "store", "files", "catalogue"}  # know no room
FOR_ROOMS = {"store", "files", "jobs", "catalogue", "platform"}
HTTP = {"starlette", "uvicorn", "pyreqwest"}


def modules(package: str) -> list[Path]:
    return sorted((SRC / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth, as an absolute name."""
    package = list(path.relative_to(SRC).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def breaches_of_the_sdk(path: Path) -> Iterator[str]:
    here = room(name_of(path))
    for target in imports(path):
        if target.startswith("qianfan_platform"):
            yield target
        if not target.startswith("qianfan."):
            continue
        there = room(target)
        if (
            (here == "contract" and there != "contract")
            or (here in SDK_ORDER and there in SDK_ORDER and SDK_ORDER.index(there) > SDK_ORDER.index(here))
            or (here in SDK_FOR_ALL - {"contract"} and there in SDK_ORDER)
        ):
            yield target


def breaches_of_the_platform(path: Path) -> Iterator[str]:
    name = name_of(path)
    here, file = room(name), path.name
    for target in imports(path):
        if target.startswith("qianfan."):
            pure = here in {"datasets", "cleaning", "plugins"} and any(
                target.startswith(module) for module in PURE_DATASET
            )
            pure |= here == "augmentation" and (
                target.startswith(("qianfan.evaluation.metrics", "qianfan.dataset."))
            )
            pure |= here == "evaluation" and any(target.startswith(module) for module in PURE_EVALUATION)
            if not target.startswith("qianfan.contract") and not pure:
                yield target
            continue
        top = target.split(".")[0]
        if file in {"operations.py", "tables.py", "steps.py"} and (top in HTTP or room(target) == "web"):
            yield target
        there = room(target)
        if top != "qianfan_platform" or here in {"app", "__main__", "platform", ""}:
            continue
        if not there or there == here or there.startswith("__"):  # the package itself
            continue
        if (
            there == "app"
            or (here in GROUND and there not in GROUND)
            or (here == "jobs" and there != "store")
            or (here == "web" and there != "store")
        ):
            yield target
        elif here in ROOM_ORDER:
            yield from _breaches_of_a_room(here, there, target)


def _breaches_of_a_room(here: str, there: str, target: str) -> Iterator[str]:
    if (
        (there in ROOM_ORDER and ROOM_ORDER.index(there) > ROOM_ORDER.index(here))
        or (there == "trainers" and here != "training")
        or (
            there == "engines"
            and here
            not in {"serving", "models", "inference", "evaluation", "augmentation", "plugins", "prompts"}
        )
        or there not in {*ROOM_ORDER, *FOR_ROOMS, "web", "trainers", "engines"}
    ):
        yield target


@pytest.mark.parametrize("path", modules("qianfan"), ids=name_of)
def test_the_sdk_imports_only_what_stands_before_it(path: Path) -> None:
    """The SDK's packages stand in a line; nobody imports the platform."""
    assert list(breaches_of_the_sdk(path)) == []


@pytest.mark.parametrize("path", modules("qianfan_platform"), ids=name_of)
def test_a_room_imports_only_what_its_place_allows(path: Path) -> None:
    """Rooms stand in a line, the ground below them knows none of them, operations know no HTTP."""
    assert list(breaches_of_the_platform(path)) == []


def test_the_check_sees_a_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail would hold nothing: made-up files with forbidden imports are found."""
    monkeypatch.setitem(globals(), "SRC", tmp_path)
    bad = tmp_path / "qianfan_platform" / "datasets"
    bad.mkdir(parents=True)
    (bad / "operations.py").write_text("from ..serving import operations\nimport starlette\n")
    assert len(list(breaches_of_the_platform(bad / "operations.py"))) == 2
    wrong = tmp_path / "qianfan" / "contract"
    wrong.mkdir(parents=True)
    (wrong / "words.py").write_text("import qianfan.transport.edges\nimport qianfan_platform.app\n")
    assert len(list(breaches_of_the_sdk(wrong / "words.py"))) == 2
