"""The name of a control token in somebody's text is text: it ends no turn and begins none.

llama.cpp renders a conversation to one text, and takes every such name in it for the token. So a conversation that
holds one is rendered with a mark inside the name. What the template wrote between the texts then becomes tokens by
its names, and all the rest is read as text, without the marks: the model sees exactly what was written."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from qianfan_platform.engines.llamacpp import header
from qianfan_platform.engines.llamacpp.http import Upstream
from qianfan_platform.engines.llamacpp.pieces import CONTROL, UNKNOWN, USER_DEFINED
from qianfan_platform.engines.protocol import Message

NAMES, KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
# llama.cpp makes some control tokens that the file calls otherwise.
LIKE_ONE: Final = re.compile(r"_?<.*>|\[.*\]", re.DOTALL)
LONGEST: Final = 128  # letters of a name
MARKS: Final = [chr(0xFDD0 + number) for number in range(32)]  # code points that stand for no character


def candidates(gguf: Path) -> dict[str, int]:
    """Names and ids of all tokens of a GGUF file that llama.cpp may take for control tokens. Raises NotGguf."""
    fields = header.read(gguf, lists=(NAMES, KINDS)).fields
    names = fields.get(NAMES, [])
    kinds = fields.get(KINDS, [0] * len(names))
    return {
        name: number
        for number, (name, kind) in enumerate(zip(names, kinds, strict=False))
        # One letter has no inside for a mark.
        if (kind in (CONTROL, UNKNOWN, USER_DEFINED) or LIKE_ONE.fullmatch(name)) and 1 < len(name) <= LONGEST
    }


class Control:
    """The control tokens of a model: ids by name."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = ids
        self._name = re.compile(f"({any_of(ids)})" if ids else r"(?!)")

    @classmethod
    async def of(cls, names: Mapping[str, int], http: Upstream) -> Control:
        """Those of some names that the server reads as tokens of their own only where it is told to."""
        if not names:
            return cls({})
        text = "\n".join(names)
        read = set((await http.post("tokenize", {"content": text, "parse_special": True}))["tokens"])
        read -= set(await as_text(text, http))
        return cls({name: number for name, number in names.items() if number in read})

    def named(self, messages: Sequence[Message]) -> bool:
        """True where a text holds the name of one. Messages hold texts only."""
        return any(self._name.search(message["content"]) for message in messages)

    async def prompt(self, messages: Sequence[Message], http: Upstream) -> list[int]:
        """Token ids of what is asked with a conversation, up to where the answer begins."""
        mark = ""
        if self.named(messages):
            messages, mark = self.marked(messages)
        text = (await http.post("apply-template", {"messages": [dict(m) for m in messages]}))["prompt"]
        content = self.pieces(text, mark) if mark else text
        asked = {"content": content, "add_special": True, "parse_special": not mark}
        return list((await http.post("tokenize", asked))["tokens"])

    def marked(self, messages: Sequence[Message]) -> tuple[list[Message], str]:
        """(the messages with a mark after the first letter of each name, the mark, which no text holds)."""
        mark = ""
        while any(mark in message["content"] for message in messages):
            mark = "".join(random.choices(MARKS, k=4))  # more than any text can hold all of

        def apart(found: re.Match[str]) -> str:
            return found[0][0] + mark + found[0][1:]

        made: list[Message] = []
        for message in messages:
            text = message["content"]
            while self._name.search(text):  # two that share letters need another round
                text = self._name.sub(apart, text)
            made.append({**message, "content": text})
        return made, mark

    def pieces(self, text: str, mark: str) -> list[str | int]:
        """A rendered text as the server takes it: texts, which are to be read as such, and ids of control tokens.

        The first is a text, before which the server puts what it puts before a prompt."""
        found = self._name.split(text)  # every second one is a name
        return [
            self.ids[piece] if at % 2 else piece.replace(mark, "")
            for at, piece in enumerate(found)
            if piece or not at
        ]


async def as_text(text: str, http: Upstream) -> list[int]:
    """Token ids of a text; names of control tokens are text."""
    return list((await http.post("tokenize", {"content": text, "parse_special": False}))["tokens"])


def any_of(names: Collection[str]) -> str:
    """A regular expression for any of some texts, the longest first.

    Common beginnings stand in it once: some models have thousands of control tokens."""
    rests: dict[str, list[str]] = {}
    for name in filter(None, names):
        rests.setdefault(name[0], []).append(name[1:])
    found = [re.escape(letter) + any_of(rest) for letter, rest in rests.items()]
    if "" in names:
        return f"(?:{'|'.join(found)})?" if found else ""
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"
