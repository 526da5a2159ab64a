"""Which samples form a batch, in which order, and how they become tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qianfan_platform.trainers.child.rows import IGNORED, Encoded


@dataclass(frozen=True)
class Batch:
    """Shapes: ids (samples, time); targets (n,): the tokens to predict; at (n,): from which place in the
    flattened (samples · time) hidden states.

    Padding stands on the right, where no learned token can see it: attention looks back only, so the
    model needs no mask."""

    ids: Tensor
    at: Tensor
    targets: Tensor


def order(samples: int, seed: int, epoch: int) -> list[int]:
    """The shuffled indices of an epoch; the same for the same seed, wherever a run begins."""
    indices = list(range(samples))
    random.Random(f"epoch {epoch} of {seed}").shuffle(indices)
    return indices


def batches(samples: int, size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch, as indices. The last one may be smaller."""
    shuffled = order(samples, seed, epoch)
    return [shuffled[at : at + size] for at in range(0, samples, size)]


def micro_batches(samples: Sequence[Encoded], limit: int) -> list[list[Encoded]]:
    """The samples of a batch, sorted by length, in groups of at most `limit` padded tokens.

    A sample longer than that goes alone.
    Groups of like length need little padding; the gradient of the batch is the same sum."""
    groups: list[list[Encoded]] = []
    for sample in sorted(samples, key=lambda sample: len(sample.ids)):
        if groups and (len(groups[-1]) + 1) * len(sample.ids) <= limit:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups


def collate(samples: Sequence[Encoded], pad: int, device: str) -> Batch:
    """Tensors of a micro-batch. The token at place t is predicted from the hidden state at t − 1."""
    width = max(len(sample.ids) for sample in samples)
    ids = [sample.ids + [pad] * (width - len(sample.ids)) for sample in samples]
    at: list[int] = []
    targets: list[int] = []
    for row, sample in enumerate(samples):
        for time, label in enumerate(sample.labels):
            if label != IGNORED and time > 0:
                at.append(row * width + time - 1)
                targets.append(label)
    return Batch(
        torch.tensor(ids, device=device),
        torch.tensor(at, device=device),
        torch.tensor(targets, device=device),
    )


def padded_tokens(samples: Sequence[Encoded], limit: int) -> Iterator[int]:
    """Padded tokens of each micro-batch: what a step costs."""
    for group in micro_batches(samples, limit):
        yield len(group) * max(len(sample.ids) for sample in group)
