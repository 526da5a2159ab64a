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
