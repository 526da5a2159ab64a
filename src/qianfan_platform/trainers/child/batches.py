"""Which samples form a batch, in which order, and how they become tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Pair, Sample

S = TypeVar("S", Encoded, Pair, Sample)
WASTE = 0.1  # of padding, above which sequences are packed: below, one multiplication for all is quicker


@dataclass(frozen=True)
class Batch:
    """Shapes: ids (sequences, time); targets (n,): the tokens to predict; at (n,): from which place in the
    flattened (sequences · time) hidden states; of (n,): of which sequence each target is.

    Padding stands on the right, where no learned token can see it: attention looks back only, so the
    model needs no mask. A packed batch has one row without padding: lengths are those of its sequences, which
    see only themselves, and positions (1, time) begin anew with each."""

    ids: Tensor
    at: Tensor
    targets: Tensor
    of: Tensor
    lengths: tuple[int, ...] = ()
    positions: Tensor | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What the model must know of it besides its ids."""
        return {"lengths": self.lengths, "position_ids": self.positions} if self.lengths else {}


def order(samples: int, seed: int, epoch: int) -> list[int]:
    """The shuffled indices of an epoch; the same for the same seed, wherever a run begins."""
    indices = list(range(samples))
    random.Random(f"epoch {epoch} of {seed}").shuffle(indices)
    return indices


def batches(samples: int, size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch, as indices. The last one may be smaller."""
    shuffled = order(samples, seed, epoch)
    return [shuffled[at : at + size] for at in range(0, samples, size)]


def micro_batches(samples: Sequence[S], limit: int) -> list[list[S]]:
    """The samples of a batch, sorted by length, in groups of at most `limit` padded tokens.

    A sample longer than that goes alone.
    Groups of like length need little padding; the gradient of the batch is the same sum."""
    groups: list[list[S]] = []
    for sample in sorted(samples, key=width):
        if groups and cost([*groups[-1], sample]) <= limit:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups


def width(sample: Sample) -> int:
    """Tokens of a sample's longest sequence."""
    return max(len(one.ids) for one in sample.sequences)


def cost(group: Sequence[Sample]) -> int:
    """Padded tokens of a micro-batch."""
    return max(map(width, group)) * sum(len(sample.sequences) for sample in group)


def collate(sequences: Sequence[Encoded], pad: int, device: str, may_pack: bool = False) -> Batch:
    """Tensors of a micro-batch. The token at place t is predicted from the hidden state at t − 1."""
    lengths = [len(one.ids) for one in sequences]
    width = max(lengths)
    if may_pack and sum(lengths) < (1 - WASTE) * width * len(lengths):
        return packed(sequences, device)
    ids = [one.ids + [pad] * (width - len(one.ids)) for one in sequences]
    at: list[int] = []
    targets: list[int] = []
    of: list[int] = []
    for row, one in enumerate(sequences):
        for time, label in enumerate(one.labels):
            if label != IGNORED and time > 0:
                at.append(row * width + time - 1)
                targets.append(label)
                of.append(row)
    return Batch(
        ids=torch.tensor(ids, device=device),
        at=torch.tensor(at, device=device),
        targets=torch.tensor(targets, device=device),
        of=torch.tensor(of, device=device),
    )


def packed(sequences: Sequence[Encoded], device: str) -> Batch:
    """Tensors of sequences that stand one after the other in one row."""
    ids: list[int] = []
    at: list[int] = []
    targets: list[int] = []
    of: list[int] = []
    for number, one in enumerate(sequences):
        learned = [time for time, label in enumerate(one.labels) if label != IGNORED and time > 0]
        at += [len(ids) + time - 1 for time in learned]
        targets += [one.labels[time] for time in learned]
        of += [number] * len(learned)
        ids += one.ids
    lengths = tuple(len(one.ids) for one in sequences)
    positions = [time for length in lengths for time in range(length)]
    return Batch(
        ids=torch.tensor([ids], device=device),
        at=torch.tensor(at, device=device),
        targets=torch.tensor(targets, device=device),
        of=torch.tensor(of, device=device),
        lengths=lengths,
        positions=torch.tensor([positions], device=device),
    )


def padded_tokens(samples: Sequence[Sample], limit: int) -> Iterator[int]:
    """Padded tokens of each micro-batch: what a step costs."""
    for group in micro_batches(samples, limit):
        yield cost(group)
