from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from qianfan_platform.trainers import process, run
from qianfan_platform.trainers.protocol import Event, Hyper, TrainSpec


def child_that(died: int, tmp_path: Path, said: list[str], at: int | None = None) -> str:
    """The words for a child that ended with `died`."""
    child = process.Child(None, -1, -1, tmp_path)  # type: ignore[arg-type]
    child.tail.extend(said)
    child.last = {"step": at, "steps": 60} if at else {}
    outcome = child.outcome(died)
    assert outcome.status == "failed"
    return outcome.reason


def test_a_spec_survives_json(tmp_path: Path) -> None:
    """What the child reads is what the server meant."""
    import json

    spec = TrainSpec(
        tmp_path, tmp_path / "r", tmp_path / "w", hyper=Hyper(epochs=9), resume_from=tmp_path / "c"
    )
    assert TrainSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_child_gets_no_secret_and_no_network() -> None:
    """Only what a process needs to start is passed on; threads are fixed."""
    outer = {"PATH": "/bin", "QIANFAN_SK": "s", "AWS_SECRET_ACCESS_KEY": "s", "HF_TOKEN": "s", "LC_ALL": "C"}
    inner = process.environment(outer, threads=3)
    assert inner["PATH"] == "/bin"
    assert inner["LC_ALL"] == "C"
    assert not {"QIANFAN_SK", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"} & set(inner)
    assert inner["OMP_NUM_THREADS"] == inner["MKL_NUM_THREADS"] == "3"
    assert inner["HF_HUB_OFFLINE"] == "1"


def test_a_silent_death_is_put_in_words(tmp_path: Path) -> None:
    """The signal by name, the step, and what was said last."""
    reason = child_that(-signal.SIGKILL, tmp_path, [], at=41)
    assert reason == (
        "the training process was killed (SIGKILL, most likely because the machine ran out of memory) "
        "after step 41 of 60"
    )
    reason = child_that(-signal.SIGSEGV, tmp_path, ["Fatal Python error"])
    assert reason.startswith("the training process was killed (SIGSEGV) before the first step")
    assert "Fatal Python error" in reason
    assert "ended with code 3" in child_that(3, tmp_path, [])


def test_a_child_that_hangs_is_told_of_and_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that neither speaks nor computes; its death is told as what it was, and it may be begun again."""
    monkeypatch.setattr(process, "LOOK", 0.05)
    monkeypatch.setattr(process, "QUIET", 0.2)
    monkeypatch.setattr(process, "HUNG", 0.6)
    told: list[str] = []

    async def on_event(event: Event) -> None:
        told.append(event["text"])

    async def main() -> process.Child:
        asleep = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
        child = process.Child(asleep, -1, -1, tmp_path)
        await child.look_for_life(on_event)
        await asleep.wait()
        return child

    child = asyncio.run(main())
    assert len(told) == 1
    assert "has said nothing and computed nothing for" in told[0]
    assert child.killed
    assert re.match(r"the training process hung: it did nothing for \d s before", child.outcome(-9).reason)


def test_a_child_that_computes_in_silence_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of a big model may say nothing for an hour."""
    monkeypatch.setattr(process, "LOOK", 0.4)
    monkeypatch.setattr(process, "QUIET", 0.0)  # any look that finds it idle tells
    told: list[Event] = []

    async def on_event(event: Event) -> None:
        told.append(event)

    async def main() -> None:
        busy = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "while True: pass", start_new_session=True
        )
        child = process.Child(busy, -1, -1, tmp_path)
        looking = asyncio.create_task(child.look_for_life(on_event))
        await asyncio.wait((looking,), timeout=1.2)
        looking.cancel()
        child.kill()
        await busy.wait()

    asyncio.run(main())
    assert told == []


def test_what_is_missing_is_found_without_importing_it() -> None:
    """Asking whether training is possible must not load torch into the server."""
    import subprocess
    import sys

    code = (
        "import sys; from qianfan_platform.trainers import run; run.missing();"
        "print(sorted({'torch', 'transformers', 'numpy', 'peft'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_child_that_cannot_read_its_base_fails_with_the_reason(tmp_path: Path) -> None:
    """A run that cannot start is an outcome, not an exception; its pipes are closed."""
    if run.missing():
        return
    rows = tmp_path / "rows.jsonl"
    rows.write_text('[{"prompt": "a", "response": [["b"]]}]\n')
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    seen: list[str] = []

    async def on_event(event) -> None:
        seen.append(event["kind"])

    spec = TrainSpec(tmp_path / "nothing", rows, tmp_path / "work")
    outcome = asyncio.run(run.run(spec, on_event, asyncio.Event()))
    assert outcome.status == "failed"
    assert "nothing" in outcome.reason
    assert "failed" in seen
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after == before
