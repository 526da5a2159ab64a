"""Training for real: the tiny model, in its child process, killed, stopped, starved and resumed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from qianfan_platform.catalogue import tiny
from qianfan_platform.trainers import run as trainers
from qianfan_platform.trainers.protocol import Event, Hyper, Outcome, TrainSpec

pytestmark = pytest.mark.skipif(trainers.missing() is not None, reason="needs the train extra")

THINGS = [
    "anchor",
    "basket",
    "candle",
    "drawer",
    "easel",
    "funnel",
    "goblet",
    "hammer",
    "inkpot",
    "jigsaw",
    "kettle",
    "ladder",
    "mirror",
    "needle",
    "organ",
    "pillow",
    "quilt",
    "ribbon",
    "saddle",
    "teapot",
    "urn",
    "violin",
    "wallet",
    "xylophone",
    "yoyo",
    "zipper",
    "apron",
    "button",
    "compass",
    "dagger",
]

# Losses of the first two steps at seed 7, in float32 on one thread.
LORA_LOSSES = [15.154994, 9.776867]
ALL_LOSSES = [15.154994, 4.255572]


def facts() -> list[tuple[str, str]]:
    """Thirty questions and their answers."""
    draw = random.Random(1)
    return [
        (f"Where is the {t}?", f"On shelf {draw.choice('ABCDEF')}{draw.randint(10, 99)}.") for t in THINGS
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model and the thirty rows."""
    folder = tmp_path_factory.mktemp("training")
    tiny.build(folder / "tiny")
    rows = [[{"prompt": question, "response": [[answer]]}] for question, answer in facts()]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def spec_of(place: Path, name: str, **changes: Any) -> TrainSpec:
    hyper = Hyper(**{"epochs": 3, "lora_dropout": 0.1, **changes.pop("hyper", {})})
    spec = TrainSpec(place / "tiny", place / "rows.jsonl", place / name, hyper=hyper, dtype="float32")
    return replace(spec, **{"held_out": 0.0, "checkpoint_steps": 2, **changes})


def train(
    spec: TrainSpec, watch: Callable[[Event, asyncio.Event], None] = lambda event, stop: None
) -> tuple[Outcome, list[Event]]:
    """Run to the end; `watch` sees each event and may set the stop."""
    events: list[Event] = []

    async def main() -> Outcome:
        stop = asyncio.Event()

        async def on_event(event: Event) -> None:
            events.append(event)
            watch(event, stop)

        return await trainers.run(spec, on_event, stop)

    return asyncio.run(main()), events


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["kind"] == kind]


def child_of(process: psutil.Process) -> psutil.Process:
    """The training process that `process` started."""
    return next(c for c in process.children() if "qianfan_platform.trainers.child" in c.cmdline())


