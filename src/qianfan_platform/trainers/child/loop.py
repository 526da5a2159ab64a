"""One run from its first line to its last: ledger, plan, steps, result."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import checkpoint, model, plan, result
from qianfan_platform.trainers.child.batches import batches, collate, micro_batches
from qianfan_platform.trainers.child.checkpoint import Progress
from qianfan_platform.trainers.child.ledger import Ledger, open_ledger
from qianfan_platform.trainers.child.rows import Encoded, Encoder, messages_of, read
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

    def do(self) -> None:
        """Train, and tell how it ended. Raises Refused and Stopped."""
        before = result.finished(self.spec)
        if before is not None:
            self.events.send("finished", **before["finished"])
            return
        self.begun = time.monotonic()
        self.encoder = Encoder(model.tokenizer_of(self.spec.base))
        ledger = self.open_ledger()
        model.use(self.spec)
        self.train, self.held_out = ledger.train, ledger.held_out[:HELD_OUT_AT_MOST]
        self.trainee = model.Trainee(self.spec, max(len(s.ids) for s in self.train + self.held_out))
        self.steps = self.spec.hyper.epochs * math.ceil(len(self.train) / self.spec.hyper.batch_size)
        if not self.trainee.try_plain_head(min(self.train, key=lambda sample: len(sample.ids))):
            self.events.log("this model scales its output; its own forward pass is used for the loss")
        estimate = plan.dry_run(self.trainee, self.train, len(self.held_out), self.orders)
        self.who = checkpoint.identity(self.spec)
        resumed = self.resume()
        self.tell_plan(estimate, resumed)
        try:
            self.orders.begin()
            self.go()
        except Stopped:
            self.save()
            raise
        self.keep(ledger)

    def open_ledger(self) -> Ledger:
        """The ledger, told and written. The limit is the model's own where that is smaller."""
        import json

        spec = self.spec
        config = json.loads((spec.base / "config.json").read_bytes())
        limit = min(spec.hyper.max_seq_len, config.get("max_position_embeddings") or spec.hyper.max_seq_len)
        if limit < spec.hyper.max_seq_len:
            self.events.warn(
                f"max_seq_len is {spec.hyper.max_seq_len}; this model reads at most {limit} tokens"
            )
        ledger = open_ledger(spec.rows, self.encoder, spec.hyper, spec.held_out, spec.seed, limit)
        ledger.write(spec.work / "ledger.jsonl")
        self.events.send("ledger", **ledger.event())
        return ledger

    def resume(self) -> Path | None:
        """Go on from this run's newest whole checkpoint, or from that of `resume_from`."""
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
        if place is None:
            return None
        self.progress, warnings = checkpoint.restore(place, self.trainee, self.who)
        for warning in warnings:
            self.events.warn(warning)
        self.saved_step = self.progress.step if place.parent == self.checkpoints else -1
        return place

    def tell_plan(self, estimate: dict[str, Any], resumed: Path | None) -> None:
        spec = self.spec
        left = 1 - self.progress.step / self.steps
        self.events.send(
            "plan",
            steps=self.steps,
            epochs=spec.hyper.epochs,
            trainable_parameters=self.trainee.trainable,
            threads=spec.threads,
            dtype=spec.dtype,
            estimate={**estimate, "seconds": round(estimate["seconds"] * left, 1)},
            resumed_from=resumed,
            resumed_step=self.progress.step,
            prepared_in=round(time.monotonic() - self.begun, 1),
        )

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

    def step(self, samples: list[Encoded], in_epoch: int) -> None:
        """One update from one batch. Raises Stopped between micro-batches, with nothing changed."""
        spec, progress, trainee = self.spec, self.progress, self.trainee
        begun = time.perf_counter()
        trained = sum(sample.trained for sample in samples)
        loss = 0.0
        try:
            for group in micro_batches(samples, trainee.at_once):
                self.orders.check()
                loss += trainee.backward(collate(group, trainee.pad, spec.device), trained)
        except Stopped:
            trainee.forget()
            raise
        loss /= trained
        if not math.isfinite(loss):
            raise Refused(self.diverged("loss"))
        rate = model.learning_rate(spec.hyper, progress.step, self.steps)
        norm = trainee.update(rate)
        if not math.isfinite(norm):
            raise Refused(self.diverged("gradient"))
        taken = time.perf_counter() - begun
        tokens = sum(len(sample.ids) for sample in samples)
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
                loss=loss,
                learning_rate=rate,
                tokens_per_second=round(tokens / taken, 1),
                tokens=progress.tokens,
                memory_mib=plan.memory_mib(),
                seconds=round(progress.seconds, 3),
                seconds_left=round(progress.seconds / progress.step * (self.steps - progress.step), 1),
            )
        if self.checkpoint_due():
            self.save()

    def diverged(self, what: str) -> str:
        return (
            f"the {what} is not a number at step {self.progress.step + 1} of {self.steps}: "
            f"lower learning_rate (it is {self.spec.hyper.learning_rate:g})"
        )

    def evaluate(self) -> None:
        """The loss on held-out samples, told and remembered. Nothing held out: nothing told."""
        if not self.held_out:
            return
        loss, tokens = self.trainee.evaluate(self.held_out, self.orders.check)
        found = {
            "step": self.progress.step,
            "loss": loss,
            "perplexity": math.exp(min(loss, 700)),
            "tokens": tokens,
        }
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
        place = checkpoint.save(self.checkpoints, self.trainee, self.progress, self.who)
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step
        self.save_cost = self.saved_at - begun
        self.events.send("checkpoint", step=self.progress.step, path=place)

    # -- the end ------------------------------------------------------------------------------------------

    def keep(self, ledger: Ledger) -> None:
        """Write the result and tell of it. The checkpoints stay."""
        spec, progress = self.spec, self.progress
        proof = result.parity(self.trainee, self.encoder, self.questions(ledger), self.orders.check)
        last = {
            "step": progress.step,
            "loss": progress.loss,
            "eval_loss": progress.evaluations[-1]["loss"] if progress.evaluations else None,
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9), 1),
            "path": str(spec.work / "result"),
            "memory_mib": round(plan.peak_mib(spec)),
        }
        record = {
            "finished": last,
            "method": spec.method,
            "base": spec.base.name,
            "hyper": asdict(spec.hyper),
            "seed": spec.seed,
            "threads": spec.threads,
            "dtype": spec.dtype,
            "identity": self.who,
            "evaluations": progress.evaluations,
            "ledger": ledger.event(),
        }
        result.save(self.trainee, record, proof)
        self.events.send("finished", **last)

    def questions(self, ledger: Ledger) -> list[Any]:
        """The first questions of the first two training samples, as prompts."""
        wanted = [e.sample for e in ledger.entries if e.what == "kept" and not e.held_out][:2]
        found = []
        for number, row in read(self.spec.rows):
            if number in wanted:
                messages = messages_of(row)
                found.append(messages[: 1 + (messages[0]["role"] == "system")])
            if len(found) == len(wanted):
                break
        return found
