"""The result: trained weights in a folder, and the model's own answers for the proof that serving gives
the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qianfan_platform.trainers.child.checkpoint import write_file, write_folder, write_tensors
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.rows import Encoder, Message
from qianfan_platform.trainers.protocol import TrainSpec

PROMPTS = ("Hello!", "Who are you?", "What is 2 + 3?", "Name a colour.")
ANSWER_TOKENS = 16
RECORD = "training.json"


def save(trainee: Trainee, record: dict[str, Any], parity: list[dict[str, Any]]) -> Path:
    """Write work/result: an adapter or a model, parity.json, and training.json, the record of the run."""
    spec = trainee.spec
    place = spec.work / "result"

    def write(into: Path) -> None:
        if spec.method == "LoRA":
            write_adapter(trainee, into)
        else:
            write_model(trainee, into)
        write_file(into / "parity.json", json.dumps(parity, ensure_ascii=False, indent=1).encode())
        write_file(into / RECORD, json.dumps(record, ensure_ascii=False, indent=1, default=str).encode())

    write_folder(place, write)
    return place


def write_adapter(trainee: Trainee, into: Path) -> None:
    """adapter_model.safetensors in float32 and adapter_config.json, as PEFT reads them."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(trainee.model)
    write_tensors(
        into / "adapter_model.safetensors", {name: tensor.float() for name, tensor in state.items()}
    )
    config = trainee.model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = trainee.spec.base.name
    config["inference_mode"] = True
    write_file(into / "adapter_config.json", json.dumps(config, indent=1, default=listed).encode())


def listed(value: Any) -> Any:
    """Sets as sorted lists; enumerations and the like as text."""
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def write_model(trainee: Trainee, into: Path) -> None:
    """The whole model, with the base's tokenizer and configuration files."""
    spec = trainee.spec
    seen: set[int] = set()
    state = {}
    for name, tensor in trainee.causal.state_dict().items():
        if tensor.data_ptr() not in seen:  # tied weights once
            seen.add(tensor.data_ptr())
            state[name] = tensor
    write_tensors(into / "model.safetensors", state)
    for file in sorted(spec.base.iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt") and not file.name.startswith(
            ("model.safetensors", "manifest", "config.json")
        ):
            shutil.copyfile(file, into / file.name)
    config = json.loads((spec.base / "config.json").read_bytes())
    config["dtype"] = spec.dtype
    config.pop("torch_dtype", None)
    write_file(into / "config.json", json.dumps(config, indent=2).encode())


@torch.no_grad()
def parity(
    trainee: Trainee, encoder: Encoder, questions: list[list[Message]], check: Callable[[], None]
) -> list[dict[str, Any]]:
    """The trained model's greedy answers: [{messages, prompt_ids, answer_ids, logprobs}].

    logprobs are of each answer token, natural logarithm, teacher-forced. check() may raise."""
    trainee.model.eval()
    stops = end_tokens(trainee)
    asked = [[{"role": "user", "content": text}] for text in PROMPTS] + questions
    found = []
    for messages in asked:
        check()
        prompt = encoder.prompt(messages)
        answer, logprobs = greedy(trainee, prompt, stops)
        found.append({"messages": messages, "prompt_ids": prompt, "answer_ids": answer, "logprobs": logprobs})
    return found


def end_tokens(trainee: Trainee) -> set[int]:
    """Tokens that end an answer."""
    stops: set[int] = set()
    for holder in (trainee.causal.config, trainee.causal.generation_config):
        end = getattr(holder, "eos_token_id", None)
        stops |= set(end if isinstance(end, list) else [] if end is None else [end])
    return stops


def greedy(trainee: Trainee, prompt: list[int], stops: set[int]) -> tuple[list[int], list[float]]:
    """(answer ids with the end token if it came, their log-probabilities)."""
    device = trainee.spec.device
    ids, cache = torch.tensor([prompt], device=device), None
    answer: list[int] = []
    logprobs: list[float] = []
    while len(answer) < ANSWER_TOKENS and (not answer or answer[-1] not in stops):
        out = trainee.causal(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        scores = torch.log_softmax(out.logits[0, -1].float(), dim=-1)
        token = int(scores.argmax())
        answer.append(token)
        logprobs.append(float(scores[token]))
        ids = torch.tensor([[token]], device=device)
    return answer, logprobs


def finished(spec: TrainSpec) -> dict[str, Any] | None:
    """The record of a run that had already ended when its process died, else None."""
    record = spec.work / "result" / RECORD
    return json.loads(record.read_bytes()) if record.is_file() else None
