"""What the model reads: token ids, and labels that say which of them are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

IGNORED = -100  # the label of a token that is read but not learned


class Unusable(Exception):
    """This sample cannot be trained on; the text says why."""


@dataclass(frozen=True)
class Encoded:
    """One sequence. `labels[i]` is `ids[i]` where it is learned, else -100."""

    ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Tokens that are learned. Nothing stands before the first, so it never is."""
        return sum(label != IGNORED for label in self.labels[1:])

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        return (self,)

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return len(self.ids)


@dataclass
class Pair:
    """Two answers to one prompt. `reference` are the log-probabilities that the starting weights give to
    (chosen, rejected), in nats; the objective sets them before step 1."""

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def trained(self) -> int:
        return self.chosen.trained + self.rejected.trained

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        return (self.chosen, self.rejected)

    @property
    def tokens(self) -> int:
        return len(self.chosen.ids) + len(self.rejected.ids)


Sample = Encoded | Pair
"""Both have `sequences`, `tokens` and `trained`; whoever cuts, packs or counts needs no more."""


def plain(sample: Sample) -> list[dict[str, Any]]:
    """The sequences as JSON; `revived` is the inverse."""
    return [{"ids": one.ids, "labels": one.labels} for one in sample.sequences]


def revived(sequences: list[dict[str, Any]]) -> Sample:
    """The sample that `plain` wrote."""
    whole = [Encoded(one["ids"], one["labels"]) for one in sequences]
    return whole[0] if len(whole) == 1 else Pair(whole[0], whole[1])
