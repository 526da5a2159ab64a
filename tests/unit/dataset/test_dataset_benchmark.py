"""The benchmark of the Dataset, on few rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def side(name: str, source: Path, target: Path) -> dict[str, float]:
    command = [sys.executable, str(BENCHMARKS / "dataset_sides.py"), name, str(source), str(target)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_our_pipeline_writes_the_bytes_of_the_plain_loop(tmp_path: Path) -> None:
    """In no more memory than the file would take."""
    make = "import dataset_rows, pathlib, sys; print(dataset_rows.path_of(pathlib.Path(sys.argv[1]), 25_001))"
    made = subprocess.run(
        [sys.executable, "-c", make, str(tmp_path)],
        cwd=BENCHMARKS,
        capture_output=True,
        check=True,
        text=True,
    )
    source = Path(made.stdout.strip())
    assert source.stat().st_size > 12 << 20
    mine, plain = (side(name, source, tmp_path / f"{name}.jsonl") for name in ("ours", "loop"))
    assert mine["rows"] == plain["rows"] > 20_000
    assert (tmp_path / "ours.jsonl").read_bytes() == (tmp_path / "loop.jsonl").read_bytes()
    assert mine["peak_mib"] < 60
