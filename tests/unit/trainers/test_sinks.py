"""Sinks in their own processes: a plug-in of a package of its own, installed by nothing but a folder."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qianfan_platform.trainers.protocol import Event, TrainSpec
from qianfan_platform.trainers.sinks import host
from qianfan_platform.trainers.sinks.host import Sinks
from qianfan_platform.trainers.sinks.protocol import figures

PLUGIN = """
import json, os, time
from pathlib import Path

class Sink:
    def __init__(self, target):
        if target == "broken":
            raise RuntimeError("no way to https://me:secret@example/broken with " + os.environ["MY_LIBRARY_KEY"])
        if target == "hangs":
            time.sleep(3600)
        self.out = Path(target)

    def start(self, run):
        print("noise of a library")
        kept = run.folder / "begun"
        begun = int(kept.read_text()) + 1 if kept.exists() else 1
        kept.write_text(str(begun))
        self.write(start=run.name, mode=run.facts["mode"], rank=run.facts["lora_rank"], begun=begun)
        self.write(secrets=sorted(name for name in os.environ if name.startswith(("QIANFAN_", "MY_"))))

    def step(self, step, figures):
        if step == 3 and self.out.name == "dies":
            os._exit(9)
        self.write(step=step, **figures)

    def finish(self, status):
        self.write(finish=status)

    def write(self, **said):
        with self.out.open("a") as file:
            file.write(json.dumps(said) + "\\n")
"""
EVENTS: list[Event] = [
    {"kind": "plan", "steps": 2},
    {"kind": "step", "step": 1, "steps": 2, "loss": 2.5, "learning_rate": 0.1, "seconds_left": 3.0},
    {"kind": "step", "step": 2, "steps": 2, "loss": None, "learning_rate": 0.05},
    {"kind": "eval", "step": 2, "loss": 2.0, "perplexity": 7.4, "tokens": 10},
]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a sink called `notes`, found by its entry point."""
    site = tmp_path / "site"
    (site / "notes_sink-1.dist-info").mkdir(parents=True)
    (site / "notes_sink.py").write_text(PLUGIN)
    (site / "notes_sink-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: notes_sink\nVersion: 1\n"
    )
    (site / "notes_sink-1.dist-info" / "entry_points.txt").write_text(
        "[qianfan.train_sinks]\nnotes = notes_sink:Sink\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "of the platform")
    monkeypatch.setenv("MY_LIBRARY_KEY", "of the sink")


def played(tmp_path: Path, *wanted: str, events: list[Event] = EVENTS) -> list[Event]:
    """What is told of the sinks while these events go to them."""
    told: list[Event] = []

    async def main() -> None:
        async def on_event(event: Event) -> None:
            told.append(event)

        sinks = Sinks(wanted, TrainSpec(tmp_path, tmp_path, tmp_path / "run-1"), on_event)
        await sinks.start()
        for event in events:
            await sinks.take(event)
        await sinks.finish("finished")
        sinks.end()

    asyncio.run(main())
    return told


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_plugin_gets_the_run_its_figures_and_its_end(plugin, tmp_path: Path) -> None:
    """From another package, in another process, with its own credentials and none of the platform's."""
    out = tmp_path / "out"
    assert played(tmp_path, f"notes={out}") == []
    assert lines(out) == [
        {"start": "run-1", "mode": "SFT", "rank": 16, "begun": 1},
        {"secrets": ["MY_LIBRARY_KEY"]},
        {"step": 1, "train/loss": 2.5, "train/learning_rate": 0.1},
        {"step": 2, "train/learning_rate": 0.05},
        {"step": 2, "eval/loss": 2.0, "eval/perplexity": 7.4},
        {"finish": "finished"},
    ]
    played(tmp_path, f"notes={out}", events=[])
    assert lines(out)[6]["begun"] == 2  # its folder is the same when the run goes on


def test_a_sink_that_fails_is_told_once_and_harms_nobody(plugin, tmp_path: Path) -> None:
    """Unknown, raising, or dying in the middle: a warning each, without a password, and the others go on."""
    out = tmp_path / "out"
    more = [*EVENTS, *({"kind": "step", "step": step, "loss": 1.0} for step in (3, 4, 5))]
    told = played(
        tmp_path, f"notes={out}", "notes=broken", "nobody", f"notes={tmp_path / 'dies'}", events=more
    )
    texts = sorted(event["text"] for event in told)
    assert [event["level"] for event in told] == ["warning"] * 3
    assert texts[0].startswith(
        "the train sink nobody is left out from here on: LookupError: no train sink is called"
    )
    assert (
        texts[1]
        == "the train sink notes is left out from here on: RuntimeError: no way to https://…@example/… with …"
    )
    assert texts[2] == "the train sink notes is left out from here on: its process died"
    assert lines(out)[-1] == {"finish": "finished"}


def test_sinks_that_hang_are_waited_for_together_and_left_out(
    plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends in good time, whatever becomes of its sinks."""
    monkeypatch.setattr(host, "FINISH_WITHIN", 1.0)
    begun = time.monotonic()
    told = played(tmp_path, *["notes=hangs"] * 3)
    assert time.monotonic() - begun < 3
    assert [event["text"] for event in told] == [
        "the train sink notes is left out from here on: it did not end within 1 s"
    ] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="an orphan gets another parent")
def test_a_sink_that_hangs_does_not_outlive_its_server_for_long(plugin, tmp_path: Path) -> None:
    """Killed before it could end its sinks: they see that it is gone, even in the middle of a call."""
    first = json.dumps(
        {"name": "notes", "target": "hangs", "run": "r", "facts": {}, "folder": str(tmp_path / "f")}
    )
    starter = (
        "import os, subprocess, sys\n"
        "code = 'import sys; from qianfan_platform.trainers.sinks import __main__ as sink; '\n"
        "code += 'sink.ORPHANED_FOR = 0.1; sys.exit(sink.main())'\n"
        "child = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE)\n"
        f"child.stdin.write({first!r}.encode() + b'\\n'); child.stdin.flush()\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        sink = psutil.Process(int(server.stdout.readline()))
        time.sleep(0.5)
        assert sink.is_running()
        server.kill()
    gone, alive = psutil.wait_procs([sink], timeout=15)
    for process in alive:
        process.kill()
    assert gone


def test_only_finite_figures_of_steps_and_evaluations_count() -> None:
    """Logs, ledgers and nulls have none; DPO's rewards come along by themselves."""
    assert figures({"kind": "log", "text": "x"}) == {}
    assert figures({"kind": "ledger", "samples": 3}) == {}
    assert figures({"kind": "step", "step": 1, "loss": None, "reward_margin": 0.5}) == {
        "train/reward_margin": 0.5
    }
