"""Chat templates of the usual families, for weights that come without one. One file each, `<family>.jinja`."""

from __future__ import annotations

from importlib import resources
from typing import Final

CONTROL: Final = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "ernie": ("<|begin_of_sentence|>", "<|end_of_sentence|>"),
    "gemma": ("<bos>", "<start_of_turn>", "<end_of_turn>"),
    "llama2": ("<s>", "</s>"),
    "llama3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "mistral": ("<s>", "[INST]", "[/INST]", "</s>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "zephyr": ("</s>",),
}
"""By family, the tokens that its vocabulary must hold; the last one ends an answer."""


def text(family: str) -> str:
    """The template of a family of `CONTROL`. Raises KeyError."""
    if family not in CONTROL:
        raise KeyError(family)
    return resources.files(__name__).joinpath(f"{family}.jinja").read_text(encoding="utf-8")
