"""Vocabularies in the manner of SentencePiece, from tokenizer.json: pieces with scores, and bytes for the rest.

Such a tokenizer writes spaces as `▁` and knows a piece for each byte. llama.cpp joins the two neighbours whose
piece has the highest score; tokenizer.json has a list of merges, the first goes first. So a piece scores by
the first merge that makes it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from qianfan_platform.engines.llamacpp.tensors import PackFailed

SPACE: Final = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # llama.cpp's token types
LONGEST: Final = 512  # characters of a piece; SentencePiece makes 16 of them, if it is not told otherwise
A_BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")


def is_of_pieces(tokenizer: dict[str, Any]) -> bool:
    """Whether a tokenizer.json is of this kind."""
    model = tokenizer["model"]
    return model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def scores(model: dict[str, Any], names: list[str]) -> list[float]:
    """The score of each token: the higher, the earlier it is joined. Raises PackFailed.

    llama.cpp joins any two pieces that make a third, so every such pair must be among the merges."""
    rank: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    for number, pair in enumerate(model["merges"]):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        rank.setdefault(left + right, number)
        pairs.add((left, right))
    if not rank:
        raise PackFailed("the tokenizer has no merges; llama.cpp needs at least one")
    vocabulary = model["vocab"]
    for name in rank:
        if len(name) > LONGEST:
            raise PackFailed(f"the tokenizer has a piece of {len(name)} characters")
        for at in range(1, len(name)):
            pair = (name[:at], name[at:])
            if pair not in pairs and pair[0] in vocabulary and pair[1] in vocabulary:
                raise PackFailed(
                    f"the tokenizer never joins {pair[0]!r} and {pair[1]!r}, though it knows {name!r}: llama.cpp would; "
                    "import a GGUF file of the model"
                )
    last = float(len(model["merges"]))
    return [-float(rank.get(name, last)) for name in names]


def kind(name: str, unknown: str | None) -> int:
    """The type of a token of the vocabulary that was not added to it."""
    if name == unknown:
        return UNKNOWN
    return BYTE if A_BYTE.fullmatch(name) else NORMAL


def starts_with_space(tokenizer: dict[str, Any]) -> bool:
    """Whether each piece of text between control tokens begins with a space that nobody wrote.

    Raises PackFailed for a way of writing spaces that has no name in llama.cpp."""
    normalizer, cut = tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    if cut.get("type") == "Metaspace" and not steps:
        # "first": only before a text that begins without a control token. A rendered conversation begins with one.
        if cut.get("replacement", SPACE) == SPACE and cut.get("split") is False:
            return bool(cut.get("prepend_scheme", "always") == "always")
    elif not cut or _changes_nothing(cut):
        written = [(step.get("type"), step.get("prepend") or step.get("content")) for step in steps]
        replaces = bool(steps) and steps[-1].get("pattern") == {"String": " "}
        if replaces and written == [("Prepend", SPACE), ("Replace", SPACE)]:
            return True
        if replaces and written == [("Replace", SPACE)]:
            return False
    raise PackFailed(
        "the tokenizer writes spaces in a way that has no name in llama.cpp "
        f"({', '.join(str(step.get('type')) for step in [*steps, cut] if step)}); import a GGUF file of the model"
    )


def _changes_nothing(cut: dict[str, Any]) -> bool:
    """A cut at spaces, of which none is left when it is made."""
    return cut.get("type") == "Split" and cut.get("pattern") == {"String": " "}
