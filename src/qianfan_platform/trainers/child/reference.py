"""python -m qianfan_platform.trainers.child.reference BASE DTYPE OUT.json

What a model says before it is trained, as the trainer computes it: the yardstick of how much the engine may
differ. Writes [{messages, prompt_ids, answer_ids, logprobs}], in the shape of a run's own proof; the last line
printed is {"finished": OUT} or {"failed": reason}."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from qianfan_platform.engines.orphans import die_with_parent
from qianfan_platform.trainers.child import parity, task
from qianfan_platform.trainers.child.encoder import Encoder, tokenizer_of

MORE = ("Tell me about rivers.", "Write one line of code.", "Why is the sky blue?", "List three fruits.")


class Untrained:
    """A model as it is, in the place of a finished run's."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.bfloat16 if dtype == "bfloat16" else torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        self.causal = model.eval()
        self.spec = self
        self.device = "cpu"


def write(folder: Path, dtype: str, out: Path) -> None:
    """The answers of the model in `folder`. Raises Refused."""
    encoder = Encoder(tokenizer_of(folder))
    asked = [[{"role": "user", "content": text}] for text in MORE]
    questions = [(messages, encoder.prompt(messages)) for messages in asked]
    model: Any = Untrained(folder, dtype)
    cases = parity.of(model, encoder, questions, check=lambda: None)
    out.write_text(json.dumps(cases, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent()
    given, precision, into = sys.argv[1:]
    task.run(lambda: write(Path(given), precision, Path(into)), into)
