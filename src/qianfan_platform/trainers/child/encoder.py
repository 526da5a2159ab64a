"""Text becomes token ids with the model's own tokenizer and chat template, in the way it will be asked.

A conversation is rendered turn by turn: what stands before an answer is the prompt, what the template adds
for the answer is the answer. The name of a control token in somebody's text is text. Nothing here needs torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qianfan_platform.engines.chat_template import template
from qianfan_platform.trainers.child.rows import Message
from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Unusable
from qianfan_platform.trainers.child.wire import Refused

TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")  # of models whose answers end in another token
MARKS = [chr(0xFDD0 + number) for number in range(32)]  # code points that stand for no character
LEAD = "\n"  # nothing that follows is merged with it where a tokenizer writes spaces of its own


class Rewritten(Unusable):
    """The chat template writes a turn otherwise once another follows, as those do that leave out what was
    thought before. One sequence cannot hold all its answers as the model will be asked for them."""


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer, with its chat template. Raises Refused when there is none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise Refused(
            f"the model in {folder.name} has no chat template, so conversations cannot be rendered: put one beside "
            "its weights as chat_template.jinja; those of the usual families are in qianfan_platform/catalogue/templates"
        )
    return tokenizer


class Encoder:
    """Turns messages and texts into ids and labels with a Hugging Face tokenizer that has a chat template.

    prefix: ids that stand before every text, as they stand before every conversation by its template."""

    def __init__(self, tokenizer: Any, prefix: tuple[int, ...] = ()) -> None:
        self.tokenizer, self.prefix = tokenizer, list(prefix)
        self.special = set(tokenizer.all_special_ids)
        for number, token in tokenizer.added_tokens_decoder.items():
            if token.special:
                self.special.add(number)
        names = sorted(
            filter(None, tokenizer.convert_ids_to_tokens(sorted(self.special))), key=len, reverse=True
        )
        self.control = re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else r"(?!)")
        self.ends_of_text = [name for name in TEXT_ENDS if name in names]
        lead = self.plain(LEAD)
        self.puts_spaces = self.plain("a") != self.plain(LEAD + "a")[len(lead) :]  # before every text

    def render(self, messages: list[Message], prompt: bool) -> str:
        """The template's text; with `prompt`, up to where the answer begins."""
        try:
            known = template(self.tokenizer.get_chat_template())
            return known.render(messages, add_generation_prompt=prompt, **self.tokenizer.special_tokens_map)
        except Exception as error:  # a template is a program of its own and raises what it likes
            raise Unusable(f"the model's chat template refuses it: {error}") from error

    def plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokens(self, text: str, mark: str = "", after: list[int] | None = None) -> list[int]:
        """Ids of a text. mark: where it stands the text is cut, so that no control token is made there.

        after: ids that stand before. In the middle of a text no tokenizer may put a space of its own."""
        ids: list[int] = []
        for piece in text.split(mark) if mark else [text]:
            before = (ids or after or [])[-1:]
            if self.puts_spaces and before and before[0] not in self.special:
                ids += self.plain(LEAD + piece)[len(self.plain(LEAD)) :]
            else:
                ids += self.plain(piece)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids, control tokens by their names."""
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def prompt(self, messages: list[Message]) -> list[int]:
        """Ids of a prompt, ready to be answered."""
        escaped, mark = self.escaped(messages)
        return self.tokens(self.render(escaped, prompt=True), mark)

    # -- names of control tokens in a text ----------------------------------------------------------------

    def names_control(self, messages: list[Message]) -> bool:
        """True when a text holds the name of a control token."""
        return any(self.control.search(message["content"]) for message in messages)

    def escaped(self, messages: list[Message]) -> tuple[list[Message], str]:
        """(the messages with a mark inside each name of a control token, the mark; "" where there are none).

        A chat template takes the mark for a letter; `tokens` makes none of it. Raises Unusable."""
        if not self.names_control(messages):
            return messages, ""
        mark = next((one for one in MARKS if not any(one in m["content"] for m in messages)), None)
        if mark is None:
            raise Unusable("its text names a control token, and holds all the code points that could cut it")
        return [{**message, "content": self.cut(message["content"], mark)} for message in messages], mark

    def cut(self, text: str, mark: str) -> str:
        """`text` with the mark after the first letter of each name, until none is left. Raises Unusable."""

        def apart(found: re.Match[str]) -> str:
            if len(found[0]) == 1:
                raise Unusable(
                    f"its text holds the control token {found[0]}, which cannot be written as text"
                )
            return found[0][0] + mark + found[0][1:]

        while self.control.search(text):  # two that share letters need another round
            text = self.control.sub(apart, text)
        return text

    # -- conversations ------------------------------------------------------------------------------------

    def encode(self, messages: list[Message], *, last_only: bool = False) -> Encoded:
        """Ids and labels of a conversation; all its answers are learned, or the last one.

        Each piece is cut at the border between prompt and answer, as when the model is asked; what the template
        writes after the last answer's end token is left out. Raises Unusable; Rewritten where `last_only` would help."""
        messages, mark = self.escaped(messages)
        ids: list[int] = []
        labels: list[int] = []
        done = ""  # the text that is encoded already
        learned = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        for at in learned[-1:] if last_only else learned:
            before = self.render(messages[:at], prompt=True)
            if not before.startswith(done):
                raise Rewritten("the model's chat template writes earlier turns anew")
            prompt = self.tokens(before[len(done) :], mark, ids)
            said, end = self.answer(self.added(messages[: at + 1], before), messages[at]["content"])
            answer = self.tokens(said + end, mark, [*ids, *prompt])
            if not end:
                answer.append(self.stop())
                if at != learned[-1]:
                    raise Rewritten("the model's chat template writes no end token after earlier answers")
            ids += [*prompt, *answer]
            labels += [IGNORED] * len(prompt) + answer
            done = before + said + end
        return Encoded(ids, labels)

    def added(self, messages: list[Message], before: str) -> str:
        """What the template writes for the last answer. before: what it asks with. Raises Unusable."""
        after = self.render(messages, prompt=False)
        if after.startswith(before):
            return after[len(before) :]
        # Some write the system text at the question that is being asked, and nowhere once it is answered.
        bare = [message for message in messages if message["role"] != "system"]
        asked, after = self.render(bare[:-1], prompt=True), self.render(bare, prompt=False)
        if len(bare) == len(messages) or not after.startswith(asked):
            raise Unusable(
                f"the model's chat template asks with {before[-40:]!r} at the end and does not write that before "
                "an answer, so what it is asked cannot be learned: put one that does beside its weights"
            )
        return after[len(asked) :]

    def answer(self, text: str, content: str) -> tuple[str, str]:
        """(the answer, its end token or "" where the template writes none) of a rendered answer.

        The end is the first control token after the answer's own words. Raises Unusable."""
        pieces = self.control.split(text)  # every second one is a control token
        words = squeezed(content)
        place = max((at for at in range(0, len(pieces), 2) if words in squeezed(pieces[at])), default=None)
        if place is None:
            raise Unusable(
                "the model's chat template leaves out a part of the answer, or changes it, so it cannot be learned"
            )
        if place + 1 < len(pieces):
            return "".join(pieces[: place + 1]), pieces[place + 1]
        return content if text.startswith(content) else text.rstrip(), ""

    def stop(self) -> int:
        """The token that ends an answer where the template writes none. Raises Unusable."""
        end = self.tokenizer.eos_token_id
        if end is None:
            raise Unusable("the model's tokenizer has no end token, so it could never learn to stop")
        return int(end)

    # -- running text -------------------------------------------------------------------------------------

    def document(self, text: str) -> tuple[list[int], list[int]]:
        """(what stands before a text, the text's tokens and its end token). Raises Unusable."""
        (message,), mark = self.escaped([{"role": "document", "content": text}])
        start = self.tokenizer.bos_token_id
        plain = self.tokenizer("a")["input_ids"]
        first = [start] if start is not None and plain[:1] == [start] else []
        return [*self.prefix, *first], [*self.tokens(message["content"], mark), self.text_end()]

    def text_end(self) -> int:
        """The token after which a text is over. Raises Unusable."""
        ends = self.ends_of_text
        return int(self.tokenizer.convert_tokens_to_ids(ends[0])) if ends else self.stop()


def squeezed(text: str) -> str:
    """`text` without its white space, which templates trim and add as they like."""
    return "".join(text.split())
