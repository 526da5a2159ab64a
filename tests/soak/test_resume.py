"""The trainer killed at a hundred random moments, and what it leaves: nothing half, nobody, and the same bits.

`make soak-resume` runs it and prints what it did; SOAK_KILLS and SOAK_SEED change how often and where."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from qianfan_platform.catalogue import tiny
from qianfan_platform.trainers import run as trainers
from qianfan_platform.trainers.process import environment
from qianfan_platform.trainers.protocol import Hyper, TrainSpec

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(trainers.missing() is not None, reason="needs the train extra"),
]
KILLS = int(os.environ.get("SOAK_KILLS", "104"))
SEED = int(os.environ.get("SOAK_SEED", "7"))
AT_ONCE = 2
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {"method": "LoRA"},
    "ALL": {"method": "ALL"},
    "P-tuning": {"method": "P-tuning"},
    "DPO": {"mode": "DPO"},
}
MOMENTS = ("any time", "at a step", "writing a checkpoint", "writing a checkpoint", "writing the result")
LOOK_S = 0.0005  # how often a killer looks for what it waits for
NURSERY = Path(__file__).with_name("nursery.py")


@dataclass
class Chain:
    """Runs of one kind, one after the other, killed again and again."""

    name: str
    draw: random.Random
    kills: int
    hit: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    compared: int = 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the tiny model, answers and preferences."""
    tiny.build(tmp_path / "tiny")
    asked = [(f"Where is thing {n}?", f"Shelf {'ABCDEF'[n % 6]}{n}.", "Nobody knows.") for n in range(24)]
    rows = {
        "rows": [[{"prompt": q, "response": [[good]]}] for q, good, _ in asked],
        "pairs": [[{"prompt": q, "chosen": good, "rejected": bad}] for q, good, bad in asked],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_trainer_killed_at_any_point_ends_with_the_same_bits(place: Path) -> None:
    """Kill -9 at a hundred seeded moments, in the middle of files too; every run ends as an untouched one."""
    chains = [
        Chain(name, random.Random(f"{SEED} {name}"), KILLS // len(KINDS) + (at < KILLS % len(KINDS)))
        for at, name in enumerate(KINDS)
    ]
    begun = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in [threads.submit(follow, chain, place) for chain in chains]:
            done.result()
    # Of this test: others may be at it, too.
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if str(place) in (p.info["cmdline"] or ())]
    assert not left, f"orphans: {left}"
    print(f"\n{'run':<10}{'kills':>6}{'processes':>11}{'compared':>10}   killed when")
    for chain in chains:
        hits = ", ".join(f"{where} {count}" for where, count in chain.hit.most_common())
        print(f"{chain.name:<10}{chain.hit.total():>6}{chain.processes:>11}{chain.compared:>10}   {hits}")
    print(f"seed {SEED}, {time.monotonic() - begun:.0f} s")
    assert sum(chain.hit.total() for chain in chains) >= KILLS


def follow(chain: Chain, place: Path) -> None:
    """Run to the end once untouched; then kill, look at what is left, and go on, until enough were killed."""
    with Nursery(place) as nursery:
        whole = spec_of(place, chain.name, "untouched")
        begun = time.monotonic()
        assert nursery.run(whole, None) == 0, told(whole)[-1:]
        took = time.monotonic() - begun
        expected = made(whole.work / "result")
        spec = spec_of(place, chain.name, "killed")
        while True:
            killer = Killer(spec, chain.draw, took) if chain.hit.total() < chain.kills else None
            chain.processes += 1
            code = nursery.run(spec, killer)
            if code == -signal.SIGKILL and killer is not None:
                chain.hit[killer.where()] += 1
                assert_nothing_is_half(spec.work)
                continue
            assert code == 0, told(spec)[-1:]
            assert made(spec.work / "result") == expected
            chain.compared += 1
            if killer is None:
                return
            shutil.rmtree(spec.work)


def spec_of(place: Path, kind: str, work: str) -> TrainSpec:
    hyper = Hyper(epochs=2, batch_size=4, lora_dropout=0.1, learning_rate=5e-3)
    rows = place / ("pairs.jsonl" if kind == "DPO" else "rows.jsonl")
    changes = {"held_out": 0.1, "checkpoint_steps": 1, "dtype": "float32", "cache": place / "cache"}
    return TrainSpec(
        place / "tiny", rows, place / f"{kind}-{work}", hyper=hyper, **{**changes, **KINDS[kind]}
    )


class Nursery:
    """Where training processes come from, with the environment that the platform gives them."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __enter__(self) -> Nursery:
        self.process = subprocess.Popen(
            [sys.executable, str(NURSERY), str(self.place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(os.environ, threads=1),
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def run(self, spec: TrainSpec, killer: Killer | None) -> int:
        """How a process of this run ended: its exit code, or the signal as a negative number."""
        spec.work.mkdir(exist_ok=True)
        (spec.work / "spec.json").write_text(json.dumps(spec.to_json()))
        (spec.work / "events.jsonl").unlink(missing_ok=True)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{spec.work / 'spec.json'}\n")
        self.process.stdin.flush()
        pid = json.loads(self.process.stdout.readline())["pid"]
        if killer is None:
            return int(json.loads(self.process.stdout.readline())["code"])
        over = threading.Event()
        hunting = threading.Thread(target=killer.hunt, args=(pid, over))
        hunting.start()
        try:
            return int(json.loads(self.process.stdout.readline())["code"])
        finally:
            over.set()
            hunting.join()


class Killer:
    """Kills one training process at its moment; a moment that never comes kills nobody."""

    def __init__(self, spec: TrainSpec, draw: random.Random, took: float) -> None:
        self.work, self.moment = spec.work, draw.choice(MOMENTS)
        self.delay = draw.uniform(0, took) if self.moment == "any time" else draw.uniform(0, 0.01)
        self.skip = draw.randrange(4)  # checkpoints, or steps, to let pass

    def hunt(self, pid: int, over: threading.Event) -> None:
        seen: set[str] = set()
        while not over.wait(LOOK_S):
            parts = {part.name for part in self.parts()}
            seen |= parts
            match self.moment:
                case "any time":
                    break
                case "at a step" if self.steps() > self.skip:
                    break
                case "writing a checkpoint" if parts and len(seen) > self.skip:
                    break
                case "writing the result" if "result" in "".join(parts):
                    break
        if not over.wait(self.delay):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def steps(self) -> int:
        with contextlib.suppress(OSError):
            return (self.work / "events.jsonl").read_bytes().count(b'"kind": "step"')
        return 0

    def parts(self) -> Iterator[Path]:
        """What is being written now."""
        for folder in (self.work / "checkpoints", self.work):
            with contextlib.suppress(OSError):
                yield from folder.glob(".part-*")

    def where(self) -> str:
        """What the process was doing when it died, by what it left."""
        names = "".join(part.name for part in self.parts())
        if names:
            return "writing the result" if "result" in names else "writing a checkpoint"
        if (self.work / "result").exists():
            return "after its result"
        return "training" if self.steps() else "before its first step"


def told(spec: TrainSpec) -> list[str]:
    """What a process told of."""
    return (spec.work / "events.jsonl").read_text().splitlines()


def assert_nothing_is_half(work: Path) -> None:
    """Whatever has its final name is there to its last byte."""
    for folder in [*(work / "checkpoints").glob("[0-9]*"), work / "result"]:
        if not folder.is_dir():
            continue
        manifest = json.loads((folder / "manifest.json").read_bytes())
        assert manifest
        for name, digest in manifest.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, folder / name


def made(result: Path) -> dict[str, Any]:
    """What a run made: the bytes of its files, and its record without what a clock or the system measured."""
    record = json.loads((result / "training.json").read_bytes())
    for name in ("seconds", "tokens_per_second", "memory_mib", "path", "estimate", "took", "time_factor"):
        record["finished"].pop(name, None)
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in result.iterdir()
        if file.name not in ("training.json", "manifest.json")
    }
    return {"record": record, "files": files}
