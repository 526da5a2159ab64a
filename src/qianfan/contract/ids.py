"""Identifiers: every thing has an int id and a string id, and either is taken wherever an id is."""

from __future__ import annotations

import secrets
from typing import Final

ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"

# prefix → length of the random part (console-finetune §0.1; `file`, `job` of the platform itself are ours)
LENGTHS: Final[dict[str, int]] = {
    "job": 12,  # a fine-tuning container: V1 task, V2 job
    "task": 12,  # one fine-tuning run: V1 job, V2 task
    "am": 12,  # model: V1 model, V2 model set
    "amv": 12,  # model version: V1 version, V2 model
    "ame": 12,  # evaluation
    "amemt": 12,  # export of an evaluation
    "amg": 12,  # gate of a model, of the platform itself
    "amvd": 12,  # verdict on a version, of the platform itself
    "bi": 12,  # batch inference
    "dg": 16,  # dataset group
    "ds": 16,  # dataset version
    "pt": 16,  # prompt template
    "pl": 16,  # label of prompt templates
    "svco": 12,  # service
    "kb": 12,  # knowledge base, of the platform itself
    "doc": 16,  # document in a knowledge base
    "plg": 12,  # plugin application
    "file": 20,  # blob of the platform
}


def new_id(prefix: str) -> str:
    """A fresh string id such as `ds-4h2kz81mvq0pt6ce`. Random part: 12–20 of a–z0–9."""
    return f"{prefix}-{random_word(LENGTHS[prefix])}"


def random_word(length: int) -> str:
    """`length` random characters of a–z0–9."""
    word = ""
    while len(word) < length:  # one question to the system's randomness instead of one for each character
        word += "".join(ALPHABET[byte % 36] for byte in secrets.token_bytes(2 * length) if byte < 252)
    return word[:length]


def as_number(value: object) -> int | None:
    """The int id that `value` spells (`7`, `"7"`), or None when it is a string id or no id at all."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None
