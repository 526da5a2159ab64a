"""The guide of datasets: what it shows of files is run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "datasets.md"
ON_THIS_MACHINE = ("Load, look, change", "Clean")
CHAT = [
    [
        {"prompt": f" What is the price of ticket {number}? 😀", "response": [["Ask sales@example.com."]]},
        {"prompt": "And with a child?", "response": [[f"It is {number} less."]]},
    ]
    for number in range(6)
]


def test_the_lines_about_files_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, as somebody copies them; at the end the rows are clean."""
    monkeypatch.chdir(tmp_path)
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHAT))
    names: dict[str, object] = {}
    sections = dict(
        re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
    )
    blocks = [
        block
        for title in ON_THIS_MACHINE
        for block in re.findall(r"```python\n(.*?)```", sections[title], re.S)
    ]
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    assert capsys.readouterr().out.startswith("6 [{'prompt'")
    rows = [json.loads(line) for line in Path("clean.jsonl").read_text().splitlines()]
    assert rows[0][0] == {
        "prompt": "What is the price of ticket 0? ",
        "response": [["Ask <EMAIL>."]],
    }
    assert len(names["turns"]) == 2 * len(rows)  # type: ignore[arg-type]


def test_commands_of_the_guide_exist() -> None:
    """Each with the options that are told."""
    from typer.main import get_command

    from qianfan.cli.main import app

    commands = get_command(app).commands["dataset"].commands  # type: ignore[attr-defined]
    text = GUIDE.read_text(encoding="utf-8").replace("\\\n", "")
    found = re.findall(r"^qianfan dataset (\w+)(.*)$", text, re.M)
    assert {name for name, _ in found} <= set(commands)
    for name, rest in found:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r" (--?[a-z][a-z-]*)", rest.partition("#")[0])) <= options
