"""The loss of tokens straight from hidden states: the output layer and the cross entropy as one operation.

A row of logits is as wide as the vocabulary, and the usual way keeps four of them for each token, two in
float32. Here each is turned into its own gradient, in its place, a few rows at a time while they are in the
processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 27}  # logits that are held in float32


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """(n,) in float32: −log softmax(hidden · weightᵀ) at the targets.

    hidden (n, width), weight (vocabulary, width), targets (n,)."""
    found: Tensor = TokenLoss.apply(hidden, weight, targets, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return found


class TokenLoss(torch.autograd.Function):
    """−log softmax(hidden · weightᵀ) at the targets."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, learning: bool) -> Tensor:
        """learning: whether a gradient will be asked for."""
        logits = hidden @ weight.t()  # (n, vocabulary)
        count, vocabulary = logits.shape
        losses = torch.empty(count, device=hidden.device)
        rows = max(1, AT_ONCE.get(hidden.device.type, AT_ONCE["cpu"]) // vocabulary)
        for at in range(0, count, rows):
            piece, wanted = logits[at : at + rows], targets[at : at + rows, None]
            exact = piece.float()
            most = exact.amax(dim=1, keepdim=True)
            right = exact.gather(1, wanted) - most
            shares = exact.sub_(most).exp_()
            total = shares.sum(dim=1, keepdim=True)
            losses[at : at + rows] = (total.log() - right)[:, 0]
            if learning:
                shares.div_(total)
                shares.scatter_(1, wanted, shares.gather(1, wanted) - 1)
                piece.copy_(shares)
        if learning:
            ctx.save_for_backward(hidden, weight, logits)  # they are their own gradient now
        return losses

    @staticmethod
    def backward(ctx: Any, grown: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """grown (n,): the gradient of each loss."""
        hidden, weight, of_logits = ctx.saved_tensors
        share = grown[:, None]
        of_hidden = of_weight = None
        if ctx.needs_input_grad[0]:
            of_hidden = ((of_logits @ weight) * share).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = of_logits.t() @ (hidden * share).to(hidden.dtype)
        return of_hidden, of_weight, None, None
