"""A run in this process, and questions to what it left: the child process without the process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.protocol import Event, Hyper, TrainSpec


@dataclass(frozen=True)
class Learned:
    """What a run left, and what it told."""

    spec: TrainSpec
    events: list[Event]

    @property
    def result(self) -> Path:
        return self.spec.work / "result"

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.result / "training.json").read_bytes()))

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["kind"] == kind]

    def answer(self, question: str) -> str:
        """The greedy answer with its end token, by Transformers and PEFT alone."""
        model, tokenizer = loaded(self)
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        return said(model, tokenizer, text)

    def continued(self, text: str) -> str:
        """How the model goes on with a text."""
        model, tokenizer = loaded(self)
        return said(model, tokenizer, text)


class Unhurried:
    """Orders of a server that asks to stop when so many questions about it were asked in training, or never."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.begun = False

    def begin(self) -> None:
        self.begun = True

    def check(self) -> None:
        from qianfan_platform.trainers.child.wire import Stopped

        if self.left is not None and self.begun:
            self.left -= 1
            if self.left < 0:
                raise Stopped


def learn(
    base: Path,
    work: Path,
    rows: list[Any],
    *,
    stop_after: int | None = None,
    hyper: Any = None,
    **changes: Any,
) -> Learned:
    """Train on rows in float32, on one thread, with nothing held out. Raises what the run raises."""
    from qianfan_platform.trainers.child.loop import Run
    from qianfan_platform.trainers.child.wire import Events

    work.mkdir(parents=True, exist_ok=True)
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = TrainSpec(
        base, work / "rows.jsonl", work, hyper=Hyper(**hyper or {}), dtype="float32", held_out=0.0
    )
    spec = replace(spec, **changes)
    told = os.open(work / "events.jsonl", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    try:
        Run(spec, Events(told), Unhurried(stop_after)).do()  # type: ignore[arg-type]
    finally:
        os.close(told)
    return Learned(spec, [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()])


def asked(*pairs: tuple[str, str]) -> list[Any]:
    """Rows of one question and one answer."""
    return [[{"prompt": question, "response": [[answer]]}] for question, answer in pairs]


def loaded(learned: Learned) -> tuple[Any, Any]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if learned.record["kind"] == "model":
        model = AutoModelForCausalLM.from_pretrained(learned.result)
        return model, AutoTokenizer.from_pretrained(learned.result)
    base = AutoModelForCausalLM.from_pretrained(learned.spec.base)
    tokenizer = AutoTokenizer.from_pretrained(learned.spec.base)
    return PeftModel.from_pretrained(base, learned.result), tokenizer


def said(model: Any, tokenizer: Any, text: str) -> str:
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    ids = model.generate(**prompt, max_new_tokens=48, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids))
