"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_quickstart_answers() -> None:
    """The ten lines of the README, with the tiny model in the place of the default one."""
    script = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    tiny = script.replace("SmolLM2-135M-Instruct", "tiny")
    assert tiny != script
    done = subprocess.run([sys.executable, "-c", tiny], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip(), "the tuned model said nothing"


def test_the_knowledge_base_answers_with_its_source(tmp_path: Path) -> None:
    """The whole example with the real embedder; the echo in the place of the chat model says what it was told."""
    catalogue = tmp_path / "echo.toml"
    catalogue.write_text('[stand_ins]\nchat = "echo"\n', encoding="utf-8")
    script = (ROOT / "examples" / "knowledge_base.py").read_text(encoding="utf-8")
    echoed = script.replace("embedded.start()", f"embedded.start(catalogue={str(catalogue)!r})")
    assert echoed != script
    done = subprocess.run(
        [sys.executable, "-c", echoed], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert "noodles on Friday" in done.stdout
    assert "source: handbook.md" in lines
    assert lines[-1] == "12*(3+4) = 84"
