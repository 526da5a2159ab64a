"""From the wire's `trainConfig` to what the trainer does: defaults, refusals, warnings.

What the model that really trains cannot do is refused here, at the call. What only the cloud would refuse
for the name it stands in for is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan.contract.train_types import TrainType
from qianfan_platform.trainers.protocol import Hyper

V2_METHODS: Final = {"FullFineTuning": "ALL", "LoRA": "LoRA", "PromptTuning": "P-tuning"}
# AdamW moves each weight by about the learning rate a step, whatever the loss. A sum over the steps below this
# hardly changes a model: 60 steps at 2e-3 (sum 0.12) learn a table of facts, 4 steps at 2e-5 change no answer.
LEAST_MOVEMENT: Final = {"LoRA": 0.02, "ALL": 0.002}


@dataclass(frozen=True)
class Plan:
    """A checked configuration. `hyper` is complete; `warnings` are for the user's eyes."""

    method: str
    hyper: Hyper
    checkpoint_steps: int | None  # None: by time
    warnings: tuple[str, ...]


def _refuse(field: str, value: Any, allowed: str) -> Fault:
    return Fault(errors.BAD_TRAIN_CONFIG, f"trainConfig.{field} is {value!r}", f"it must be {allowed}")


def _number(config: Mapping[str, Any], field: str, low: float, high: float, *, whole: bool) -> Any:
    value = config.get(field)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = int(value) if whole else float(value)
        except ValueError:
            raise _refuse(field, value, "a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(field, value, "a number")
    if whole and value != int(value):
        raise _refuse(field, value, "a whole number")
    if not low <= value <= high:
        raise _refuse(field, value, f"between {low:g} and {high:g}")
    return int(value) if whole else float(value)


def _method(train_type: TrainType, asked: str | None) -> str:
    method = V2_METHODS.get(asked or "", asked) or train_type.defaults.get("peftType", "LoRA")
    if method not in ("ALL", "LoRA", "P-tuning"):
        raise Fault(errors.BAD_TRAIN_CONFIG, f"peftType is {asked!r}", "it must be LoRA or ALL")
    if method == "P-tuning":
        raise Fault(
            errors.BAD_TRAIN_CONFIG,
            "P-tuning cannot be served by this platform's engines yet",
            "use peftType LoRA, which costs as little and learns more",
        )
    return method


def resolve(
    train_type: TrainType, peft: str | None, config: Mapping[str, Any], *, context: int, records: int
) -> Plan:
    """The run that `config` asks for.

    context: tokens that the model which really trains can take. records: samples in the training sets.
    Raises Fault(BAD_TRAIN_CONFIG) naming the field, its value, and what would be right."""
    method = _method(train_type, peft)
    given = {**train_type.defaults, **{key: value for key, value in config.items() if value is not None}}
    warnings = _cloud_ranges(train_type, config)

    epochs = _number(given, "epoch", 1, 1000, whole=True) or 1
    batch = _number(given, "batchSize", 1, 512, whole=True) or 8
    rate = _number(given, "learningRate", 1e-12, 1.0, whole=False) or 1e-3
    length = _number(given, "maxSeqLen", 16, 1 << 20, whole=True) or min(4096, context)
    if length > context:
        warnings.append(
            f"maxSeqLen {length} is more than the {context} tokens this model takes; {context} is used"
        )
        length = context
    scheduler = str(given.get("schedulerName", "linear"))
    if scheduler not in ("linear", "cosine", "constant", "constant_with_warmup"):
        raise _refuse("schedulerName", scheduler, "linear, cosine, constant or constant_with_warmup")
    default = Hyper()
    # Called for their refusals too: a wrong rank is an error also where another method ignores it.
    rank = _number(given, "loraRank", 1, 512, whole=True) or default.lora_rank
    alpha = _number(given, "loraAlpha", 1, 4096, whole=True) or 2 * rank
    dropout = _number(given, "loraDropout", 0, 0.9, whole=False) or 0.0
    decay = _number(given, "weightDecay", 0, 1, whole=False) or 0.0
    warmup = _number(given, "warmupRatio", 0, 0.9, whole=False)
    hyper = Hyper(
        epochs=epochs,
        batch_size=batch,
        learning_rate=rate,
        max_seq_len=length,
        warmup_ratio=default.warmup_ratio if warmup is None else warmup,
        weight_decay=decay,
        scheduler="constant" if scheduler.startswith("constant") else scheduler,  # type: ignore[arg-type]
        lora_rank=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        too_long=_too_long(given),
        logging_steps=_number(given, "loggingSteps", 1, 10_000, whole=True) or 1,
    )
    steps = epochs * max(1, -(-records // batch))
    if steps * rate < LEAST_MOVEMENT[method]:
        better = "1e-3" if method == "LoRA" else "1e-4"
        passes = max(epochs, min(100, -(-40 * epochs // steps)))
        warnings.append(
            f"{steps} steps at learning rate {rate:g} can hardly change the model; one that learns: "
            f"TrainConfig(epoch={passes}, batch_size={batch}, learning_rate={better}, peft_type={method!r})"
        )
    every = _number(given, "checkpointSteps", 1, 1_000_000, whole=True)
    return Plan(method, hyper, every, tuple(warnings))


def _too_long(given: Mapping[str, Any]) -> Any:
    policy = given.get("tooLong", "refuse")
    if policy not in ("refuse", "drop", "truncate"):
        raise _refuse("tooLong", policy, "refuse, drop or truncate")
    return policy


def _cloud_ranges(train_type: TrainType, config: Mapping[str, Any]) -> list[str]:
    found = []
    for field, (low, high) in train_type.ranges.items():
        value = config.get(field)
        if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
            found.append(
                f"the cloud takes {field} of {train_type.name} from {low:g} to {high:g}, not {value:g}; "
                "this platform goes on"
            )
    return found


def as_json(hyper: Hyper) -> dict[str, Any]:
    """The row's form of `hyper`."""
    return asdict(hyper)
