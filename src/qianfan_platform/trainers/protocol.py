"""What a trainer is: it makes a checkpoint out of a base model and rows, in a process of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["SFT", "PostPretrain", "DPO"]
"""What is learned: answers, running text, or to prefer one answer to another."""
Method = Literal["LoRA", "ALL", "P-tuning"]
"""Which weights change: an adapter, all of them, or a few virtual tokens before the prompt."""
Event = dict[str, Any]
"""One line of the trainer's report; `kind` is one of

ledger      samples, kept, truncated, split, dropped, trained_tokens, problems: [{sample, what, why}]; also
            training, held_out: samples of each kind after splitting, tokens, longest, problems_not_shown
plan        steps, epochs, trainable_parameters, threads, dtype, estimate: {seconds, memory_mib}, resumed_from;
            also resumed_step: steps that were done already, prepared_in: seconds
step        step, steps, epoch, loss, learning_rate, gradient_norm, tokens_per_second, tokens, memory_mib, seconds,
            seconds_left; SFT and PostPretrain: perplexity
            DPO besides: reward_margin, reward_chosen, reward_rejected, accuracy (0–1), means over the batch
eval        step, loss, tokens; SFT and PostPretrain: perplexity; DPO: the four figures of its steps
checkpoint  step, path, loss (of that step), perplexity (e to that loss), checkpoints: steps that are kept now
log         level, text
finished    step, loss, eval_loss, seconds, tokens_per_second, path, memory_mib; also estimate, as it was before
            step 1, took: {seconds, memory_mib}, the same as it was, time_factor: took over estimate, checkpoints,
            examples: [{sample, held_out, question, wanted, before, after}], what the model said to some samples
failed      reason
stopped     step

A run that goes on after its process died tells the steps since its last checkpoint again, and the ledger and
the plan: the later event of a step holds. Numbers that are not finite come as null.
"""


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters as the trainer takes them; every one is set before a run is made."""

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 2e-3
    max_seq_len: int = 512  # tokens
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ()  # names of linear layers; (): all but the output
    virtual_tokens: int = 16  # of P-tuning
    beta: float = 0.1  # of DPO: how much leaving the reference costs
    grad_clip: float = 1.0
    too_long: Literal["drop", "truncate", "split", "refuse"] = "refuse"  # split: at whole turns
    most_dropped: float = 0.5  # share of the samples; a run that drops more is refused
    logging_steps: int = 1


@dataclass(frozen=True)
class TrainSpec:
    """One run, whole: the child reads nothing else. Written as JSON into its work folder.

    base: folder in Hugging Face layout (safetensors, tokenizer with a chat template).
    rows: JSONL. SFT: a conversation a line, [{"prompt": str, "response": [[str]]}, …] with optional
    "system" in the first turn. PostPretrain: a text a line, as a JSON string. DPO: a conversation whose last
    turn has "chosen" and "rejected" in place of "response". "user" and "assistant" are taken for "prompt"
    and "response".
    held_out: share of the rows kept for evaluation, 0–0.5.
    start_from: the result folder of an earlier run; this one goes on training its weights on other data.
    work: folder of this run; checkpoints go to work/checkpoints/<step>, the result to work/result.
    threads, dtype and seed are fixed here, so that a resumed run equals an uninterrupted one."""

    base: Path
    rows: Path
    work: Path
    mode: Mode = "SFT"
    method: Method = "LoRA"
    hyper: Hyper = field(default_factory=Hyper)
    held_out: float = 0.2
    least_trained_tokens: int = 1  # a run that would learn fewer is refused
    seed: int = 7
    threads: int = 1
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    checkpoint_seconds: float = 30.0  # at least one checkpoint in this time
    checkpoint_steps: int | None = None  # or every so many steps
    checkpoints_kept: int = 2  # the newest ones; at least 1
    memory_mib: int | None = None  # the most that the process may hold; None: nine tenths of what is free
    cache: Path | None = None  # folder where tokenised rows are kept for later runs
    start_from: Path | None = None
    resume_from: Path | None = None  # a checkpoint folder of another run; work's own newest one goes first
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is its inverse."""
        plain = asdict(self)
        return {key: str(value) if isinstance(value, Path) else value for key, value in plain.items()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> TrainSpec:
        paths: dict[str, Any] = {key: Path(plain[key]) for key in ("base", "rows", "work")}
        for key in ("start_from", "resume_from", "cache"):
            paths[key] = Path(plain[key]) if plain.get(key) else None
        hyper = {**plain["hyper"], "lora_targets": tuple(plain["hyper"].get("lora_targets", ()))}
        return cls(**{**plain, **paths, "hyper": Hyper(**hyper)})


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `result` is the folder of the trained weights: a PEFT adapter, or a whole model."""

    status: Literal["finished", "stopped", "failed"]
    result: Path | None = None
    reason: str = ""
    last: Event = field(default_factory=dict)


OnEvent = Callable[[Event], Awaitable[None]]
