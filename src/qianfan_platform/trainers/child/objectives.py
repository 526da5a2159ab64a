"""What a run learns: the loss of samples, and the figures told of it. The loop is the same for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from qianfan_platform.trainers.child.batches import micro_batches
from qianfan_platform.trainers.child.checkpoint import write_tensors
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.samples import Pair
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec

Sums = dict[str, Tensor]
"""Figures summed over samples; "loss" is there always, and is the one that is learned from."""


class Objective(Protocol):
    """What a run learns. There is one a run."""

    def prepare(self, trainee: Trainee, samples: Sequence[Any], check: Callable[[], None]) -> None:
        """Called once, with the starting weights and all samples, before a checkpoint is restored."""

    def weight(self, samples: Sequence[Any]) -> int:
        """What the sums of these samples are divided by to give means."""

    def sums(self, trainee: Trainee, samples: Sequence[Any]) -> Sums:
        """Of one micro-batch."""

    def told(self, means: dict[str, float]) -> dict[str, float]:
        """The fields of an eval event, of the means over an evaluation."""


def of(spec: TrainSpec) -> Objective:
    """The objective of a run."""
    return Preference(spec) if spec.mode == "DPO" else Language()


class Language:
    """To say the learned tokens: the mean of their losses. Answers (SFT) and running text (PostPretrain)."""

    def prepare(self, trainee: Trainee, samples: Sequence[Any], check: Callable[[], None]) -> None:
        return None

    def weight(self, samples: Sequence[Any]) -> int:
        return sum(sample.trained for sample in samples)

    def sums(self, trainee: Trainee, samples: Sequence[Any]) -> Sums:
        return {"loss": trainee.losses(trainee.batch(samples)).sum()}

    def told(self, means: dict[str, float]) -> dict[str, float]:
        return {**means, "perplexity": math.exp(min(means["loss"], 700))}


class Preference:
    """To prefer the chosen answer to the rejected one, without leaving the starting weights further than it
    pays: direct preference optimisation with the sigmoid loss (Rafailov et al. 2023, equation 7).

    An answer's reward is beta · (log-probability now − log-probability under the starting weights)."""

    def __init__(self, spec: TrainSpec) -> None:
        self.beta = spec.hyper.beta
        self.kept = spec.work / "reference.safetensors"

    def prepare(self, trainee: Trainee, samples: Sequence[Pair], check: Callable[[], None]) -> None:
        """Ask the starting weights once. A run that goes on finds their answers in its folder."""
        reference = self.read(len(samples))
        if reference is None:
            reference = self.ask(trainee, samples, check)
            if not bool(torch.isfinite(reference).all()):
                raise Refused(
                    "the starting weights give some answers no probability that is a number: "
                    "the model that this run starts from is damaged, so start from another"
                )
            part = self.kept.with_suffix(".part")
            write_tensors(part, {"reference": reference})
            part.replace(self.kept)
        for sample, (chosen, rejected) in zip(samples, reference.tolist(), strict=True):
            sample.reference = (chosen, rejected)

    def read(self, samples: int) -> Tensor | None:
        if not self.kept.is_file():
            return None
        found = load_file(self.kept)["reference"]
        return found if found.shape == (samples, 2) else None

    @torch.no_grad()
    def ask(self, trainee: Trainee, samples: Sequence[Pair], check: Callable[[], None]) -> Tensor:
        """(samples, 2): log-probabilities of (chosen, rejected)."""
        place = {id(sample): at for at, sample in enumerate(samples)}
        found = torch.empty(len(samples), 2)
        trainee.model.eval()
        try:
            for group in micro_batches(samples, trainee.at_once):
                check()
                found[[place[id(sample)] for sample in group]] = self.log_probabilities(trainee, group).cpu()
        finally:
            trainee.model.train()
        return found

    def log_probabilities(self, trainee: Trainee, samples: Sequence[Pair]) -> Tensor:
        """(samples, 2) in nats, summed over each answer's tokens."""
        batch = trainee.batch(samples)
        losses = trainee.losses(batch)
        return torch.zeros(2 * len(samples), device=losses.device).index_add(0, batch.of, -losses).view(-1, 2)

    def weight(self, samples: Sequence[Pair]) -> int:
        return len(samples)

    def sums(self, trainee: Trainee, samples: Sequence[Pair]) -> Sums:
        now = self.log_probabilities(trainee, samples)
        return preference_sums(
            now, torch.tensor([s.reference for s in samples], device=now.device), self.beta
        )

    def told(self, means: dict[str, float]) -> dict[str, float]:
        return means


def preference_sums(now: Tensor, before: Tensor, beta: float) -> Sums:
    """The sigmoid loss and the figures of pairs. now, before: log-probabilities (pairs, 2), chosen first."""
    rewards = beta * (now - before)
    margins = rewards[:, 0] - rewards[:, 1]
    return {
        "loss": -nn.functional.logsigmoid(margins).sum(),
        "reward_margin": margins.detach().sum(),
        "reward_chosen": rewards[:, 0].detach().sum(),
        "reward_rejected": rewards[:, 1].detach().sum(),
        "accuracy": (margins.detach() > 0).float().sum(),
    }
