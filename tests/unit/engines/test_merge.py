"""Merging with numpy alone gives what PEFT and torch give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan_platform.engines.llamacpp import merge
from qianfan_platform.engines.llamacpp.tensors import PackFailed

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def adapter(tiny_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with a rank and an alpha of its own for one module each."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(4)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "o_proj", "up_proj"],
        rank_pattern={"o_proj": 2},
        alpha_pattern={"up_proj": 3},
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(loaded(tiny_hf), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def test_the_merged_folder_is_what_peft_merges(tiny_hf: Path, adapter: Path, tmp_path: Path) -> None:
    """Every tensor, read back by transformers, with the tokenizer and the template beside it."""
    from peft import PeftModel

    merge.write(tiny_hf, adapter, tmp_path / "merged")
    ours = loaded(tmp_path / "merged").state_dict()
    theirs = PeftModel.from_pretrained(loaded(tiny_hf), adapter).merge_and_unload().state_dict()
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
    assert (tmp_path / "merged" / "chat_template.jinja").read_text()
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["model_type"] == "llama"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100), min_size=1, max_size=30))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_bfloat16_is_rounded_as_torch_rounds_it(values: list[float]) -> None:
    """To the nearest, ties to even, for every number."""
    expected = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).view(torch.int16).numpy()
    assert merge.narrowed(np.array(values, np.float32), "BF16") == expected.tobytes()


def test_an_adapter_of_another_model_is_not_merged(tiny_hf: Path, adapter: Path, tmp_path: Path) -> None:
    """The shapes are compared, and the module is named."""
    from safetensors.numpy import load_file, save_file

    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    key = next(key for key in tensors if key.endswith("o_proj.lora_B.weight"))
    tensors[key] = tensors[key][:50].copy()
    save_file(tensors, wrong / "adapter_model.safetensors")
    with pytest.raises(PackFailed, match=r"does not fit the base: .*o_proj is 50 × 128"):
        merge.write(tiny_hf, wrong, tmp_path / "out")
