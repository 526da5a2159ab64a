"""The model that is trained: loading, adapters, the loss at learned tokens, and one optimiser step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from qianfan_platform.trainers.child import adapters, attention, embeddings, starting
from qianfan_platform.trainers.child.batches import Batch, collate, micro_batches, packed
from qianfan_platform.trainers.child.samples import Sample
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, TrainSpec

if TYPE_CHECKING:
    from qianfan_platform.trainers.child.objectives import Objective

AT_ONCE = {"cpu": 384, "cuda": 16384}  # padded tokens that go through the model together
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
            starting.foundation(spec),
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
        self.model: Any = prepared(base, spec)
        self.causal = base if spec.method == "LoRA" else self.model  # under the names of the base
        self.plain_head = False
        self.packs = False
        self.longest = longest
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

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Tensors of a micro-batch; the sequences stand in the samples' order."""
        return collate([one for s in samples for one in s.sequences], self.pad, self.spec.device, self.packs)

    def losses(self, batch: Batch) -> Tensor:
        """(n,): the loss of each learned token; the output layer sees only those."""
        return nn.functional.cross_entropy(self.logits(batch), batch.targets, reduction="none")

    def logits(self, batch: Batch) -> Tensor:
        """(n, vocabulary) in float32."""
        if not self.plain_head:
            whole: Tensor = self.causal(input_ids=batch.ids, use_cache=False, **batch.told).logits
            return whole.flatten(0, 1)[batch.at].float()
        body = self.causal.base_model(input_ids=batch.ids, use_cache=False, **batch.told)
        hidden = body.last_hidden_state.flatten(0, 1)[batch.at]  # (n, hidden)
        logits: Tensor = self.causal.get_output_embeddings()(hidden)
        return logits.float()

    @torch.no_grad()
    def try_plain_head(self, sample: Sample) -> bool:
        """Whether logits are nothing but the output layer over hidden states, as in most models.

        Some scale or cap them; for those the model's own, dearer way is taken."""
        batch = self.batch([sample])
        self.model.eval()
        self.plain_head = True
        short = self.logits(batch)
        self.plain_head = False
        whole = self.logits(batch)
        self.plain_head = bool(torch.allclose(short, whole, rtol=0.02, atol=0.02 * float(whole.abs().max())))
        self.model.train()
        return self.plain_head

    @torch.no_grad()
    def try_packing(self, samples: Sequence[Sample]) -> bool:
        """Whether these samples give the same logits packed into one row; from then on they may be packed.

        On a CPU only. A model whose attention is not the plain causal one keeps its own."""
        sequences = [one for sample in samples for one in sample.sequences]
        before = self.causal.config._attn_implementation
        if self.spec.device != "cpu" or not attention.fits(self.causal.config, self.longest):
            return False
        self.model.eval()
        alone = torch.cat([self.logits(collate([one], self.pad, "cpu")) for one in sequences])
        try:
            self.causal.set_attn_implementation(attention.register())
            together = self.logits(packed(sequences, "cpu"))
            self.packs = bool(
                torch.allclose(together, alone, rtol=0.02, atol=0.02 * float(alone.abs().max()))
            )
        except (TypeError, ValueError):  # it takes no such arguments
            self.packs = False
        if not self.packs:
            self.causal.set_attn_implementation(before)
        self.model.train()
        return self.packs

    def backward(self, objective: Objective, samples: Sequence[Any], weight: int) -> dict[str, float]:
        """Add this micro-batch's share of the gradient, and return its sums.

        weight: the objective's weight of the whole batch."""
        sums = objective.sums(self, samples)
        torch.autograd.backward(sums["loss"] / weight)
        for name, shadow in self.shadows.items():
            if shadow.grad is not None:
                master = self.weights[name]
                gradient = shadow.grad.float()
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                shadow.grad = None
        return {name: float(value.detach()) for name, value in sums.items()}

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
    def evaluate(
        self, objective: Objective, samples: Sequence[Any], check: Callable[[], None]
    ) -> dict[str, float]:
        """The objective's means over samples. `check` is called between micro-batches."""
        self.model.eval()
        total: dict[str, float] = defaultdict(float)
        try:
            for group in micro_batches(samples, self.at_once):
                check()
                for name, value in objective.sums(self, group).items():
                    total[name] += float(value)
        finally:
            self.model.train()
        weight = objective.weight(samples)
        return {name: value / weight for name, value in total.items()}


def prepared(base: Any, spec: TrainSpec) -> Any:
    """The model of a run: `base` with what changes marked as such. Raises Refused."""
    before = starting.earlier_adapter(spec)
    if spec.method == "LoRA":
        return adapters.earlier(base, before, spec.hyper) if before else adapters.new(base, spec.hyper)
    whole = adapters.merged(base, before) if before else base
    if spec.method == "P-tuning":
        return embeddings.with_virtual(whole, starting.encoder_of(spec))
    return whole.requires_grad_(True)


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
