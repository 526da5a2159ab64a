"""Attention on a CPU: written out for short sequences, the fused kernel for long ones, sample by sample where
several stand in one row.

The fused kernel saves memory for long sequences, but its backward pass takes a quarter of a step for short
ones. Several samples in a row need no padding in all the rest of the model, and each sees only itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

NAME = "qianfan"
SHORT = 256  # tokens up to which attention is written out


def register() -> str:
    """Make it known to Transformers; returns the name to load a model with."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)
    return NAME


def fits(config: Any, longest: int) -> bool:
    """Whether a model's attention is the plain causal one, for sequences of up to `longest` tokens."""
    window = getattr(config, "sliding_window", None)
    if window is not None and window < longest:
        return False
    return not getattr(config, "attn_logit_softcapping", None) and not getattr(config, "attention_dropout", 0)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    lengths: Sequence[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query (rows, heads, time, width), key and value with as many or fewer heads; returns (rows, time, heads,
    width). Causal. lengths: of the samples that stand one after the other in the only row.

    While answers are generated the query is shorter than the key, and looks back from the end."""
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if attention_mask is not None:
        raise ValueError("this attention knows no mask")
    if lengths is None:
        return one(query, key, value, scale).transpose(1, 2), None
    pieces = (torch.split(tensor, list(lengths), dim=2) for tensor in (query, key, value))
    outs = [one(q, k, v, scale).transpose(1, 2) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(outs, dim=1), None


def one(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """(rows, heads, time, width) of samples of one length."""
    rows, heads, time, width = query.shape
    groups, seen = key.shape[1], key.shape[2]
    if seen > SHORT:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=time == seen, scale=scale, enable_gqa=heads != groups,
            attn_mask=None if time in (1, seen) else causal(time, seen, query.dtype),
        )  # fmt: skip
    share = heads // groups  # heads that look at one key: together they are one multiplication
    scores = (query * scale).reshape(rows, groups, share * time, width) @ key.transpose(-1, -2)
    scores = scores.view(rows, groups, share, time, seen) + causal(time, seen, query.dtype)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    out = weights.view(rows, groups, share * time, seen) @ value
    return out.view(rows, heads, time, width)


@lru_cache(maxsize=64)
def causal(time: int, seen: int, dtype: torch.dtype) -> Tensor:
    """(time, seen): 0 where a token may look, -inf where it may not."""
    return torch.full((time, seen), float("-inf"), dtype=dtype).triu(1 + seen - time)
