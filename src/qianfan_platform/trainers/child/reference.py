"""python -m qianfan_platform.trainers.child.reference BASE DTYPE OUT.json

What a model says before it is trained, as the trainer computes it: the yardstick of how much the engine may
differ. Writes [{messages, prompt_ids, answer_ids, logprobs}], in the shape of a run's own proof; the last line
printed is {"finished": OUT} or {"failed": reason}."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from qianfan_platform.trainers.child import parity
from qianfan_platform.trainers.child.encoder import Encoder, tokenizer_of
from qianfan_platform.trainers.child.wire import Refused

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


def main(folder: str, dtype: str, out: str) -> int:
    try:
        write(Path(folder), dtype, Path(out))
    except Exception as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
        reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        print(json.dumps({"failed": reason}), flush=True)
        return 1
    print(json.dumps({"finished": out}), flush=True)
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
