"""Our trainer beside a bare loop and the trainers of others: CPU seconds of a step, and memory.

python benchmarks/training.py [--base FOLDER] [--rounds 5] [--steps 1] [--rows tickets|mixed|pairs] [--batch 8]
                              [--method LoRA|ALL] [--dtype bfloat16|float32] [--threads 1] [--device cpu|cuda]
                              [--llama-factory] [--no-peers] [--settings] [--strict]

Every side is a process of its own that trains the same model on the same batches; they take turns, and a figure
is the ratio of two that had their turn in the same round. That all learn the same is checked: the losses of the
first two steps must agree. `ours` is the trainer's whole run; `bare` is what one writes first (training_sides.py).
TRL's trainers and Transformers' come from an environment in .bench/, made at the first time; where that cannot
be, they are left out aloud. --llama-factory makes one more for LLaMA-Factory, which wants older libraries; the usual
comparison with it is --dtype float32. --rows pairs compares preference optimisation (DPO).

Without --base the built-in tiny model is trained; a folder made by `trainers.child.convert` gives figures of a
real one, as does --model with one that this platform has converted already, by its name in the catalogue.
--settings compares our own choices (attention, packing, micro-batches, fused layers and loss, dtype, threads).
On a GPU (--device cuda) a figure is seconds of the clock, and memory is that of the GPU."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
FACTORY = "LLaMA-Factory"
FACTORY_NEEDS = (
    "llamafactory==0.9.5", "transformers==5.6.0", "tokenizers==0.22.2", "huggingface_hub==1.33.0", "peft==0.18.1",
    "trl==0.24.0", "accelerate==1.11.0", "datasets==4.0.0", "fsspec==2025.3.0", "dill==0.3.8",
    "multiprocess==0.70.16", "pandas==2.3.3", "python-dateutil", "pytz", "tzdata", "xxhash", "requests",
    "charset-normalizer", "omegaconf", "antlr4-python3-runtime==4.9.3", "fire", "termcolor", "einops",
    "av==16.0.0", "pillow", "torchdata==0.11.0", "modelscope==1.40.2", "modelscope-hub==0.5.1", "matplotlib", "contourpy",
    "cycler", "fonttools", "kiwisolver", "pyparsing", "httpx==0.28.1", "httpcore", "anyio", "h11", "idna", "certifi",
)  # fmt: skip
"""What it imports to train text. pip's own choice brings another torch with CUDA, and gradio."""
NO_BUILD = "torchaudio"
"""LLaMA-Factory imports it, and there is no build for CPUs: an empty module stands in its place."""
SAME = {"bfloat16": (0.01, 0.05), "float32": (0.0002, 0.002)}
"""How far the losses of the first and of the second step may be apart: a side in another dtype is found out."""
SETTINGS: dict[str, dict[str, Any]] = {
    "ours: PEFT's layers": {"study": "PEFT's layers"},
    "ours: loss over logits": {"study": "loss over logits"},
    "ours: fused attention": {"study": "fused attention"},
    "ours: no packing": {"study": "no packing"},
    "ours: one micro-batch": {"study": "one micro-batch"},
    "ours: float32": {"dtype": "float32"},
    "ours: 2 threads": {"threads": 2},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--base", type=Path)
    where.add_argument("--model", help="a name of the catalogue, such as SmolLM2-135M-Instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="in a turn")
    parser.add_argument("--batch", type=int, default=8, help="samples of a step")
    parser.add_argument("--method", choices=("LoRA", "ALL"), default="LoRA")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", choices=tuple(training_rows.KINDS), default="tickets")
    parser.add_argument("--llama-factory", action="store_true", help="one side more")
    parser.add_argument("--no-peers", action="store_true", help="without TRL and Transformers' Trainer")
    parser.add_argument("--settings", action="store_true")
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    given = parser.parse_args()
    if given.llama_factory and given.rows == "pairs":
        parser.error("--llama-factory is measured on tickets and mixed rows only")
    if given.device == "cuda" and not gpu_name():
        parser.error("torch sees no GPU here")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        table = compare(given, Path(folder), stack)
    return 1 if given.strict and table.missed else 0


def compare(given: argparse.Namespace, folder: Path, stack: ExitStack) -> Table:
    """Start every side, let them take turns, and print what came out."""
    base = base_of(given, folder)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in training_rows.KINDS[given.rows]()))
    common = {
        name: getattr(given, name) for name in ("method", "dtype", "device", "threads", "steps", "batch")
    }
    common |= {"base": str(base), "rows": str(rows), "turns": given.rounds + 1}
    common["mode"] = "DPO" if given.rows == "pairs" else "SFT"
    pythons = environments(given)
    names: dict[str, dict[str, Any]] = {"ours": {}, "bare": {}, **{name: {} for name in pythons}}
    names |= SETTINGS if given.settings else {}
    sides: dict[str, Side] = {}
    for name, changes in names.items():
        work = folder / str(len(sides))
        work.mkdir()
        python = pythons.get(name, Path(sys.executable))
        sides[name] = stack.enter_context(side(python, name, {**common, **changes, "work": str(work)}))

    model = given.model or (given.base.parent.name if given.base else "tiny")
    print(
        f"{model}, {given.method}, {given.rows}, {given.dtype}, batches of {given.batch}, {given.steps} steps a turn"
    )
    gpu = f", {gpu_name()}" if given.device == "cuda" else ""
    print(f"{given.threads} thread(s) of {machine()}{gpu}; {given.rounds} rounds after one that warms up\n")
    table = Table(unit="s")
    turns: Mapping[str, Callable[[], float]] = {name: one.turn for name, one in sides.items()}
    Table().round({"": turns}, 0)
    for number in range(given.rounds):
        table.round({"step": turns}, number)
    same_losses({name: one.losses for name, one in sides.items()}, given.dtype)
    for name, one in sides.items():
        table.add("peak", name, one.end())
    report(table, list(sides), "Seconds" if given.device == "cuda" else "CPU seconds")
    return table


