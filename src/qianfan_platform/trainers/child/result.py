"""The result: trained weights in a folder, with the record of the run and the proof of its answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import starting
from qianfan_platform.trainers.child.checkpoint import write_file, write_folder, write_tensors
from qianfan_platform.trainers.child.finishing import Final
from qianfan_platform.trainers.protocol import TrainSpec


def save(final: Final, record: dict[str, Any], parity: list[dict[str, Any]], place: Path) -> None:
    """Write the folder `place`: an adapter or a model, parity.json, and training.json, the record of the run."""

    def write(into: Path) -> None:
        if final.kind == "adapter":
            write_adapter(final, into)
        else:
            write_model(final, into)
        write_file(into / "parity.json", json.dumps(parity, ensure_ascii=False, indent=1).encode())
        text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
        write_file(into / starting.RECORD, text.encode())

    write_folder(place, write)


def write_adapter(final: Final, into: Path) -> None:
    """adapter_model.safetensors in float32 and adapter_config.json, as PEFT reads them."""
    from peft import get_peft_model_state_dict

    model = final.trainee.model
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    write_tensors(
        into / "adapter_model.safetensors", {name: tensor.float() for name, tensor in state.items()}
    )
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = final.spec.base.name
    config["inference_mode"] = True
    write_file(into / starting.ADAPTER, json.dumps(config, indent=1, default=listed).encode())


def listed(value: Any) -> Any:
    """Sets as sorted lists; enumerations and the like as text."""
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def write_model(final: Final, into: Path) -> None:
    """The whole model, with the tokenizer and the configuration of what it was trained from."""
    spec, source = final.spec, starting.foundation(final.spec)
    seen: set[int] = set()
    state = {}
    for name, tensor in final.causal.state_dict().items():
        if tensor.data_ptr() not in seen:  # tied weights once
            seen.add(tensor.data_ptr())
            state[name] = tensor
    write_tensors(into / "model.safetensors", state)
    left_out = ("model.safetensors", "manifest", "config.json", "parity", starting.RECORD)
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt") and not file.name.startswith(left_out):
            shutil.copyfile(file, into / file.name)
    config = starting.config_of(spec)
    config["dtype"] = spec.dtype
    config.pop("torch_dtype", None)
    if spec.method == "P-tuning":
        write_vocabulary(final, into)
        for name in ("tie_word_embeddings", "vocab_size", "virtual_tokens"):
            config[name] = getattr(final.causal.config, name)
    write_json(into / "config.json", config)
    generation = json_in(into / "generation_config.json")
    ends = final.causal.generation_config.eos_token_id
    if ends not in (
        None,
        generation.get("eos_token_id"),
        config.get("eos_token_id"),
    ):  # it was taught another
        write_json(into / "generation_config.json", {**generation, "eos_token_id": ends})


def write_vocabulary(final: Final, into: Path) -> None:
    """The tokenizer with its virtual tokens, which may never be said. Replaces the files of the foundation."""
    tokenizer, ids = final.encoder.tokenizer, final.encoder.prefix
    tokenizer.backend_tokenizer.save(str(into / "tokenizer.json"))
    write_file(into / "chat_template.jinja", tokenizer.chat_template.encode())
    settings = json_in(into / "tokenizer_config.json")
    settings.pop("chat_template", None)
    settings["add_bos_token"] = False  # the chat template writes what it wants, after the virtual tokens
    if "added_tokens_decoder" in settings:
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        for number in ids:
            content = tokenizer.convert_ids_to_tokens(number)
            settings["added_tokens_decoder"][str(number)] = {"content": content, **flags}
    write_json(into / "tokenizer_config.json", settings)
    generation = json_in(into / "generation_config.json")
    silent = sorted({*(generation.get("suppress_tokens") or ()), *ids})
    write_json(into / "generation_config.json", {**generation, "suppress_tokens": silent})


def json_in(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def write_json(file: Path, plain: dict[str, Any]) -> None:
    write_file(file, json.dumps(plain, ensure_ascii=False, indent=2).encode())


def finished(spec: TrainSpec) -> dict[str, Any] | None:
    """The record of a run that had already ended when its process died, else None."""
    record = spec.work / "result" / starting.RECORD
    return json.loads(record.read_bytes()) if record.is_file() else None
