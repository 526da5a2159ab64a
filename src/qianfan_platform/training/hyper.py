"""From the wire's `trainConfig` to what the trainer does: defaults, refusals, warnings.

What the model that really trains cannot do is refused here, at the call. What only the cloud would refuse
for the name it stands in for is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import orjson

from qianfan.contract import errors
from qianfan.contract.enums import TrainMode
from qianfan.contract.errors import Fault
from qianfan.contract.train_types import Limit, TrainType
from qianfan_platform.trainers.protocol import Hyper, Method

from . import keys

V2_METHODS: Final = {"FullFineTuning": "ALL", "LoRA": "LoRA", "PromptTuning": "P-tuning"}
# AdamW moves each weight by about the learning rate a step, whatever the loss. A sum over the steps below this
# hardly changes a model: 60 steps at 2e-3 (sum 0.12) learn a table of facts, 4 steps at 2e-5 change no answer.
LEAST_MOVEMENT: Final = {"LoRA": 0.02, "ALL": 0.002, "P-tuning": 0.1}
# What the documented trainer sends beside hyper-parameters.
NO_HYPER: Final = frozenset({"peftType", "trainsetRate", "extras"})
MOST_BYTES: Final = 64 * 1024  # of a configuration, which is kept as it was sent
MOST_NAMED: Final = 10  # unknown members that are named one by one


@dataclass(frozen=True)
class Plan:
    """A checked configuration. `hyper` is complete; `warnings` are for the user's eyes."""

    method: Method
    hyper: Hyper
    seed: int
    checkpoint_steps: int | None  # None: by time
    checkpoints_kept: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What is asked for. method: in the words of either generation, None for the default of the train type.

    v2: asked through the V2 interface, so that its defaults hold."""

    mode: TrainMode
    method: str | None
    config: Mapping[str, Any]
    v2: bool = False


def mode_of(word: str) -> TrainMode:
    """The mode. Raises Fault(BAD_TRAIN_CONFIG) for one that is not trained here, such as KTO."""
    try:
        return TrainMode(word)
    except ValueError:
        known = ", ".join(mode.value for mode in TrainMode)
        instead = (
            "; DPO learns preferences, from pairs of a better and a worse answer" if word == "KTO" else ""
        )
        raise Fault(
            errors.BAD_TRAIN_CONFIG,
            f"trainMode {word!r} is not trained here",
            f"it must be one of {known}{instead}",
        ) from None


def method_of(train_type: TrainType, asked: str | None, *, v2: bool = False) -> Method:
    """The method in the words of V1. Raises Fault(BAD_TRAIN_CONFIG)."""
    method = V2_METHODS.get(asked or "", asked) or train_type.defaults.get("peftType", "LoRA")
    if method not in keys.ALL_METHODS:
        name, known = (
            ("param[parameterScale] invalid: it", V2_METHODS) if v2 else ("peftType", keys.ALL_METHODS)
        )
        raise Fault(errors.BAD_TRAIN_CONFIG, f"{name} is {asked!r}", f"it must be one of {', '.join(known)}")
    return cast(Method, method)


def must_be_small(value: Any, name: str) -> None:
    """Refuse to keep a member that is larger than any hyper-parameters are. Raises Fault(CONSOLE_PARAMETER)."""
    if len(orjson.dumps(value, default=str)) > MOST_BYTES:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[{name}] invalid: it has more than {MOST_BYTES} bytes",
            "leave out what this run does not need",
        )


def defaults(train_type: TrainType, mode: TrainMode, method: str, *, v2: bool) -> dict[str, Any]:
    """What holds where the caller says nothing, by names of the wire.

    V1 has one row of defaults for a train type, of its default method; all else is of the V2 table."""
    own = {name: value for name, value in train_type.defaults.items() if name != "peftType"}
    if mode is TrainMode.SFT and not v2 and method == train_type.defaults.get("peftType", "LoRA"):
        return own
    tuning = train_type.tuning(mode.value, method)
    if tuning is None or tuning.defaults is None:
        own.pop("learningRate", None)  # it is of another method or mode
        table = own
    else:
        table = dict(tuning.defaults)
    for name, limit in tuning.limits.items() if tuning else ():
        value = keys.BY_NAME[name].default
        if name not in table and value is not None and not limit.holds(value):
            table[name] = limit.nearest(value)
    return table


def resolve(train_type: TrainType, wish: Wish, *, context: int, records: int, stand_in: bool = True) -> Plan:
    """The run that `wish` asks for.

    context: tokens that the model which really trains can take. records: samples in the training sets.
    stand_in: another model trains under this name, so that the cloud's ranges are told.
    Raises Fault(BAD_TRAIN_CONFIG) naming the field, its value, and what would be right."""
    method = method_of(train_type, wish.method, v2=wish.v2)
    must_be_small(wish.config, "hyperParameterConfig" if wish.v2 else "trainConfig")
    config = {name: value for name, value in wish.config.items() if value is not None}
    given = {**defaults(train_type, wish.mode, method, v2=wish.v2), **config}
    # All are read for their refusals: a wrong rank is an error also where another method ignores it.
    read = {key.name: key.read(given, v2=wish.v2) for key in keys.KEYS}
    warnings = _cloud_ranges(train_type, wish.mode, method, config, v2=wish.v2) if stand_in else []
    warnings += _without_effect(config, wish.mode, method)
    if wish.mode is TrainMode.DPO and read["tooLong"] == "split":
        allowed = "refuse, drop or truncate: a preference cannot be split"
        raise keys.refusal("tooLong", "split", allowed, v2=wish.v2)

    def value(name: str) -> Any:
        return keys.BY_NAME[name].default if read[name] is None else read[name]

    scheduler = value("schedulerName")
    if scheduler == "polynomial":
        warnings.append("schedulerName polynomial is taken with power 1, which is linear")
    warmup = 0.0 if scheduler == "constant" and read["warmupRatio"] is None else value("warmupRatio")
    length = read["maxSeqLen"] or min(4096, context)
    if length > context:
        warnings.append(
            f"maxSeqLen {length} is more than the {context} tokens this model takes; {context} is used"
        )
        length = context
    if method == "P-tuning" and value("virtualTokens") >= length:
        allowed = f"less than the {length} tokens of a sample (maxSeqLen), which they are part of"
        raise keys.refusal("virtualTokens", value("virtualTokens"), allowed, v2=wish.v2)
    rank = value("loraRank")
    hyper = Hyper(
        epochs=value("epoch"),
        batch_size=value("batchSize"),
        learning_rate=read["learningRate"] or keys.rate(wish.mode.value, method),
        max_seq_len=length,
        warmup_ratio=warmup,
        weight_decay=value("weightDecay"),
        scheduler=_schedule(scheduler),
        lora_rank=rank,
        lora_alpha=read["loraAlpha"] or 2 * rank,
        lora_dropout=value("loraDropout"),
        lora_targets=_targets(read),
        virtual_tokens=value("virtualTokens"),
        beta=value("beta"),
        too_long=value("tooLong"),
        most_dropped=value("mostDropped") / 100,
        logging_steps=value("loggingSteps"),
    )
    warnings += _hardly_learns(hyper, wish.mode, method, records)
    return Plan(
        method, hyper, value("seed"), read["checkpointSteps"], value("checkpointsKept"), tuple(warnings)
    )


def _schedule(name: str) -> Any:
    if name.startswith("constant"):
        return "constant"
    return "cosine" if name == "cosine" else "linear"


def _targets(read: Mapping[str, Any]) -> tuple[str, ...]:
    if read["loraTargetModules"]:
        return tuple(read["loraTargetModules"])
    return ("q_proj", "v_proj") if read["loraAllLinear"] == "False" else ()


def _hardly_learns(hyper: Hyper, mode: TrainMode, method: str, records: int) -> list[str]:
    steps = hyper.epochs * max(1, -(-records // hyper.batch_size))
    share = keys.DPO_SHARE if mode is TrainMode.DPO else 1
    if steps * hyper.learning_rate >= LEAST_MOVEMENT[method] * share:
        return []
    passes = max(hyper.epochs, min(100, -(-40 * hyper.epochs // steps)))
    return [
        f"{steps} steps at learning rate {hyper.learning_rate:g} can hardly change the model; one that learns: "
        f"TrainConfig(epoch={passes}, batch_size={hyper.batch_size}, "
        f"learning_rate={keys.rate(mode.value, method):g}, peft_type={method!r})"
    ]


def _cloud_ranges(
    train_type: TrainType, mode: TrainMode, method: str, config: Mapping[str, Any], *, v2: bool
) -> list[str]:
    """What the cloud would not take for this name: the method, or a value."""
    tuning = train_type.tuning(mode.value, method)
    first = mode is TrainMode.SFT and not v2  # V1 has one row of ranges for all methods
    if not (method in train_type.peft if first else tuning):
        return [
            f"the cloud does not offer {mode.value} by {method} for {train_type.name}; this platform goes on"
        ]
    limits: Mapping[str, Limit] = {name: Limit(low, high) for name, (low, high) in train_type.ranges.items()}
    if not first and tuning is not None:
        limits = tuning.limits
    return [
        f"the cloud takes {name} of {train_type.name} {limit}, not {config[name]}; this platform goes on"
        for name, limit in limits.items()
        if name in config and not limit.holds(config[name])
    ]


def _without_effect(config: Mapping[str, Any], mode: TrainMode, method: str) -> list[str]:
    unknown = [name for name in config if name not in keys.BY_NAME and name not in NO_HYPER]
    found = []
    for name in unknown[:MOST_NAMED]:
        text = f"{name[:40]} is no hyper-parameter of this platform: it is kept, and has no effect"
        near = keys.meant(name)
        found.append(f"{text}; did you mean {near}?" if near else text)
    if len(unknown) > MOST_NAMED:
        found.append(f"so are {len(unknown) - MOST_NAMED} more names")
    for name, key in keys.BY_NAME.items():
        if name in config and (method not in key.methods or mode.value not in key.modes):
            found.append(f"{name} has no effect in {mode.value} by {method}")
    return found


def told(row: Mapping[str, Any], mode: str, method: str) -> dict[str, Any]:
    """What holds in a run, by names of the wire, as far as it has an effect there. row: of `as_json`."""
    layers = list(row.get("lora_targets") or ())
    spelt = {
        "epoch": row.get("epochs"),
        "batchSize": row.get("batch_size"),
        "learningRate": row.get("learning_rate"),
        "maxSeqLen": row.get("max_seq_len"),
        "loggingSteps": row.get("logging_steps"),
        "warmupRatio": row.get("warmup_ratio"),
        "weightDecay": row.get("weight_decay"),
        "schedulerName": row.get("scheduler"),
        "loraRank": row.get("lora_rank"),
        "loraAlpha": row.get("lora_alpha"),
        "loraDropout": row.get("lora_dropout"),
        "loraAllLinear": None if layers else "True",
        "loraTargetModules": layers or None,
        "virtualTokens": row.get("virtual_tokens"),
        "beta": row.get("beta"),
        "tooLong": row.get("too_long"),
        "mostDropped": round(100 * row.get("most_dropped", 1)),
    }
    return {
        name: value
        for name, value in spelt.items()
        if value is not None and method in keys.BY_NAME[name].methods and mode in keys.BY_NAME[name].modes
    }


def as_json(hyper: Hyper) -> dict[str, Any]:
    """The row's form of `hyper`."""
    return asdict(hyper)
