"""Our trainer beside a bare loop and the trainers of others: CPU seconds of a step, and memory.

python benchmarks/training.py [--base FOLDER] [--rounds 5] [--steps 1] [--dtype bfloat16] [--threads 1]
                              [--rows tickets|mixed] [--no-peers] [--settings] [--strict]

Every side is a process of its own that trains the same model on the same batches; they take turns, and a figure
is the ratio of two that had their turn in the same round. `ours` is the trainer's whole run; `bare` is what one
writes first (see training_sides.py). TRL's SFTTrainer and Transformers' Trainer come from an environment in
.bench/, which is made at the first time; where that cannot be, they are left out aloud.

Without --base the built-in tiny model is trained; a folder made by `trainers.child.convert` gives figures of a
real one. --settings compares our own choices (attention, packing, micro-batches, dtype, threads)."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import training_rows
from rounds import Table, machine

ROOT = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).with_name("training_sides.py")
PEERS = ("TRL", "TRL as it comes", "Trainer")
PEERS_NEED = ("trl==1.16.0", "accelerate==1.15.0", "datasets==5.2.0")
SETTINGS: dict[str, dict[str, Any]] = {
    "ours: fused attention": {"study": "fused attention"},
    "ours: no packing": {"study": "no packing"},
    "ours: one micro-batch": {"study": "one micro-batch"},
    "ours: float32": {"dtype": "float32"},
    "ours: 2 threads": {"threads": 2},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="in a turn")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", choices=tuple(training_rows.KINDS), default="tickets")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--settings", action="store_true")
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        table = compare(given, Path(folder), stack)
    return 1 if given.strict and table.missed else 0


def compare(given: argparse.Namespace, folder: Path, stack: ExitStack) -> Table:
    """Start every side, let them take turns, and print what came out."""
    from qianfan_platform.catalogue import tiny

    base = given.base.absolute() if given.base else folder / "tiny"
    if given.base is None:
        tiny.build(base)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in training_rows.KINDS[given.rows]()))
    common = {"base": str(base), "rows": str(rows), "dtype": given.dtype, "threads": given.threads}
    common["steps"] = given.steps
    names: dict[str, dict[str, Any]] = {"ours": {}, "bare": {}}
    peers = None if given.no_peers else environment_of_peers(ROOT / ".bench" / "trl")
    names |= {name: {} for name in PEERS if peers}
    names |= SETTINGS if given.settings else {}
    sides: dict[str, Side] = {}
    for name, changes in names.items():
        work = folder / str(len(sides))
        work.mkdir()
        python = peers if name in PEERS and peers else Path(sys.executable)
        sides[name] = stack.enter_context(side(python, name, {**common, **changes, "work": str(work)}))

    model = given.base.parent.name if given.base else "tiny"
    print(f"{model}, {given.rows}, {given.dtype}, {given.threads} thread(s), {given.steps} steps a turn")
    print(f"{machine()}; {given.rounds} rounds after one that warms up\n")
    table = Table(unit="s")
    turns: Mapping[str, Callable[[], float]] = {name: one.turn for name, one in sides.items()}
    Table().round({"": turns}, 0)
    for number in range(given.rounds):
        table.round({"cpu": turns}, number)
    for name, one in sides.items():
        table.add("peak", name, one.end())
    report(table, list(sides))
    return table


def report(table: Table, names: list[str]) -> None:
    table.show("cpu", "CPU seconds of a step")
    table.unit = "MiB"
    table.show("peak", "Most memory of the process")
    print("\nCPU of a step, ratios within a round: median, and the interval over the rounds")
    table.judge("cpu", "ours", "bare", 1.05)
    for name in names:
        if name in PEERS:
            table.judge("cpu", "ours", name, 1.0)
        elif name.startswith("ours:"):
            table.compare("cpu", name, "ours")
    print("\nmemory")
    measured = {name: table.rows["peak"][name][0] for name in names if name in (*PEERS, "bare")}
    table.judge("peak", "ours", min(measured, key=lambda name: measured[name]), 1.0)


class Side:
    """A training process that waits for its turn."""

    def __init__(self, name: str, process: subprocess.Popen[str], said: Path) -> None:
        self.name, self.process, self.said = name, process, said

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.said.read_text()[-2000:]
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}: {said}")
        found: dict[str, Any] = json.loads(line)
        return found

    def turn(self) -> float:
        """CPU seconds of a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.answer()["cpu"])

    def end(self) -> float:
        """Its peak memory in MiB."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return float(self.answer()["peak_mib"])


@contextmanager
def side(python: Path, name: str, settings: dict[str, Any]) -> Iterator[Side]:
    """Start a side, in the environment that the platform gives its trainer. A process each, so that memory is
    told apart; ended with the block."""
    from qianfan_platform.trainers.run import environment

    process = subprocess.Popen(
        [str(python), str(SIDES), name, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(Path(settings["work"]) / "said.txt").open("w"),
        text=True,
        env=environment(os.environ, settings["threads"]),
    )
    one = Side(name, process, Path(settings["work"]) / "said.txt")
    try:
        one.answer()
        yield one
    finally:
        process.kill()
        process.wait()


def environment_of_peers(folder: Path) -> Path | None:
    """The interpreter of an environment with the peers, on top of ours: the same torch, Transformers and PEFT.

    None where it cannot be made; that is said."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(PEERS_NEED):
        return python
    print(f"installing {', '.join(PEERS_NEED)} into {folder.relative_to(ROOT)}", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=False)
    if made.returncode == 0:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "host.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        made = subprocess.run([*command, *PEERS_NEED], check=False)
    if made.returncode:
        print("the trainers of others are LEFT OUT: their environment could not be made")
        return None
    ready.write_text(" ".join(PEERS_NEED))
    return python


if __name__ == "__main__":
    raise SystemExit(main())
