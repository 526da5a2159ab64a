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
from qianfan_platform.trainers.child.token_loss import token_losses
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, TrainSpec

if TYPE_CHECKING:
    from qianfan_platform.trainers.child.objectives import Objective

AT_ONCE = {"cpu": 384, "cuda": 16384}  # padded tokens that go through the model together


class Trainee:
    """A causal language model with the weights that change.

    Weights that change are held in float32. LoRA's are so from the start; a full fine-tune in bfloat16
    keeps float32 masters beside the model, because bfloat16 swallows small updates."""

    def __init__(self, spec: TrainSpec, longest: int) -> None:
        """longest: tokens of the longest sample."""
        from transformers import AutoModelForCausalLM

        short = spec.device == "cpu" and longest <= attention.SHORT
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
        if (
            self.shadows
        ):  # each piece adds a gradient as big as the model to the masters': fewer, bigger pieces
            self.at_once *= 3
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
        head = self.causal.get_output_embeddings()
        if self.plain_head and type(head) is nn.Linear and head.bias is None:
            return token_losses(self.hidden(batch), head.weight, batch.targets)
        return nn.functional.cross_entropy(self.logits(batch), batch.targets, reduction="none")

    def logits(self, batch: Batch) -> Tensor:
        """(n, vocabulary) in float32."""
        if not self.plain_head:
            whole: Tensor = self.causal(input_ids=batch.ids, use_cache=False, **batch.told).logits
            return whole.flatten(0, 1)[batch.at].float()
        logits: Tensor = self.causal.get_output_embeddings()(self.hidden(batch))
        return logits.float()

    def hidden(self, batch: Batch) -> Tensor:
        """(n, hidden): what the output layer sees at learned places."""
        body = self.causal.base_model(input_ids=batch.ids, use_cache=False, **batch.told)
        found: Tensor = body.last_hidden_state.flatten(0, 1)[batch.at]
        return found

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

        A model whose attention is not the plain causal one keeps its own, and so does a GPU without a kernel."""
        sequences = [one for sample in samples for one in sample.sequences]
        before, device = self.causal.config._attn_implementation, self.spec.device
        if not attention.fits(self.causal.config, self.longest):
            return False
        self.model.eval()
        alone = torch.cat([self.logits(collate([one], self.pad, device)) for one in sequences])
        try:
            self.causal.set_attn_implementation(attention.register())
            batch = packed(sequences, device)
            same = torch.allclose(self.logits(batch), alone, rtol=0.02, atol=0.02 * float(alone.abs().max()))
            self.packs = same and (device == "cpu" or self.repeats(batch))
        except (ImportError, RuntimeError, TypeError, ValueError):  # no such kernel, or no such arguments
            self.packs = False
        if not self.packs:
            self.causal.set_attn_implementation(before)
        self.model.train()
        return self.packs

    @torch.enable_grad()
    def repeats(self, batch: Batch) -> bool:
        """Whether the backward pass gives the same gradient twice, as a run that goes on needs."""
        found = []
        for _ in range(2):
            torch.autograd.backward(self.losses(batch).sum())
            changing = [p for p in self.model.parameters() if p.grad is not None]
            found.append([float(p.grad.double().sum()) for p in changing])
            for parameter in changing:
                parameter.grad = None
        return found[0] == found[1] and all(map(math.isfinite, found[0]))

    def backward(self, objective: Objective, samples: Sequence[Any], weight: int) -> dict[str, float]:
        """Add this micro-batch's share of the gradient, and return its sums.

        weight: the objective's weight of the whole batch."""
        sums = objective.sums(self, samples)
        torch.autograd.backward(sums["loss"] / weight)
        for name, shadow in self.shadows.items():
            if shadow.grad is not None:
                master = self.weights[name]
                if master.grad is None:
                    master.grad = shadow.grad.float()
                else:
                    master.grad.add_(shadow.grad)  # in float32, without a copy in float32
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