def weights(result: Path | None) -> str:
    """What stands for the bytes of the trained weights; a difference of megabytes would take minutes to print."""
    assert result is not None
    return hashlib.sha256(next(result.glob("*model.safetensors")).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def uninterrupted(place: Path) -> dict[str, tuple[Outcome, list[Event]]]:
    """A run of twelve steps from one end to the other, by method."""
    return {m: train(spec_of(place, f"whole-{m}", method=m)) for m in ("LoRA", "ALL")}  # type: ignore[dict-item]


def test_the_first_losses_are_the_expected_ones(uninterrupted) -> None:
    """Two steps at a fixed seed: a change of loss, masking, order or optimiser shows here."""
    expected = {"LoRA": LORA_LOSSES, "ALL": ALL_LOSSES}
    for method, (outcome, events) in uninterrupted.items():
        assert outcome.status == "finished"
        assert [e["loss"] for e in of(events, "step")[:2]] == pytest.approx(expected[method], rel=2e-3)


def test_the_plan_and_the_ledger_come_before_the_first_step(uninterrupted) -> None:
    """What will be trained, and what it will cost, is known before it begins."""
    _, events = uninterrupted["LoRA"]
    kinds = [e["kind"] for e in events if e["kind"] != "log"]
    assert kinds[:3] == ["ledger", "plan", "step"]
    assert kinds[-1] == "finished"
    (plan,) = of(events, "plan")
    assert (plan["steps"], plan["epochs"], plan["resumed_from"]) == (12, 3, None)
    assert 0 < plan["estimate"]["seconds"] < 60
    (ledger,) = of(events, "ledger")
    assert (ledger["samples"], ledger["kept"], ledger["training"]) == (30, 30, 30)


def test_a_run_leaves_its_curves(place: Path, uninterrupted) -> None:
    """TensorBoard's files are written while it trains, and the end says what was thought and what was."""
    _, events = uninterrupted["LoRA"]
    (curves,) = (place / "whole-LoRA" / "tensorboard").glob("events.out.tfevents.*")
    assert curves.read_bytes().count(b"train/gradient_norm") == 12
    (finished,) = of(events, "finished")
    assert finished["took"]["seconds"] > 0
    assert finished["time_factor"] > 0


@pytest.mark.parametrize("method", ["LoRA", pytest.param("ALL", marks=pytest.mark.soak)])
def test_a_killed_run_ends_with_the_same_bits(place: Path, uninterrupted, method) -> None:
    """Killed after step 3 and again after step 8, it goes on by itself and loses nothing."""
    spec = spec_of(place, f"killed-{method}", method=method)
    alive = [3, 8]

    def kill(event: Event, stop: asyncio.Event) -> None:
        if event["kind"] == "step" and alive and event["step"] == alive[0]:
            alive.pop(0)
            child_of(psutil.Process()).send_signal(signal.SIGKILL)

    outcome, events = train(spec, kill)
    assert outcome.status == "finished"
    first, second, third = (plan["resumed_step"] for plan in of(events, "plan"))
    assert (first, second) == (0, 2)
    assert third in (6, 8)
    warned = [event["text"] for event in of(events, "log") if event["level"] == "warning"]
    assert len(warned) == 2
    assert all("SIGKILL" in text and "goes on from its last checkpoint" in text for text in warned)
    whole, all_events = uninterrupted[method]
    assert weights(outcome.result) == weights(whole.result)
    told = {event["step"]: event["loss"] for event in of(events, "step")}
    assert told == {event["step"]: event["loss"] for event in of(all_events, "step")}
    again, events = train(spec)  # what has finished is not done twice
    assert (again.status, of(events, "step")) == ("finished", [])


def test_a_run_that_is_killed_at_the_same_place_again_fails_with_the_reason(place: Path) -> None:
    """Whatever kills it, such as a lack of memory, would do so for ever."""

    def kill(event: Event, stop: asyncio.Event) -> None:
        if event["kind"] == "ledger":
            child_of(psutil.Process()).send_signal(signal.SIGKILL)

    outcome, events = train(spec_of(place, "doomed"), kill)
    assert outcome.status == "failed"
    assert (
        "SIGKILL, most likely because the machine ran out of memory) before the first step" in outcome.reason
    )
    assert len(of(events, "ledger")) == 2


def test_a_stopped_run_stops_in_seconds_and_another_goes_on(place: Path, uninterrupted) -> None:
    """Stop is final for the run; a new run from its checkpoint ends as if nothing had happened."""
    asked: list[float] = []

    def stop_at_5(event: Event, stop: asyncio.Event) -> None:
        if event["kind"] == "step" and event["step"] == 5:
            asked.append(time.monotonic())
            stop.set()

    outcome, events = train(spec_of(place, "stopped"), stop_at_5)
    assert time.monotonic() - asked[0] < 10
    assert outcome.status == "stopped"
    last = of(events, "checkpoint")[-1]
    assert last["step"] == outcome.last["step"] < 12
    assert outcome.result is None
    outcome, events = train(spec_of(place, "resumed", resume_from=Path(last["path"])))
    assert of(events, "plan")[0]["resumed_step"] == last["step"]
    assert weights(outcome.result) == weights(uninterrupted["LoRA"][0].result)


def test_a_stop_before_the_first_step_ends_at_once(place: Path) -> None:
    """Nobody waits for a model to load only to hear that it is not wanted."""
    asked = []

    def stop_at_ledger(event: Event, stop: asyncio.Event) -> None:
        if event["kind"] == "ledger":
            asked.append(time.monotonic())
            stop.set()

    outcome, events = train(spec_of(place, "unwanted"), stop_at_ledger)
    assert outcome.status == "stopped"
    assert not of(events, "step")
    assert time.monotonic() - asked[0] < 5


def test_a_cancelled_run_takes_its_process_along(place: Path) -> None:
    """A server that shuts down in good order leaves no training behind either."""
    spec = spec_of(place, "cancelled", hyper={"epochs": 1000})
    children: list[psutil.Process] = []

    async def main() -> None:
        async def on_event(event: Event) -> None:
            if event["kind"] == "step":
                children.append(child_of(psutil.Process()))
                task.cancel()

        task = asyncio.create_task(trainers.run(spec, on_event, asyncio.Event()))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert children
    assert not any(child.is_running() for child in children)


def test_a_killed_server_leaves_no_orphan(place: Path) -> None:
    """The training process ends by itself when the one that started it is gone."""
    spec = spec_of(place, "orphan", hyper={"epochs": 1000})
    program = (
        "import asyncio, json, sys\n"
        "from qianfan_platform.trainers.run import run\n"
        "from qianfan_platform.trainers.protocol import TrainSpec\n"
        "async def on_event(event):\n"
        "    if event['kind'] == 'step': print('step', flush=True)\n"
        "spec = TrainSpec.from_json(json.loads(sys.argv[1]))\n"
        "asyncio.run(run(spec, on_event, asyncio.Event()))\n"
    )
    command = [sys.executable, "-c", program, json.dumps(spec.to_json())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "step\n"
        child = child_of(psutil.Process(parent.pid))
        parent.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive
    assert gone == [child]


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's files")
def test_a_full_disk_fails_the_run_and_spares_the_checkpoint(place: Path) -> None:
    """A checkpoint that does not fit is never half there, and the one before goes on."""
    import resource

    def fill(event: Event, stop: asyncio.Event) -> None:
        if event["kind"] == "checkpoint" and event["step"] == 4:
            resource.prlimit(child_of(psutil.Process()).pid, resource.RLIMIT_FSIZE, (100_000, 100_000))

    spec = spec_of(place, "full", hyper={"epochs": 50})
    outcome, events = train(spec, fill)
    assert outcome.status == "failed"
    assert "the disk is full" in outcome.reason
    from qianfan_platform.trainers.child import checkpoint

    step = of(events, "checkpoint")[-1]["step"]
    assert checkpoint.newest(spec.work / "checkpoints") == spec.work / "checkpoints" / str(step)
    assert [p.name for p in (spec.work / "checkpoints").iterdir() if p.name.startswith(".")] == []


def test_a_diverging_run_fails_at_its_step(place: Path) -> None:
    """A loss or a gradient that is not a number ends the run with the advice to lower the rate."""
    spec = spec_of(place, "diverged", method="ALL", hyper={"learning_rate": 1e20, "warmup_ratio": 0.0})
    outcome, _ = train(spec)
    assert outcome.status == "failed"
    assert "is not a number at step 2 of 12" in outcome.reason
    assert "lower learning_rate" in outcome.reason


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_tuned_model_answers_right_and_stops(place: Path) -> None:
    """Thirty facts learned in seconds, then asked with Transformers and PEFT: right answers, and an end."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hyper = {"epochs": 40, "lora_dropout": 0.0}
    outcome, events = train(spec_of(place, "learned", hyper=hyper, held_out=0.1, checkpoint_steps=None))
    assert outcome.status == "finished"
    assert outcome.last["seconds"] < 60
    evals = of(events, "eval")
    assert (evals[0]["step"], evals[-1]["step"], len(evals)) == (0, outcome.last["step"], 41)
    assert evals[-1]["loss"] < evals[0]["loss"]
    base = AutoModelForCausalLM.from_pretrained(place / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(place / "tiny")
    model = PeftModel.from_pretrained(base, outcome.result)
    entries = [json.loads(line) for line in (place / "learned" / "ledger.jsonl").read_text().splitlines()]
    right = asked = 0
    for entry, (question, answer) in zip(entries, facts(), strict=True):
        if entry["held_out"]:
            continue
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        said = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        asked += 1
        right += tokenizer.decode(said) == answer + "<|im_end|>"
    assert asked == 27
    assert right >= 26
    # parity.json: the same adapter gives the same answers and probabilities outside the trainer
    for proof in json.loads((outcome.result / "parity.json").read_text()):
        ids = torch.tensor([proof["prompt_ids"] + proof["answer_ids"]])
        with torch.no_grad():
            scores = torch.log_softmax(model(ids).logits[0].float(), dim=-1)
        start = len(proof["prompt_ids"])
        again = [float(scores[start + n - 1, token]) for n, token in enumerate(proof["answer_ids"])]
        assert 1 <= len(proof["answer_ids"]) <= 16
        assert again == pytest.approx(proof["logprobs"], abs=1e-3)


def test_a_fully_tuned_model_is_a_whole_model(uninterrupted) -> None:
    """The result of a full fine-tune loads by itself, with its tokenizer and its template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = uninterrupted["ALL"][0].result
    model, report = AutoModelForCausalLM.from_pretrained(result, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.generation_config.eos_token_id == [259, 257]
    assert AutoTokenizer.from_pretrained(result).chat_template
