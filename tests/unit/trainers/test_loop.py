"""Runs of the tiny model in this process: what the loop does when memory is short or the loss diverges."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from safetensors.torch import load_file

from qianfan_platform.trainers.child import export
from qianfan_platform.trainers.child.batches import cost
from qianfan_platform.trainers.child.loop import Run
from qianfan_platform.trainers.child.objectives import Language
from qianfan_platform.trainers.child.wire import Refused, Stopped
from qianfan_platform.trainers.protocol import Event, Hyper, TrainSpec

# PEFT asks a deprecated property of Transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


class Told:
    """The pipes of a run: keeps what is told, and stops where it is asked to."""

    def __init__(self, stop_at: int = 0) -> None:
        self.events: list[Event] = []
        self.stop_at = stop_at

    def send(self, kind: str, **facts: Any) -> None:
        self.events.append({"kind": kind, **facts})

    def log(self, text: str, level: str = "info") -> None:
        self.send("log", text=text, level=level)

    def warn(self, text: str) -> None:
        self.log(text, "warning")

    def begin(self) -> None: ...

    def check(self) -> None:
        if self.stop_at and self.of("step") and self.of("step")[-1]["step"] >= self.stop_at:
            raise Stopped

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["kind"] == kind]


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> TrainSpec:
    """Two epochs of three steps."""
    rows = tmp_path / "rows.jsonl"
    lines = [[{"prompt": "Where?" * (1 + n % 3), "response": [[f"Shelf {n}."]]}] for n in range(12)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    hyper = Hyper(epochs=2, batch_size=4, learning_rate=5e-3)
    return TrainSpec(tiny_model, rows, tmp_path / "work", hyper=hyper, held_out=0.0, dtype="float32")


def trained(spec: TrainSpec, told: Told | None = None) -> Told:
    spec.work.mkdir(exist_ok=True)
    told = told or Told()
    run = Run(spec, told, told)  # type: ignore[arg-type]
    run.do()
    return told


def adapter(work: Path) -> dict[str, torch.Tensor]:
    return load_file(work / "adapter_model.safetensors")


def test_a_step_tells_all_its_figures_and_the_end_compares_with_the_estimate(spec: TrainSpec) -> None:
    """Loss, perplexity, rate, gradient norm, speed, memory; and what was thought beside what was."""
    told = trained(replace(spec, checkpoint_steps=2, checkpoints_kept=1))
    step = told.of("step")[3]
    assert step["perplexity"] == pytest.approx(math.exp(step["loss"]))
    assert step["gradient_norm"] > 0
    assert step["tokens_per_second"] > 0
    assert step["memory_mib"] > 0
    (end,) = told.of("finished")
    assert end["estimate"] == told.of("plan")[0]["estimate"]
    assert end["took"]["seconds"] > 0
    assert end["took"]["memory_mib"] > 0
    assert end["time_factor"] == pytest.approx(end["took"]["seconds"] / end["estimate"]["seconds"], abs=1e-3)
    first, second = told.of("checkpoint")
    assert (first["step"], first["checkpoints"], second["checkpoints"]) == (2, [2], [4])
    assert first["loss"] == told.of("step")[1]["loss"]
    assert first["perplexity"] == pytest.approx(math.exp(first["loss"]))
    assert end["checkpoints"] == [4]


def test_a_budget_makes_the_pieces_smaller_and_the_batch_stays(spec: TrainSpec) -> None:
    """Less memory than the whole batch needs: smaller micro-batches, said aloud, with the same losses."""
    whole = trained(spec)
    run = Run(replace(spec, work=spec.work / "small"), told := Told(), told)  # type: ignore[arg-type]
    run.spec.work.mkdir()
    ledger = run.prepare()
    run.memory.budget = 1e9
    measured = run.dry_run(ledger)["memory_mib"]
    assert not told.of("log")
    # Wherever the real peak lies, a budget a little above what one sample needs is too small for four.
    room = run.memory
    lengths = sorted(cost([sample]) for sample in run.train)
    checked: list[float] = []

    def check(needed: float) -> None:
        checked.append(needed)
        if len(checked) == 2:  # the first is of the longest sample alone, this one of the whole batch
            type(room).check(room, room.budget + 1)

    room.check = check  # type: ignore[method-assign]
    run.dry_run(ledger)
    assert run.trainee.at_once < 4 * lengths[-1]
    assert measured > 0
    (warning,) = told.of("log")
    assert "memory is short" in warning["text"]
    assert "learns from 4 samples" in warning["text"]
    run.tell_plan({"seconds": 1.0, "memory_mib": 1}, None)
    run.go()
    losses = [step["loss"] for step in told.of("step")]
    assert losses == pytest.approx([step["loss"] for step in whole.of("step")], rel=1e-3)


def test_a_sample_that_does_not_fit_alone_is_refused_by_its_line(spec: TrainSpec) -> None:
    """A budget below the model itself: the run is refused and names the longest sample."""
    with pytest.raises(Refused, match=r"sample 12 with its \d+ tokens does not fit .* lower max_seq_len"):
        trained(replace(spec, memory_mib=10))


@pytest.mark.parametrize(
    ("held_out", "what"), [(0.0, "what the trained model answers"), (0.2, "the held-out loss")]
)
def test_a_run_that_its_last_update_broke_is_no_finished_one(
    spec: TrainSpec, held_out: float, what: str
) -> None:
    """All losses were numbers, what was learned is none: nothing is left that could be published."""
    hyper = Hyper(epochs=1, batch_size=12, learning_rate=1e30, warmup_ratio=0.0)
    told = Told()
    with pytest.raises(Refused, match=f"{what} is not a number at step 1 of 1: lower learning_rate"):
        trained(replace(spec, hyper=hyper, held_out=held_out), told)
    assert len(told.of("step")) == 1
    assert not (spec.work / "result").exists()


class Cramped(Language):
    """A machine on which no more than so many tokens fit, once `full` is set."""

    full = False

    def __init__(self, most: int) -> None:
        self.most = most

    def sums(self, trainee: Any, samples: Any) -> Any:
        if self.full and cost(samples) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB.")
        self.full = trainee.optimiser.state != {}
        return super().sums(trainee, samples)


def cramped(spec: TrainSpec, told: Told) -> Told:
    """A run that finds after its first step that less fits than it had tried."""

    class Short(Run):
        def prepare(self) -> Any:
            ledger = super().prepare()
            self.objective = Cramped(2 * max(cost([sample]) for sample in self.train))
            return ledger

    spec.work.mkdir(exist_ok=True)
    Short(spec, told, told).do()  # type: ignore[arg-type]
    return told


def test_a_shortage_in_the_middle_of_a_run_keeps_the_plan_for_whoever_goes_on(spec: TrainSpec) -> None:
    """The batch goes through in smaller pieces, and a run that was stopped later ends with the same bits."""
    told = cramped(spec, Told())
    assert any("memory is short" in event["text"] for event in told.of("log"))
    assert len(told.of("step")) == 6
    stopped = replace(spec, work=spec.work / "again")
    with pytest.raises(Stopped):
        cramped(stopped, Told(stop_at=3))
    # The second process never meets the shortage, and must cut its batches in the same way all the same.
    again = trained(stopped)
    assert again.of("plan")[0]["resumed_step"] == 3
    one, two = adapter(spec.work / "result"), adapter(stopped.work / "result")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_kept_checkpoint_becomes_a_result(spec: TrainSpec) -> None:
    """Any step that is kept can be published: its weights, the record, the proof; another step is refused."""
    trained(replace(spec, checkpoint_steps=2, checkpoints_kept=2))
    out = spec.work / "of-step-2"
    export.export(spec, 2, out)
    held = load_file(spec.work / "checkpoints" / "2" / "weights.safetensors")
    exported = adapter(out)
    assert len(exported) == len(held)
    assert all(torch.equal(exported[name.replace(".default.", ".")], held[name]) for name in held)
    record = json.loads((out / "training.json").read_bytes())
    assert record["finished"]["step"] == 2
    assert json.loads((out / "parity.json").read_bytes())
    with pytest.raises(Refused, match="those that are kept: 2, 4"):
        export.export(spec, 3, out)
