"""What a run will cost, known before step 1: a timed dry run of the longest batch, made smaller until it fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from qianfan_platform.trainers.child.batches import batches, cost, micro_batches, padded_tokens, width
from qianfan_platform.trainers.child.checkpoint import random_state, set_random_state
from qianfan_platform.trainers.child.memory import Memory, Shortage, is_shortage, now
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.objectives import Objective
from qianfan_platform.trainers.child.wire import Orders, Refused

TRIES = 5  # of a micro-batch, to be timed
TRIED_FOR = 0.3  # seconds, after which no more are tried
FORWARD_SHARE = 0.4  # of a training step's time goes into an evaluation of the same samples


class DryRun:
    """The longest batch, trained on before the run and then forgotten.

    Weights and random state stay as they were. `trainee.at_once` becomes smaller where memory is short: the
    batch is the same, it only goes through the model in more pieces."""

    def __init__(self, trainee: Trainee, objective: Objective, memory: Memory, orders: Orders) -> None:
        self.trainee, self.objective, self.memory, self.orders = trainee, objective, memory, orders
        # Adam holds two more numbers for each that changes, from step 1 on.
        self.states = 8 * trainee.trainable / 2**20  # MiB

    def do(self, train: Sequence[Any], line_of: Callable[[Any], int]) -> tuple[float, float]:
        """(seconds of a padded token, MiB at the peak). line_of: the line of a sample in the data.

        Raises Refused when not even the longest sample alone fits."""
        longest = sorted(train, key=width)[-self.trainee.spec.hyper.batch_size :]
        alone = [longest[-1]]
        random = random_state(self.trainee.spec.device)
        try:
            before = now()
            try:
                grown = self.attempt(alone)[1] - before
            except Shortage as short:
                raise Refused(self.too_big(line_of(alone[0]), alone, short)) from short
            while True:
                group = max(micro_batches(longest, self.trainee.at_once), key=cost)
                try:
                    # Memory grows with the tokens: what surely will not fit is not tried, because a
                    # system that runs out of memory kills before it says no.
                    if not self.memory.gpu:
                        self.memory.check(before + grown * cost(group) / cost(alone) + self.states)
                    seconds, peak = self.attempt(group)
                    return seconds / cost(group), peak + self.states
                except Shortage as short:
                    if len(group) == 1:
                        raise Refused(self.too_big(line_of(alone[0]), alone, short)) from short
                    self.trainee.at_once = smaller(group)
        finally:
            self.trainee.forget()
            set_random_state(random, self.trainee.spec.device)

    def attempt(self, group: Sequence[Any]) -> tuple[float, float]:
        """(seconds, MiB at the peak) of one micro-batch, forward and backward. Raises Shortage."""
        self.memory.begin()
        times: list[float] = []
        try:
            # The first prepares kernels and memory; those after it are as all will be. Where others use the machine
            # as well, a short one alone would say little.
            while len(times) < 2 or (len(times) < TRIES and sum(times[1:]) < TRIED_FOR):
                self.orders.check()
                begun = time.perf_counter()
                self.trainee.backward(self.objective, group, self.objective.weight(group))
                if self.memory.gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - begun)
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            raise Shortage from error
        finally:
            self.trainee.forget()
        peak = self.memory.since()
        self.memory.check(peak + self.states)
        return median(times[1:]), peak

    @staticmethod
    def too_big(line: int, alone: Sequence[Any], short: Shortage) -> str:
        tokens = width(alone[0])
        needs = f": it needs {short.needed:.0f} MiB and {short.there:.0f} are there" if short.needed else ""
        return (
            f"sample {line} with its {tokens} tokens does not fit into memory even alone{needs}; "
            f"lower max_seq_len below {tokens}, free some memory, or train a smaller model"
        )


def smaller(group: Sequence[Any]) -> int:
    """The bound on padded tokens that cuts this micro-batch in pieces."""
    return cost(group) // 2


def estimate(
    trainee: Trainee, train: Sequence[Any], held_out: int, per_token: float, peak: float
) -> dict[str, Any]:
    """{seconds, memory_mib} of the whole run with its evaluations. per_token: seconds of a padded token."""
    hyper, samples = trainee.spec.hyper, len(train)
    looked_at = min(3, hyper.epochs)
    work = sum(
        sum(padded_tokens([train[i] for i in batch], trainee.at_once))
        for epoch in range(looked_at)
        for batch in batches(samples, hyper.batch_size, trainee.spec.seed, epoch)
    ) * (hyper.epochs / looked_at)
    evaluations = (hyper.epochs + 1) * held_out / samples * work / hyper.epochs * FORWARD_SHARE
    return {"seconds": round(max(0.1, per_token * (work + evaluations)), 1), "memory_mib": round(peak)}
