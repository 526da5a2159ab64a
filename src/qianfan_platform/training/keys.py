"""The hyper-parameters that this platform's trainer takes: one table for checking, and for telling clients."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from qianfan.contract import errors
from qianfan.contract.errors import Fault

ALL_METHODS: Final = ("ALL", "LoRA", "P-tuning")
ALL_MODES: Final = ("SFT", "PostPretrain", "DPO")
MOST_SHOWN: Final = 80  # characters of a value in an error
LAYERS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Key:
    """One hyper-parameter by its name on the wire.

    low, high: of numbers, inclusive. choices: of texts. offered: where published clients want a list, the
    values shown to them; any number from low to high is taken all the same. shown: told to clients at all."""

    name: str
    kind: Literal["int", "float", "string", "list"]
    about: str
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    offered: tuple[Any, ...] = ()
    default: Any = None  # where neither the caller nor the table of train types says anything
    methods: tuple[str, ...] = ALL_METHODS  # for the others it has no effect
    modes: tuple[str, ...] = ALL_MODES
    shown: bool = True

    def read(self, given: Mapping[str, Any], *, v2: bool = False) -> Any:
        """The value in `given`, or None. Raises Fault(BAD_TRAIN_CONFIG) with name, value and what is right."""
        value = given.get(self.name)
        if value is None:
            return None
        try:
            if self.kind == "string":
                return self._choice(value)
            return self._layers(value) if self.kind == "list" else self._number(value)
        except _Wrong as wrong:
            raise refusal(self.name, wrong.value, wrong.allowed, v2=v2) from None

    def _choice(self, value: Any) -> str:
        text = str(value) if isinstance(value, bool) else value
        if text not in self.choices:
            raise _Wrong(value, f"one of {', '.join(self.choices)}")
        return str(text)

    def _layers(self, value: Any) -> list[str]:
        if not isinstance(value, list):
            raise _Wrong(value, "a list of names")
        names = [str(one).rsplit(".", 1)[-1] for one in value]
        for name, one in zip(names, value, strict=True):
            if name not in self.choices:
                raise _Wrong(one, f"a list of {', '.join(self.choices)}")
        return names

    def _number(self, value: Any) -> float:
        whole = self.kind == "int"
        if isinstance(value, str):
            try:
                value = int(value) if whole else float(value)
            except ValueError:
                raise _Wrong(value, "a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Wrong(value, "a number")
        if not self.low <= value <= self.high:  # NaN as well
            raise _Wrong(value, f"between {self.low:g} and {self.high:g}")
        if whole and value != int(value):
            raise _Wrong(value, "a whole number")
        return int(value) if whole else float(value)


class _Wrong(Exception):
    def __init__(self, value: Any, allowed: str) -> None:
        self.value, self.allowed = value, allowed


def refusal(name: str, value: Any, allowed: str, *, v2: bool) -> Fault:
    """The refusal of a hyper-parameter, named as the interface that it came by names it."""
    shown = repr(value)
    shown = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}…"
    what = f"param[hyperParameterConfig.{name}] invalid: it" if v2 else f"trainConfig.{name}"
    return Fault(errors.BAD_TRAIN_CONFIG, f"{what} is {shown}", f"it must be {allowed}")


_LORA: Final = ("LoRA",)
KEYS: Final[tuple[Key, ...]] = (
    Key("epoch", "int", "passes over the data", 1, 1000, default=1),
    Key("batchSize", "int", "samples a step", 1, 1024, default=8),
    Key("learningRate", "float", "the highest learning rate", 1e-12, 1.0),
    Key(
        "maxSeqLen", "int", "the longest sample, in tokens; beyond the model's own limit that one holds",
        16, 1 << 20, offered=(64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
    ),
    Key("loggingSteps", "int", "steps between two lines of metrics", 1, 10_000, default=1),
    Key("warmupRatio", "float", "share of the steps in which the learning rate rises", 0, 0.9, default=0.05),
    Key("weightDecay", "float", "how much the weights are pulled towards 0", 0, 1, default=0.0),
    Key(
        "schedulerName", "string", "how the learning rate falls; polynomial is linear here",
        choices=("linear", "cosine", "polynomial", "constant", "constant_with_warmup"), default="linear",
    ),
    Key("loraRank", "int", "rank of the adapter", 1, 512,
        offered=(1, 2, 4, 8, 16, 32, 64, 128, 256), default=16, methods=_LORA),
    Key("loraAlpha", "int", "scale of the adapter; twice the rank where it is not given", 1, 4096, default=32,
        methods=_LORA),
    Key("loraDropout", "float", "share of the adapter's inputs that are left out", 0, 0.9, default=0.0,
        methods=_LORA),
    Key("loraAllLinear", "string", "True: an adapter at every linear layer; False: at q_proj and v_proj",
        choices=("True", "False"), default="True", methods=_LORA),
    Key("loraTargetModules", "list", "the layers that get an adapter, instead of loraAllLinear",
        choices=LAYERS, methods=_LORA, shown=False),
    Key("virtualTokens", "int", "learned tokens before the prompt", 1, 256, default=16, methods=("P-tuning",)),
    Key("beta", "float", "how much leaving the starting model costs", 1e-4, 10, default=0.1, modes=("DPO",)),
    Key("tooLong", "string", "what becomes of a sample that is too long",
        choices=("refuse", "drop", "truncate", "split"), default="refuse"),
    Key("mostDropped", "int", "percent of the samples that may be dropped before the run is refused", 0, 100,
        default=50, shown=False),
    Key("checkpointSteps", "int", "steps between two checkpoints; by time where it is not given", 1, 1_000_000,
        shown=False),
    Key("checkpointsKept", "int", "the newest checkpoints that are kept", 1, 100, default=2, shown=False),
    Key("seed", "int", "of the order of samples, the held-out part and the first weights", 0, 2**31 - 1,
        default=7, shown=False),
)  # fmt: skip
BY_NAME: Final = {key.name: key for key in KEYS}
RATES: Final = {"ALL": 1e-4, "LoRA": 1e-3, "P-tuning": 3e-2}  # learning rates that learn, in SFT
DPO_SHARE: Final = 0.1  # of those in DPO, where steps that are too long forget how to speak


def meant(name: str) -> str | None:
    """The key that a name which is none may stand for, such as learningRate for learning_rate."""
    plain = {key.name.lower(): key.name for key in KEYS}
    near = difflib.get_close_matches(name.replace("_", "").lower()[:40], plain, 1, 0.8)
    return plain[near[0]] if near else None


def rate(mode: str, method: str) -> float:
    """The learning rate where nobody says one."""
    return RATES[method] * (DPO_SHARE if mode == "DPO" else 1)
