"""The model that is trained: loading, adapters, the loss at learned tokens, and one optimiser step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qianfan_platform.trainers.child.batches import Batch, collate, micro_batches
from qianfan_platform.trainers.child.rows import Encoded
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, TrainSpec

AT_ONCE = {"cpu": 1024, "cuda": 16384}  # padded tokens that go through the model together
PLAIN_ATTENTION = 256
"""Tokens up to which attention is written out on a CPU. The fused kernel saves memory for long samples,
but its backward pass takes a quarter of a step for short ones: 2.05 against 1.6 CPU seconds."""


class Trainee:
    """A causal language model with the weights that change.

    Weights that change are held in float32. LoRA's are so from the start; a full fine-tune in bfloat16
    keeps float32 masters beside the model, because bfloat16 swallows small updates."""

    def __init__(self, spec: TrainSpec, longest: int) -> None:
        """longest: tokens of the longest sample."""
        from transformers import AutoModelForCausalLM

        short = spec.device == "cpu" and longest <= PLAIN_ATTENTION
        self.spec = spec
        dtype = torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
        base: Any = AutoModelForCausalLM.from_pretrained(
            spec.base,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager" if short else "sdpa",
        )
        base.to(spec.device)
        base.config.use_cache = False
        self.pad = next(
            (n for n in (base.config.pad_token_id, base.config.eos_token_id, 0) if isinstance(n, int)), 0
        )
        torch.manual_seed(spec.seed)  # the adapter's first weights
        self.model: Any = with_adapter(base, spec.hyper) if spec.method == "LoRA" else base
        self.causal = base  # the same modules, under the names of the base
        self.plain_head = False
        self.at_once = AT_ONCE.get(spec.device.split(":")[0], AT_ONCE["cpu"])
        self.model.train()
        changing = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.shadows = {name: p for name, p in changing.items() if p.dtype != torch.float32}
        self.weights: dict[str, Tensor] = {
            name: p.detach().float().requires_grad_() if name in self.shadows else p
            for name, p in changing.items()
        }
        groups: list[dict[str, Any]] = [
            {"params": [w for w in self.weights.values() if w.ndim > 1]},
            {"params": [w for w in self.weights.values() if w.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=spec.hyper.weight_decay, fused=True)

    @property
    def trainable(self) -> int:
        """How many numbers change."""
        return sum(weight.numel() for weight in self.weights.values())

    def losses(self, batch: Batch) -> Tensor:
        """The sum of the loss over the learned tokens; the output layer sees only those."""
        return nn.functional.cross_entropy(self.logits(batch), batch.targets, reduction="sum")

    def logits(self, batch: Batch) -> Tensor:
        """(n, vocabulary) in float32."""
        if not self.plain_head:
            whole: Tensor = self.causal(input_ids=batch.ids, use_cache=False).logits
            return whole.flatten(0, 1)[batch.at].float()
        body = self.causal.base_model(input_ids=batch.ids, use_cache=False)
        hidden = body.last_hidden_state.flatten(0, 1)[batch.at]  # (n, hidden)
        logits: Tensor = self.causal.get_output_embeddings()(hidden)
        return logits.float()

    @torch.no_grad()
    def try_plain_head(self, sample: Encoded) -> bool:
        """Whether logits are nothing but the output layer over hidden states, as in most models.

        Some scale or cap them; for those the model's own, dearer way is taken."""
        batch = collate([sample], self.pad, self.spec.device)
        self.model.eval()
        self.plain_head = True
        short = self.logits(batch)
        self.plain_head = False
        whole = self.logits(batch)
        self.plain_head = bool(torch.allclose(short, whole, rtol=0.02, atol=0.02 * float(whole.abs().max())))
        self.model.train()
        return self.plain_head

    def backward(self, batch: Batch, trained: int) -> float:
        """Add this micro-batch's share of the gradient. trained: learned tokens of the whole batch."""
        loss = self.losses(batch)
        torch.autograd.backward(loss / trained)
        for name, shadow in self.shadows.items():
            if shadow.grad is not None:
                master = self.weights[name]
                gradient = shadow.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                shadow.grad = None
        return float(loss.detach())

    def update(self, learning_rate: float) -> float:
        """One step of the optimiser with the gathered gradient, which is then forgotten.

        Returns the gradient's norm before clipping; where it is not finite, nothing is changed."""
        clip = self.spec.hyper.grad_clip if self.spec.hyper.grad_clip > 0 else math.inf
        norm = float(nn.utils.clip_grad_norm_(list(self.weights.values()), clip))
        if math.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate
            self.optimiser.step()
            with torch.no_grad():
                for name, shadow in self.shadows.items():
                    shadow.copy_(self.weights[name])
        self.forget()
        return norm

    def forget(self) -> None:
        """Drop the gathered gradient."""
        for weight in self.weights.values():
            weight.grad = None

    @torch.no_grad()
    def evaluate(self, samples: Sequence[Encoded], check: Any) -> tuple[float, int]:
        """(mean loss, learned tokens) over samples. `check` is called between micro-batches."""
        self.model.eval()
        total, tokens = 0.0, 0
        try:
            for group in micro_batches(samples, self.at_once):
                check()
                batch = collate(group, self.pad, self.spec.device)
                total += float(self.losses(batch))
                tokens += len(batch.targets)
        finally:
            self.model.train()
        return total / max(1, tokens), tokens


def with_adapter(base: Any, hyper: Hyper) -> Any:
    """`base` with a LoRA adapter in float32 at every linear layer but the output."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=hyper.lora_dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def learning_rate(hyper: Hyper, step: int, steps: int) -> float:
    """The rate of a step, 0 ≤ step < steps: warm-up in a line, then the schedule down to 0."""
    warm = math.ceil(hyper.warmup_ratio * steps)
    if step < warm:
        return hyper.learning_rate * (step + 1) / warm
    left = (steps - step) / max(1, steps - warm)  # 1 … 0
    if hyper.scheduler == "linear":
        return hyper.learning_rate * left
    if hyper.scheduler == "cosine":
        return hyper.learning_rate * (1 - math.cos(math.pi * left)) / 2
    return hyper.learning_rate


def use(spec: TrainSpec) -> None:
    """Set torch to the run's threads and to repeatable arithmetic. Raises Refused for a missing device."""
    torch.set_num_threads(spec.threads)
    torch.use_deterministic_algorithms(True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 — costs 3 %, and nothing reads it unwritten
    torch.manual_seed(spec.seed)
    if spec.device.startswith("cuda") and not torch.cuda.is_available():
        raise Refused(f"the device {spec.device} is not here: torch sees no GPU; use device cpu")


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer, with its chat template. Raises Refused when there is none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise Refused(f"the model in {folder.name} has no chat template, so conversations cannot be rendered")
    return tokenizer
