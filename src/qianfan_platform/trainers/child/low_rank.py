"""A linear layer and its LoRA adapter as one operation, in the model's own dtype.

PEFT's layer converts every input and every result to float32 and back and keeps a float32 copy of each input
for the backward pass: a fifth of a layer's time on a CPU. Here the adapter, which is small, is converted instead;
its weights and what the optimiser gathers stay in float32."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def fuse(model: Any) -> int:
    """Let the plain adapters of a PEFT model go this way; returns how many do.

    The others keep PEFT's: with dropout, with DoRA, several at once, or around no plain linear layer."""
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear and fits(module)]
    for layer in layers:
        setattr(layer, "forward", partial(forward, layer, layer.forward))  # noqa: B010 — of this layer, not of its class
    return len(layers)


def fits(layer: Any) -> bool:
    """Whether a layer of PEFT is W·x + scale · B·A·x and nothing else."""
    base, names = layer.base_layer, layer.active_adapters
    return (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and names == list(layer.lora_A)
        and len(names) == 1
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and layer.lora_A[names[0]].bias is None
        and layer.lora_B[names[0]].bias is None
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
    )


def forward(layer: Any, plain: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x (…, in) → (…, out). plain: PEFT's own way, for a layer that was merged or switched off."""
    if layer.merged or layer.disable_adapters or args or kwargs:
        return plain(x, *args, **kwargs)  # type: ignore[no-any-return]
    base, (name,) = layer.base_layer, layer.active_adapters
    found: Tensor = LowRank.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    )
    return found


class LowRank(torch.autograd.Function):
    """W·x + b + scale · B·A·x. W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """x (…, in), weight (out, in), bias (out,), a (rank, in), b (out, rank) → (…, out) in x's dtype."""
        rows = x.reshape(-1, x.shape[-1])
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        low = rows @ down.t()  # (n, rank)
        out = nn.functional.linear(rows, weight, bias).addmm_(low, up.t())
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grown: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        """grown: the gradient of the result."""
        rows, low, weight, down, up = ctx.saved_tensors
        grown = grown.reshape(-1, grown.shape[-1])
        grown_low = grown @ up  # (n, rank)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (grown @ weight).addmm_(grown_low, down).view(ctx.shape)
        of_a = (grown_low.t() @ rows).float()
        of_b = (grown.t() @ low).float() * ctx.scale
        return of_x, None, None, of_a, of_b, None
