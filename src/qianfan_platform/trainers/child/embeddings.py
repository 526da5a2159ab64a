"""Virtual tokens in a model: only their embedding rows are learned, and they are never said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from qianfan_platform.trainers.child.encoder import Encoder

FIRST_WORDS = "Answer the question well, in the way that was shown in the examples."
"""What the virtual tokens say before they are trained: words serve better than noise (Lester et al. 2021)."""

MARK = "virtual_tokens"  # in config.json: how many the model has


class WithVirtual(nn.Module):
    """An embedding of which some rows are learned: `rows`, in float32, for the ids from `first` on."""

    def __init__(self, plain: nn.Embedding, first: int, rows: Tensor) -> None:
        super().__init__()
        self.plain, self.first = plain, first
        self.rows = nn.Parameter(rows.detach().float().clone())

    @property
    def weight(self) -> Tensor:
        return self.plain.weight

    def forward(self, ids: Tensor) -> Tensor:
        """ids (sequences, time) → (sequences, time, hidden)."""
        place = ids - self.first
        virtual = (place >= 0) & (place < len(self.rows))
        found = self.plain(ids.masked_fill(virtual, 0))
        learned = nn.functional.embedding(place.masked_fill(~virtual, 0), self.rows.to(found.dtype))
        return torch.where(virtual[..., None], learned, found)


def with_virtual(base: Any, encoder: Encoder) -> Any:
    """`base`, frozen, with the encoder's virtual tokens as the only weights that change."""
    ids = encoder.prefix
    plain = base.get_input_embeddings()
    base.requires_grad_(False)
    if getattr(base.config, MARK, 0):  # an earlier run's are trained on
        rows = plain.weight[ids[0] : ids[-1] + 1]
    else:
        words = encoder.tokens(FIRST_WORDS)
        rows = plain.weight[[words[at % len(words)] for at in range(len(ids))]]
    base.set_input_embeddings(WithVirtual(plain, ids[0], rows))
    return base


@torch.no_grad()
def quietest(logits: Iterable[Tensor]) -> tuple[int, float]:
    """(the token that is the least likely where it is the most likely, that log-probability) over places.

    logits: pieces (places, vocabulary)."""
    most: Tensor | None = None
    for piece in logits:
        here = torch.log_softmax(piece.float(), dim=-1).amax(dim=0)
        most = here if most is None else torch.maximum(most, here)
    assert most is not None
    token = int(most.argmin())
    return token, float(most[token])


@torch.no_grad()
def widened(base: Any, copied: int) -> None:
    """Make the virtual tokens of `base` part of its vocabulary, in place.

    Their output rows are those of the token `copied`, which is hardly ever said; input and output are two
    matrices from then on."""
    layer: WithVirtual = base.get_input_embeddings()
    old, head = layer.plain, base.get_output_embeddings()
    count, hidden = old.weight.shape
    ids = range(layer.first, layer.first + len(layer.rows))
    size = max(count, ids[-1] + 1)
    inner = nn.Embedding(size, hidden, dtype=old.weight.dtype, device=old.weight.device)
    outer = nn.Linear(hidden, size, bias=False, dtype=old.weight.dtype, device=old.weight.device)
    inner.weight.zero_()
    inner.weight[:count] = old.weight
    inner.weight[ids[0] :][: len(ids)] = layer.rows.to(old.weight.dtype)
    outer.weight[:count] = head.weight
    outer.weight[count:] = head.weight[copied]
    outer.weight[ids[0] :][: len(ids)] = head.weight[copied]
    base.set_input_embeddings(inner)
    base.set_output_embeddings(outer)
    base.config.tie_word_embeddings = False
    base.config.vocab_size = size
    setattr(base.config, MARK, len(ids))
