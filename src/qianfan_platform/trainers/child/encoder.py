"""Text becomes token ids with the model's own tokenizer and chat template, in the way it will be asked.

A conversation is rendered turn by turn: what stands before an answer is the prompt, what the template adds
for the answer is the answer. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qianfan_platform.engines.chat_template import template
from qianfan_platform.trainers.child.rows import Message
from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Unusable
from qianfan_platform.trainers.child.wire import Refused

TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")  # of models whose answers end in another token


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
        self.control = sorted(tokenizer.convert_ids_to_tokens(sorted(self.special)), key=len, reverse=True)

    def render(self, messages: list[Message], prompt: bool) -> str:
        """The template's text; with `prompt`, up to where the answer begins."""
        try:
            known = template(self.tokenizer.get_chat_template())
            return known.render(messages, add_generation_prompt=prompt, **self.tokenizer.special_tokens_map)
        except Exception as error:  # a template is a program of its own and raises what it likes
            raise Unusable(f"the model's chat template refuses it: {error}") from error

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: list[int]) -> str:
        """The text of ids, control tokens by their names."""
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def prompt(self, messages: list[Message]) -> list[int]:
        """Ids of a prompt, ready to be answered."""
        return self.tokens(self.render(messages, prompt=True))

    # -- conversations ------------------------------------------------------------------------------------

    def encode(self, messages: list[Message], *, last_only: bool = False) -> Encoded:
        """Ids and labels of a conversation; all its answers are learned, or the last one. Raises Unusable.

        Each piece is cut at the border between prompt and answer, as when the model is asked; after the
        last answer's end token nothing is kept."""
        self.refuse_control_tokens(messages)
        ids: list[int] = []
        labels: list[int] = []
        done = ""  # the text that is encoded already
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:at], prompt=True)
            after = self.render(messages[: at + 1], prompt=False)
            if not before.startswith(done) or not after.startswith(before):
                raise Unusable(
                    "the model's chat template rewrites earlier turns, so that their answers cannot be told "
                    "apart; split the conversation into samples of one turn"
                )
            prompt = self.tokens(before[len(done) :])
            answer, rest = self.answer(after[len(before) :], message["content"])
            if last_only:
                labels = [IGNORED] * len(labels)
            ids += [*prompt, *answer, *rest]
            labels += [IGNORED] * len(prompt) + answer + [IGNORED] * len(rest)
            done = after
        keep = max(at for at, label in enumerate(labels) if label != IGNORED) + 1
        return Encoded(ids[:keep], labels[:keep])

    def answer(self, text: str, content: str) -> tuple[list[int], list[int]]:
        """(answer and end token, what the template writes after them) of a rendered answer."""
        ids = self.tokens(text)
        for at, token in enumerate(ids):
            if token in self.special:
                return ids[: at + 1], ids[at + 1 :]
        end = self.tokenizer.eos_token_id
        if end is None:
            raise Unusable("the model's tokenizer has no end token, so it could never learn to stop")
        said = content if text.startswith(content) else text.rstrip()
        return [*self.tokens(said), end], self.tokens(text[len(said) :])

    def refuse_control_tokens(self, messages: list[Message]) -> None:
        """Text that holds a control token would end a turn in the middle."""
        for message in messages:
            for token in self.control:
                if token in message["content"]:
                    raise Unusable(f"its {message['role']} text holds the control token {token}")

    # -- running text -------------------------------------------------------------------------------------

    def document(self, text: str) -> tuple[list[int], list[int]]:
        """(what stands before a text, the text's tokens and its end token). Raises Unusable."""
        self.refuse_control_tokens([{"role": "document", "content": text}])
        start = self.tokenizer.bos_token_id
        plain = self.tokenizer("a")["input_ids"]
        first = [start] if start is not None and plain[:1] == [start] else []
        return [*self.prefix, *first], [*self.tokens(text), self.text_end()]

    def text_end(self) -> int:
        """The token after which a text is over."""
        ends = [name for name in TEXT_ENDS if name in self.control]
        end = self.tokenizer.convert_tokens_to_ids(ends[0]) if ends else self.tokenizer.eos_token_id
        if end is None:
            raise Unusable("the model's tokenizer has no end token, so it could never learn to stop")
        return int(end)