def base_of(given: argparse.Namespace, folder: Path) -> Path:
    """The folder of the model that is trained. Raises SystemExit where it is not there."""
    from qianfan_platform.catalogue import tiny
    from qianfan_platform.catalogue.weights import default_home

    if given.base:
        return Path(given.base).absolute()
    if not given.model:
        tiny.build(folder / "tiny")
        return folder / "tiny"
    found = sorted(
        (default_home() / "models").glob(f"{given.model}-*/hf/config.json"), key=lambda f: f.stat().st_mtime
    )
    if not found:
        raise SystemExit(
            f"{given.model} was not trained here yet, so it is not converted; train it once, or give --base"
        )
    return found[-1].parent


def environments(given: argparse.Namespace) -> dict[str, Path]:
    """The interpreter of each trainer of others that can be had. What cannot is said."""
    found: dict[str, Path] = {}
    if not given.no_peers:
        python = environment_of_peers(ROOT / ".bench" / "trl", PEERS_NEED)
        # Transformers' Trainer knows no preferences.
        names = [name for name in PEERS if not (given.rows == "pairs" and name == "Trainer")]
        found |= {name: python for name in names if python}
    if given.llama_factory:
        place = ROOT / ".bench" / "llamafactory"
        python = environment_of_peers(place, FACTORY_NEEDS, "--no-deps")
        if python:
            (site,) = place.glob("lib/python*/site-packages")
            (site / f"{NO_BUILD}.py").touch()
            found[FACTORY] = python
    return found


def same_losses(losses: Mapping[str, list[float]], dtype: str) -> None:
    """Raises SystemExit where a side's first losses are others than the bare loop's: then it learns something else,
    and its time says nothing."""
    for step, (right, apart) in enumerate(zip(losses["bare"], SAME[dtype], strict=False)):
        for name, told in losses.items():
            if not math.isclose(told[step], right, rel_tol=apart, abs_tol=1e-4):
                raise SystemExit(
                    f"step {step + 1}: the loss of {name} is {told[step]:.4f}, of the bare loop {right:.4f}"
                )
    print(
        f"first losses agree: {', '.join(f'{name} {told[0]:.4f} {told[1]:.4f}' for name, told in losses.items())}"
    )


def gpu_name() -> str:
    """What torch calls the GPU; "" where it sees none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def report(table: Table, names: list[str], unit: str) -> None:
    table.show("step", f"{unit} of a step")
    table.unit = "MiB"
    table.show("peak", "Most memory of the process")
    print(f"\n{unit} of a step, ratios within a round: median, and the interval over the rounds")
    table.judge("step", "ours", "bare", 1.05)
    others = [name for name in names if name in (*PEERS, FACTORY)]
    for name in names:
        if name in others:
            table.judge("step", "ours", name, 1.0)
        elif name.startswith("ours:"):
            table.compare("step", name, "ours")
    print("\nmemory")
    measured = {name: table.rows["peak"][name][0] for name in ("bare", *others)}
    table.judge("peak", "ours", min(measured, key=lambda name: measured[name]), 1.0)
    for name in names:
        if name.startswith("ours:"):
            table.compare("peak", name, "ours")


class Side:
    """A training process that waits for its turn."""

    def __init__(self, name: str, process: subprocess.Popen[str], said: Path) -> None:
        self.name, self.process, self.said = name, process, said
        self.losses: list[float] = []

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.said.read_text()[-2000:]
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}: {said}")
        found: dict[str, Any] = json.loads(line)
        return found

    def turn(self) -> float:
        """Seconds of a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        found = self.answer()
        self.losses += found["losses"]
        return float(found["spent"])

    def end(self) -> float:
        """Its peak memory in MiB."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return float(self.answer()["peak_mib"])


@contextmanager
def side(python: Path, name: str, settings: dict[str, Any]) -> Iterator[Side]:
    """Start a side, in the environment that the platform gives its trainer. A process each, so that memory is
    told apart; ended with the block."""
    from qianfan_platform.trainers.process import environment

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


def environment_of_peers(folder: Path, needs: Sequence[str], *options: str) -> Path | None:
    """The interpreter of an environment with `needs`, on top of ours: the same torch.

    options: of pip. None where it cannot be made; that is said."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(needs):
        return python
    print(f"installing {', '.join(needs)} into {folder.relative_to(ROOT)}", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=False)
    if made.returncode == 0:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "host.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        made = subprocess.run([*command, *options, *needs], check=False)
    if made.returncode:
        print(f"{needs[0]} and what it needs are LEFT OUT: their environment could not be made")
        return None
    ready.write_text(" ".join(needs))
    return python


if __name__ == "__main__":
    raise SystemExit(main())
