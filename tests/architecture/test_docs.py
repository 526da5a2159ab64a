"""The docs say what the code does."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
READMES = ("README.md", "README.zh-CN.md")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_as_the_code_is() -> None:
    """Routes, errors, states, settings and names are generated; nobody forgot to."""
    for path, text in load(ROOT / "docs" / "generate.py").pages():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} has drifted; run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links between pages and to files of the repository."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_and_task_is_in_the_readme_or_a_page_it_links() -> None:
    """`qianfan …` and `make …`: what exists is told, what is told exists."""
    from typer.main import get_command

    from qianfan.cli.main import app

    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    for command in commands:
        assert f"qianfan {command}" in told, f"`qianfan {command}` is told nowhere"
    for command in re.findall(r"`qianfan ([a-z][a-z-]*)", told):
        assert command in commands, f"`qianfan {command}` is told, and does not exist"
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", told, re.M):
        assert target in targets, f"`make {target}` is told, and does not exist"


@pytest.mark.parametrize("page", READMES)
def test_the_lines_of_the_readme_are_those_of_the_examples(page: str) -> None:
    """The lines that a newcomer copies are code that the tests run, in both languages."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    examples = ["chat.py", "quickstart.py"]
    assert len(blocks) == len(examples)
    for block, name in zip(blocks, examples, strict=True):
        example = (ROOT / "examples" / name).read_text(encoding="utf-8")
        for line in block.splitlines():
            code = line.split("  #")[0].strip()
            assert code in example, f"{code!r} is not in examples/{name}"


def test_both_readmes_tell_the_same() -> None:
    """The same commands, addresses, settings, classes and pages, whatever the language; each links the other."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in READMES]
    for pattern in (
        r"`qianfan ([a-z][a-z-]*)",
        r"(?:`|(?m:^))make ([a-z-]+)",
        r"\]\((docs/[^)]+|(?!README)[A-Z]+\.md|examples[^)]*)\)",
    ):
        told = [set(re.findall(pattern, text)) for text in texts]
        assert told[0] == told[1], f"only one README tells {told[0] ^ told[1]}"
    rows = [re.findall(r"^\| [^|]*\| (`[^|]*) \| [^|]*\|$", text, re.M) for text in texts]
    assert [re.findall(r"`[^`]+`", row) for row in rows[0]] == [
        re.findall(r"`[^`]+`", row) for row in rows[1]
    ]
    assert "](README.zh-CN.md)" in texts[0]
    assert "](README.md)" in texts[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_operators_file_on_a_page_can_be_read(page: Path, tmp_path: Path) -> None:
    """What an operator copies is taken by the catalogue, or as the object stores to connect."""
    from qianfan_platform.catalogue.catalogue import Catalogue
    from qianfan_platform.files import stores

    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        file = tmp_path / "models.toml"
        file.write_text(block, encoding="utf-8")
        if block.startswith("[stores."):
            named = re.findall(r'_key_env = "(\w+)"', block)
            assert stores.read(file, dict.fromkeys(named, "a key"))
        else:
            Catalogue.load(file)


def test_the_example_data_is_what_its_script_writes(tmp_path: Path) -> None:
    """Same seed, same files; and no ticket of the held-out part is in the training part."""
    before = {path.name: path.read_bytes() for path in (ROOT / "examples" / "tickets").glob("*.jsonl")}
    written = tmp_path / "tickets"
    written.mkdir()
    script = (ROOT / "examples" / "tickets" / "make.py").read_text(encoding="utf-8")
    (written / "make.py").write_text(script, encoding="utf-8")
    load(written / "make.py").main()
    assert {path.name: path.read_bytes() for path in written.glob("*.jsonl")} == before
    parts = [set(content.splitlines()) for content in before.values()]
    assert not parts[0] & parts[1]
