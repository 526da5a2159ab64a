"""Which files of a folder are sent when a model is imported; what is missing is named before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from qianfan.cli.model_files import chosen


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(b"{}")
    return tmp_path


def test_the_parts_of_an_index_are_sent_and_not_the_copy_beside_them(tmp_path: Path) -> None:
    """Repositories hold the same weights twice, under names of their own; links of a cache are followed."""
    parts = ["model-1.safetensors", "model-2.safetensors"]
    settings = ["config.json", "tokenizer.json", "model.safetensors.index.json"]
    folder = folder_of(tmp_path, *parts, *settings, "consolidated.safetensors", "notes.md", ".hidden.json")
    index = {"weight_map": {"a": parts[0], "b": parts[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "generation_config.json").symlink_to(folder / "config.json")
    assert {file.name for file in chosen(folder)} == {*parts, *settings, "generation_config.json"}
    (folder / parts[1]).unlink()
    with pytest.raises(typer.BadParameter, match=r"names model-2.safetensors, which is not in"):
        chosen(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(typer.BadParameter, match="no index of weights"):
        chosen(folder)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["config.json", "pytorch_model.bin"], "only pytorch_model.bin, which may hold code"),
        (["m.gguf"], "but GGUF: give the file, such as .*m.gguf"),
        (["model.safetensors", "config.json", "tokenizer.model"], "no tokenizer.json; AutoTokenizer"),
        ([], "holds no safetensors"),
    ],
)
def test_a_folder_that_cannot_be_imported_says_what_to_do(tmp_path: Path, names: list[str], why: str) -> None:
    """Pickles, GGUF beside nothing else, a tokenizer in another form."""
    with pytest.raises(typer.BadParameter, match=why):
        chosen(folder_of(tmp_path, *names))


def test_a_name_of_a_hub_is_told_from_a_path_that_is_not_there() -> None:
    """Both look alike; the error says how a hub is named."""
    with pytest.raises(typer.BadParameter, match=r"of a hub write hf:Qwen/Qwen2\.5-0\.5B-Instruct"):
        chosen(Path("Qwen/Qwen2.5-0.5B-Instruct"))
