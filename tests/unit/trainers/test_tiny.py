from __future__ import annotations

import hashlib
import json
from pathlib import Path

from qianfan_platform.catalogue import tiny


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_building_twice_gives_equal_bytes(tmp_path: Path) -> None:
    """The tiny model is the same on every machine and every day."""
    tiny.build(tmp_path / "one")
    tiny.build(tmp_path / "two")
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert set(hashes(tmp_path / "one")) >= {"config.json", "model.safetensors", "tokenizer.json"}


def test_it_has_at_most_a_million_parameters(tiny_model: Path) -> None:
    """Its size is that of a test, not of a model."""
    from safetensors.numpy import load_file

    weights = load_file(tiny_model / "model.safetensors")
    assert 100_000 < sum(weight.size for weight in weights.values()) <= 1_000_000
    assert len(json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"]) == 260


def test_any_text_comes_back_from_its_tokens(tokenizer) -> None:
    """A token is a byte, so there is no text that it cannot read."""
    text = "the thief, 你好\t“naïve”\n 😀\x00"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode()) - text.count("th")


def test_its_template_adds_no_system_text(tokenizer) -> None:
    """What is not said is not put in."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_transformers_reads_every_weight(tiny_model: Path, tokenizer) -> None:
    """The layout is the one Transformers expects, with nothing missing and nothing left over."""
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(tiny_model, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.generation_config.eos_token_id == [259, 257]
