"""Our Dataset beside a plain loop and the tables of others: CPU seconds and memory of one pipeline.

python benchmarks/dataset.py [--rows 200000] [--rounds 3] [--near 100000,1000000] [--python INTERPRETER] [--strict]

load → check against the template → filter → map → drop exact duplicates → save, over conversations (1,000,000 rows:
540 MB, made once into .bench/dataset). Every side is a process of its own (dataset_sides.py); they take turns, and a
figure is the ratio of two that had their turn in the same round. `loop` is a streamed loop over lines with orjson
that does the same work; its bytes and ours must be the same, and everybody's number of rows. Of polars, duckdb and
Hugging Face datasets those are asked that can be imported by this interpreter, or by the one of --python.

Then: the same pipeline in less address space than the file has bytes, and near duplicates of 10^5 and more rows."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import dataset_rows
from rounds import Table, machine

ROOT = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).with_name("dataset_sides.py")
PEERS = ("polars", "duckdb", "datasets")
CAPPED = 600_000  # rows: enough that the file is larger than the memory given


class Sides:
    """Runs sides on a file and remembers what they said."""

    def __init__(self, source: Path, folder: Path, peers: str) -> None:
        self.source, self.folder, self.peers = source, folder, peers
        self.rows: dict[str, int] = {}

    def run(self, name: str, source: Path | None = None) -> dict[str, Any]:
        """One turn. Ends the program when the side fails."""
        python = self.peers if name in PEERS else sys.executable
        command = [python, str(SIDES), name, str(source or self.source), str(self.target(name))]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{name} ended with code {ended.returncode}: {ended.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        self.rows[name] = found["rows"]
        return found

    def target(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def has(self, name: str) -> bool:
        """Whether a peer is installed; one that is not is left out aloud."""
        asked = subprocess.run([self.peers, "-c", f"import {name}"], capture_output=True, check=False)
        if asked.returncode:
            print(f"{name} is LEFT OUT: it is not installed")
        return asked.returncode == 0

    def digest(self, name: str) -> str:
        with self.target(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--near", default="", help="numbers of rows, like 100000,1000000")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the others")
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    given = parser.parse_args()
    cache = ROOT / ".bench" / "dataset"
    source = dataset_rows.path_of(cache, given.rows)
    table = Table(unit="s")
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        sides = Sides(source, Path(folder), given.python)
        exact(sides, table, given.rounds)
        bounded(sides, table, dataset_rows.path_of(cache, max(CAPPED, given.rows)))
        alike(sides, [int(number) for number in given.near.split(",") if number], cache)
    return 1 if given.strict and table.missed else 0


def exact(sides: Sides, table: Table, rounds: int) -> None:
    """The pipeline, everybody in turn."""
    size = sides.source.stat().st_size / (1 << 20)
    print(f"{sides.source.name}: {size:.0f} MiB; {machine()}; {rounds} rounds", flush=True)
    names = ["ours", "loop", *filter(sides.has, PEERS)]
    peaks: dict[str, float] = {}

    def turn(name: str) -> Callable[[], float]:
        def run() -> float:
            said = sides.run(name)
            peaks[name] = max(peaks.get(name, 0.0), said["peak_mib"])
            return float(said["cpu"])

        return run

    for number in range(rounds):
        table.round({"cpu": {name: turn(name) for name in names}}, number)
    table.show("cpu", "CPU seconds of the pipeline")
    print("\nmost memory, MiB; rows out")
    for name in names:
        print(f"  {name:<34} {peaks[name]:10.0f}   {sides.rows[name]:,}")
        table.add("peak", name, peaks[name])
    if len(set(sides.rows.values())) != 1 or sides.digest("ours") != sides.digest("loop"):
        raise SystemExit(f"the sides do not agree: {sides.rows}")
    print("\nCPU, ratios within a round: median, and the interval over the rounds")
    table.judge("cpu", "ours", "loop", 1.25)
    for name in names[2:]:
        if name == "datasets":
            table.judge("cpu", "ours", name, 0.08)
        else:
            table.compare("cpu", "ours", name)
    good = peaks["ours"] <= 150
    table.missed += not good
    print(f"\nmemory of ours {peaks['ours']:.0f} MiB   target ≤ 150   {'ok' if good else 'MISSED'}")


def bounded(sides: Sides, table: Table, source: Path) -> None:
    """A file that is larger than the memory."""
    if not Path("/proc/self/statm").exists():
        print("\nnot measured here: a file larger than the memory")
        return
    said = sides.run("capped", source)
    size = source.stat().st_size / (1 << 20)
    print(
        f"\n{size:.0f} MiB in 192 MiB of address space: {said['rows']:,} rows, peak {said['peak_mib']:.0f} MiB"
    )


def alike(sides: Sides, sizes: list[int], cache: Path) -> None:
    """Near duplicates: the work is to be linear in the rows."""
    for rows in sizes:
        said = sides.run("near", dataset_rows.path_of(cache, rows))
        each = said["cpu"] / rows * 1e6
        print(
            f"near duplicates of {rows:,} rows: {said['cpu']:.1f} s of CPU, {each:.0f} us a row, "
            f"peak {said['peak_mib']:.0f} MiB, {said['rows']:,} left",
            flush=True,
        )


if __name__ == "__main__":
    raise SystemExit(main())
