"""One run from its first line to its last: ledger, plan, steps, result."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import (
    checkpoint,
    examples,
    finishing,
    memory,
    model,
    objectives,
    parity,
    plan,
    readers,
    result,
    starting,
    tokenised,
)
from qianfan_platform.trainers.child.batches import batches, micro_batches, width
from qianfan_platform.trainers.child.checkpoint import Progress
from qianfan_platform.trainers.child.ledger import Ledger, Unfit, open_ledger
from qianfan_platform.trainers.child.rows import Message, read
from qianfan_platform.trainers.child.samples import Sample, Unusable
from qianfan_platform.trainers.child.wire import Events, Orders, Refused, Stopped
from qianfan_platform.trainers.protocol import TrainSpec

HELD_OUT_AT_MOST = 256  # samples of an evaluation
CHECKPOINT_SHARE = 0.1  # of the time may go into checkpoints; slow disks and big models get fewer


class Run:
    """The run of a spec. `do` is called once."""

    def __init__(self, spec: TrainSpec, events: Events, orders: Orders) -> None:
        self.spec, self.events, self.orders = spec, events, orders
        self.progress = Progress()
        self.checkpoints = spec.work / "checkpoints"
        self.saved_at = time.monotonic()
        self.save_cost = 0.0
        self.saved_step = -1
        self.examples: list[examples.Example] = []
        self.said: list[str] = []

    def do(self) -> None:
        """Train, and tell how it ended. Raises Refused and Stopped."""
        before = result.finished(self.spec)
        if before is not None:
            self.events.send("finished", **before["finished"])
            return
        ledger = self.prepare()
        place = self.place_to_go_on()
        if place is not None:
            self.trainee.at_once = checkpoint.progress_of(place).at_once or self.trainee.at_once
        estimate = self.dry_run(ledger)
        self.objective.prepare(self.trainee, self.train + self.held_out, self.orders.check)
        self.examples = examples.chosen(self.spec, ledger, self.reader)
        self.said = examples.before(
            self.trainee, self.reader, self.examples, estimate["seconds"], self.orders.check
        )
        if place is not None:
            self.restore(place)
        self.tell_plan(estimate, place)
        try:
            self.orders.begin()
            self.go()
        except Stopped:
            self.save()
            raise
        self.keep(ledger, self.spec.work / "result")

    def prepare(self) -> Ledger:
        """Read the rows and load the model; nothing is trained yet. Raises Refused."""
        self.begun = time.monotonic()
        self.encoder = starting.encoder_of(self.spec)
        self.reader = readers.of(self.spec.mode, self.encoder, self.spec.hyper)
        ledger = self.open_ledger()
        model.use(self.spec)
        self.memory = memory.Memory(self.spec)
        self.train, self.held_out = ledger.train, ledger.held_out[:HELD_OUT_AT_MOST]
        self.trainee = model.Trainee(self.spec, max(map(width, self.train + self.held_out)))
        self.steps = self.spec.hyper.epochs * math.ceil(len(self.train) / self.spec.hyper.batch_size)
        if not self.trainee.try_plain_head(min(self.train, key=width)):
            self.events.log("this model scales its output; its own forward pass is used for the loss")
        finishing.learn_to_end(self.trainee.causal, self.train, self.encoder.special)
        self.trainee.try_packing(sorted(self.train, key=width)[:2])
        self.objective = objectives.of(self.spec)
        self.who = checkpoint.identity(self.spec)
        return ledger

    def open_ledger(self) -> Ledger:
        """The ledger, told and written, also where it refuses the run. The limit is the model's own where smaller."""
        spec = self.spec
        limit = starting.limit_of(spec)
        if limit < spec.hyper.max_seq_len:
            self.events.warn(
                f"max_seq_len is {spec.hyper.max_seq_len}; this model reads at most {limit} tokens"
            )
        try:
            ledger, kept = tokenised.ledger_of(spec, limit, lambda: open_ledger(spec, self.reader, limit))
        except Unfit as refused:
            self.tell_ledger(refused.ledger)
            raise
        if kept:
            self.events.log("the rows were tokenised by an earlier run")
        self.tell_ledger(ledger)
        return ledger

    def tell_ledger(self, ledger: Ledger) -> None:
        ledger.write(self.spec.work / "ledger.jsonl")
        self.events.send("ledger", **ledger.event())
        if dropped := ledger.count("dropped"):
            first = next(entry for entry in ledger.entries if entry.what == "dropped")
            self.events.warn(
                f"{dropped} of {len(ledger.entries)} samples are dropped; sample {first.sample}: {first.why}"
            )

    def dry_run(self, ledger: Ledger) -> dict[str, Any]:
        """{seconds, memory_mib} of the whole run. Where memory is short, micro-batches become smaller, aloud."""
        wanted = self.trainee.at_once
        lines = [e.sample for e in ledger.entries if not e.held_out for _ in range(e.parts)]
        numbers = {id(sample): line for sample, line in zip(self.train, lines, strict=True)}
        dry_run = plan.DryRun(self.trainee, self.objective, self.memory, self.orders)
        per_token, peak = dry_run.do(self.train, lambda sample: numbers[id(sample)])
        self.tell_smaller(wanted)
        return plan.estimate(self.trainee, self.train, len(self.held_out), per_token, peak)

    def tell_smaller(self, wanted: int) -> None:
        if self.trainee.at_once < wanted:
            self.events.warn(
                f"memory is short: at most {self.trainee.at_once} tokens go through the model together instead "
                f"of {wanted}. Each step still learns from {self.spec.hyper.batch_size} samples, and takes longer"
            )

    def place_to_go_on(self) -> Path | None:
        """This run's newest whole checkpoint, or that of `resume_from`."""
        place = checkpoint.newest(self.checkpoints)
        other = self.spec.resume_from
        if place is None and other is not None:
            place = other if checkpoint.whole(other) else None
            if place is None and other.name.isdigit():
                place = checkpoint.newest(other.parent, not_after=int(other.name))
            if place is None:
                self.events.warn(
                    f"the checkpoint {other.name} is not whole, nor is one before it; starting anew"
                )
        return place

    def restore(self, place: Path) -> None:
        """Go on from a checkpoint. Raises Refused when it is of another run."""
        at_once = self.trainee.at_once
        self.progress, warnings = checkpoint.restore(place, self.trainee, self.who)
        if self.progress.at_once not in (0, at_once):
            warnings.append("the run goes on in smaller pieces: the result may differ in the last digits")
        for warning in warnings:
            self.events.warn(warning)
        self.saved_step = self.progress.step if place.parent == self.checkpoints else -1

    def tell_plan(self, estimate: dict[str, Any], resumed: Path | None) -> None:
        spec, progress = self.spec, self.progress
        progress.at_once = self.trainee.at_once
        progress.estimate = progress.estimate or estimate
        left = 1 - progress.step / self.steps
        self.events.send(
            "plan",
            steps=self.steps,
            epochs=spec.hyper.epochs,
            trainable_parameters=self.trainee.trainable,
            threads=spec.threads,
            dtype=spec.dtype,
            estimate={**estimate, "seconds": round(estimate["seconds"] * left, 1)},
            resumed_from=resumed,
            resumed_step=progress.step,
            prepared_in=round(time.monotonic() - self.begun, 1),
        )
        self.memory.begin()
        self.went_on_at = time.monotonic() - progress.elapsed

    # -- training -----------------------------------------------------------------------------------------

    def go(self) -> None:
        """All steps that are left, with an evaluation first and after each epoch."""
        spec, progress = self.spec, self.progress
        if progress.step == 0 and not progress.evaluations:
            self.evaluate()
        self.saved_at = time.monotonic()
        while progress.epoch < spec.hyper.epochs:
            epoch = batches(len(self.train), spec.hyper.batch_size, spec.seed, progress.epoch)
            while progress.position < len(epoch):
                self.step([self.train[i] for i in epoch[progress.position]], len(epoch))
            if not progress.evaluations or progress.evaluations[-1]["step"] != progress.step:
                self.evaluate()
            progress.epoch, progress.position = progress.epoch + 1, 0
        progress.elapsed = time.monotonic() - self.went_on_at

    def step(self, samples: list[Sample], in_epoch: int) -> None:
        """One update from one batch. Raises Stopped between micro-batches, with nothing changed."""
        spec, progress, trainee = self.spec, self.progress, self.trainee
        begun = time.perf_counter()
        figures = self.gathered(samples)
        loss = figures["loss"]
        if not math.isfinite(loss):
            raise Refused(self.diverged("the loss is", progress.step + 1))
        rate = model.learning_rate(spec.hyper, progress.step, self.steps)
        norm = trainee.update(rate)
        if not math.isfinite(norm):
            raise Refused(self.diverged("the gradient is", progress.step + 1))
        taken = time.perf_counter() - begun
        tokens = sum(sample.tokens for sample in samples)
        progress.step += 1
        progress.position += 1
        progress.tokens += tokens
        progress.seconds += taken
        progress.loss = loss
        if progress.step % spec.hyper.logging_steps == 0 or progress.step == self.steps:
            self.events.send(
                "step",
                step=progress.step,
                steps=self.steps,
                epoch=round(progress.epoch + progress.position / in_epoch, 4),
                **self.objective.told(figures),
                learning_rate=rate,
                gradient_norm=norm,
                tokens_per_second=round(tokens / taken, 1),
                tokens=progress.tokens,
                memory_mib=round(memory.now()),
                seconds=round(progress.seconds, 3),
                seconds_left=round(progress.seconds / progress.step * (self.steps - progress.step), 1),
            )
        if self.checkpoint_due():
            self.save()

    def gathered(self, samples: list[Sample]) -> dict[str, float]:
        """The figures of a batch, whose gradient the trainee then holds. Raises Stopped, and then holds none.

        Where memory runs out in the middle of a run, the same batch goes through in smaller pieces."""
        trainee, weight = self.trainee, self.objective.weight(samples)
        chance = checkpoint.random_state(
            self.spec.device
        )  # dropout draws from it: a batch begun anew draws the same
        while True:
            sums: dict[str, float] = defaultdict(float)
            group: list[Sample] = []
            try:
                for group in micro_batches(samples, trainee.at_once):
                    self.orders.check()
                    for name, value in trainee.backward(self.objective, group, weight).items():
                        sums[name] += value
                return {name: value / weight for name, value in sums.items()}
            except Stopped:
                trainee.forget()
                checkpoint.set_random_state(chance, self.spec.device)
                raise
            except (RuntimeError, MemoryError) as error:
                trainee.forget()
                checkpoint.set_random_state(chance, self.spec.device)
                if not memory.is_shortage(error) or len(group) < 2:
                    raise
            wanted, trainee.at_once = trainee.at_once, plan.smaller(group)
            self.tell_smaller(wanted)
            # What comes after is of this cut: a run that is killed must not go on from before it.
            self.progress.at_once, self.saved_step = trainee.at_once, -1
            self.save()

    def diverged(self, what: str, step: int) -> str:
        return (
            f"{what} not a number at step {step} of {self.steps}: "
            f"lower learning_rate (it is {self.spec.hyper.learning_rate:g})"
        )

    def evaluate(self) -> None:
        """The objective on held-out samples, told and remembered. Nothing held out: nothing told.

        Raises Refused when the last update broke the weights."""
        if not self.held_out:
            return
        means = self.trainee.evaluate(self.objective, self.held_out, self.orders.check)
        if not math.isfinite(means["loss"]):
            raise Refused(self.diverged("the held-out loss is", self.progress.step))
        tokens = sum(sample.trained for sample in self.held_out)
        found = {"step": self.progress.step, **self.objective.told(means), "tokens": tokens}
        self.progress.evaluations.append(found)
        self.events.send("eval", **found)

    def checkpoint_due(self) -> bool:
        """By steps where those are set, else by seconds. Not at the last step: the result follows."""
        if self.progress.step == self.steps:
            return False
        if self.spec.checkpoint_steps:
            return self.progress.step % self.spec.checkpoint_steps == 0
        pause = max(self.spec.checkpoint_seconds, self.save_cost / CHECKPOINT_SHARE)
        return time.monotonic() - self.saved_at >= pause

    def save(self) -> None:
        """Write a checkpoint of this moment, unless it is there already."""
        if self.progress.step in (0, self.saved_step):
            return
        begun = time.monotonic()
        self.progress.elapsed = begun - self.went_on_at
        place = checkpoint.save(self.checkpoints, self.trainee, self.progress, self.who)
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step
        self.save_cost = self.saved_at - begun
        loss = self.progress.loss or 0.0
        self.events.send(
            "checkpoint",
            step=self.progress.step,
            path=place,
            loss=loss,
            perplexity=self.objective.told({"loss": loss}).get("perplexity"),
            checkpoints=self.kept(),
        )

    def kept(self) -> list[int]:
        """Steps whose checkpoints are there, oldest first."""
        return [int(place.name) for place in reversed(checkpoint.steps_in(self.checkpoints))]

    # -- the end ------------------------------------------------------------------------------------------

    def keep(self, ledger: Ledger, place: Path) -> None:
        """Write the result to `place` and tell of it. The checkpoints stay."""
        spec, progress = self.spec, self.progress
        final = finishing.Final(self.trainee, self.encoder)
        final.finish(self.train, self.orders.check)
        proof = parity.of(final, self.encoder, self.questions(ledger), self.orders.check)
        if not all(math.isfinite(one) for answer in proof for one in answer["logprobs"]):
            raise Refused(self.diverged("what the trained model answers is", progress.step))
        last = {
            "step": progress.step,
            "loss": progress.loss,
            "eval_loss": progress.evaluations[-1]["loss"] if progress.evaluations else None,
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9), 1),
            "path": str(place),
            "memory_mib": round(self.memory.peak()),
            **self.compared(),
            "checkpoints": self.kept(),
            "examples": examples.after(final, self.reader, self.examples, self.said, self.orders.check),
        }
        record = {
            "finished": last,
            **starting.record(spec),
            "hyper": asdict(spec.hyper),
            "seed": spec.seed,
            "threads": spec.threads,
            "dtype": spec.dtype,
            "identity": self.who,
            "evaluations": progress.evaluations,
            "ledger": ledger.event(),
        }
        result.save(final, record, proof, place)
        self.events.send("finished", **last)

    def compared(self) -> dict[str, Any]:
        """What the run was estimated to take before step 1, and what it took."""
        thought, took = self.progress.estimate, round(self.progress.elapsed, 1)
        return {
            "estimate": thought,
            "took": {"seconds": took, "memory_mib": round(self.memory.since())},
            "time_factor": round(took / thought["seconds"], 3) if thought else None,
        }

    def questions(self, ledger: Ledger) -> list[tuple[list[Message], list[int]]]:
        """Prompts from the first two samples that were learned as they are and can be asked: messages and ids."""
        learned = {e.sample for e in ledger.entries if e.what in ("kept", "split") and not e.held_out}
        found: list[tuple[list[Message], list[int]]] = []
        for number, row in read(self.spec.rows):
            if len(found) == 2:
                break
            if number in learned:
                with contextlib.suppress(Unusable):
                    found.append(self.reader.question(row))
        return found
