from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from torch import Tensor, nn

from qianfan_platform.trainers.child import low_rank, token_loss


def adapted(dropout: float = 0.0) -> tuple[nn.Module, nn.Module]:
    """The same small LoRA model twice; only the first one's layers are fused."""
    from peft import LoraConfig, get_peft_model

    models = []
    for _ in range(2):
        torch.manual_seed(3)
        base = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 6, bias=False))
        config = LoraConfig(
            r=4, lora_alpha=6, lora_dropout=dropout, target_modules=["0", "2"], init_lora_weights=False
        )
        models.append(get_peft_model(base, config))
    low_rank.fuse(models[0])
    return models[0], models[1]


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model(x).float().square().sum().backward()
    return [p.grad for p in [*model.parameters(), x] if p.grad is not None]


def test_a_fused_layer_is_pefts_layer() -> None:
    """The same results and the same gradients, of the adapter and of what stands before."""
    fused, plain = adapted()
    x = torch.randn(2, 5, 12, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    assert torch.allclose(fused(x), plain(y), atol=1e-6)
    mine, theirs = gradients(fused, x), gradients(plain, y)
    assert len(mine) == len(theirs) == 5
    assert all(
        torch.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in zip(mine, theirs, strict=True)
    )


def test_a_fused_layer_in_bfloat16_is_as_near_as_pefts() -> None:
    """The adapter works in the model's dtype, and its gradients stay in float32."""
    fused, plain = (model.bfloat16() for model in adapted())
    for model in (fused, plain):
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.data = parameter.data.float()
    x = torch.randn(7, 12).bfloat16()
    mine, theirs = gradients(fused, x), gradients(plain, x)
    assert {gradient.dtype for gradient in mine} == {torch.float32}
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, rtol=0.05, atol=0.05 * float(other.abs().max()))


def test_a_layer_that_is_switched_off_or_merged_is_not_adapted() -> None:
    """What PEFT does with its layers still holds after they were fused."""
    fused, plain = adapted()
    x = torch.randn(3, 12)
    with fused.disable_adapter(), plain.disable_adapter():
        assert torch.equal(fused(x), plain(x))
    assert torch.allclose(fused.merge_and_unload()(x), plain(x), atol=1e-6)


def test_layers_with_dropout_stay_pefts() -> None:
    """A fused layer knows no dropout."""
    fused, _ = adapted(dropout=0.5)
    assert low_rank.fuse(fused) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_from_hidden_states_is_the_cross_entropy(dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token's loss and every gradient, when tokens weigh differently and the pieces do not come out even."""
    monkeypatch.setitem(token_loss.AT_ONCE, "cpu", 3 * 50)
    torch.manual_seed(1)
    hidden, weight = torch.randn(10, 16).to(dtype), torch.randn(50, 16).to(dtype)
    targets, share = torch.randint(50, (10,)), torch.rand(10)
    found = []
    for losses_of in (
        token_loss.token_losses,
        lambda h, w, t: nn.functional.cross_entropy((h @ w.t()).float(), t, reduction="none"),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        losses = losses_of(h, w, targets)
        (losses * share).sum().backward()
        found.append([losses.detach(), h.grad.float(), w.grad.float()])
    near = 1e-5 if dtype == torch.float32 else 0.03
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, rtol=near, atol=near * float(theirs.abs().max()))


def test_the_loss_without_a_gradient_is_the_same() -> None:
    """An evaluation gives the numbers that training gives, to the bit."""
    hidden, weight, targets = torch.randn(5, 8), torch.randn(30, 8), torch.randint(30, (5,))
    with torch.no_grad():
        told = token_loss.token_losses(hidden, weight, targets)
    assert torch.equal(told, token_loss.token_losses(hidden.requires_grad_(), weight, targets).detach())
