"""Attention in which several samples may stand in one row: they need no padding in all the rest of the model,
and each sees only itself.

On a CPU it is written out for short sequences and the fused kernel for long ones, sample by sample. The fused
kernel saves memory for long sequences, but its backward pass takes a quarter of a step for short ones. On a GPU
it is torch's own kernel for sequences of various lengths, where that is there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

NAME = "qianfan"
SHORT = 256  # tokens up to which attention is written out on a CPU


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
    width). Causal. lengths: of the samples that stand one after the other in the only row. On a GPU those raise
    ImportError, RuntimeError, TypeError or ValueError where torch has no kernel for them.

    While answers are generated the query is shorter than the key, and looks back from the end."""
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    if attention_mask is not None:
        raise ValueError("this attention knows no mask")
    if lengths is None:
        return one(query, key, value, scale).transpose(1, 2), None
    if query.is_cuda:
        return various(query, key, value, scale, lengths), None
    pieces = (torch.split(tensor, list(lengths), dim=2) for tensor in (query, key, value))
    outs = [one(q, k, v, scale).transpose(1, 2) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(outs, dim=1), None


def various(query: Tensor, key: Tensor, value: Tensor, scale: float, lengths: Sequence[int]) -> Tensor:
    """(1, time, heads, width) of samples of various lengths, on a GPU."""
    from torch.nn.attention.varlen import varlen_attn

    ends = bounds(tuple(lengths), query.device)
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (time, heads, width) each
    found: Any = varlen_attn(
        q, k, v, ends, ends, max(lengths), max(lengths), scale=scale, window_size=(-1, 0),  # causal
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    out: Tensor = found[None]
    return out


def one(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """(rows, heads, time, width) of samples of one length."""
    rows, heads, time, width = query.shape
    groups, seen = key.shape[1], key.shape[2]
    if seen > SHORT or query.is_cuda:
        return nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=time == seen, scale=scale, enable_gqa=heads != groups,
            attn_mask=None if time in (1, seen) else causal(time, seen, query.dtype, query.device),
        )  # fmt: skip
    share = heads // groups  # heads that look at one key: together they are one multiplication
    scores = (query * scale).reshape(rows, groups, share * time, width) @ key.transpose(-1, -2)
    scores = scores.view(rows, groups, share, time, seen) + causal(time, seen, query.dtype, query.device)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    out = weights.view(rows, groups, share * time, seen) @ value
    return out.view(rows, heads, time, width)


@lru_cache(maxsize=64)
def causal(time: int, seen: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(time, seen): 0 where a token may look, -inf where it may not."""
    return torch.full((time, seen), float("-inf"), dtype=dtype, device=device).triu(1 + seen - time)


@lru_cache(maxsize=4)
def bounds(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """(samples + 1,): where each sample of a row begins, and where the last one ends. Every layer asks again."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
