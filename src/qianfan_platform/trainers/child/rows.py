"""Rows become token ids, and labels that say which tokens are learned: the answers and their end tokens.

A conversation is rendered turn by turn with the model's own chat template, in the way it will be asked
later: what stands before an answer is the prompt, what the template adds for the answer is the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

IGNORED = -100  # the label of a token that is read but not learned
Message = dict[str, str]


class Unusable(Exception):
    """This sample cannot be trained on; the text says why."""


@dataclass(frozen=True)
class Encoded:
    """A sample as the model reads it. `labels[i]` is `ids[i]` where it is learned, else -100."""

    ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """Tokens that are learned."""
        return sum(label != IGNORED for label in self.labels)


def read(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, the row or an Unusable) of every line of a JSONL file that is not blank."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, Unusable(f"not JSON: {error}")


def messages_of(row: Any) -> list[Message]:
    """The messages of a conversation: [{"prompt", "response": [[str]], "system"?}, …].

    Of several responses the first, the best ranked, is learned. Raises Unusable."""
    if isinstance(row, Unusable):
        raise row
    if not isinstance(row, list) or not row:
        raise Unusable("not a conversation: expected a list of turns")
    messages: list[Message] = []
    for number, turn in enumerate(row, 1):
        if not isinstance(turn, dict) or not isinstance(turn.get("prompt"), str):
            raise Unusable(f"turn {number} has no prompt")
        if number == 1 and turn.get("system"):
            messages.append({"role": "system", "content": str(turn["system"])})
        messages.append({"role": "user", "content": turn["prompt"]})
        messages.append({"role": "assistant", "content": answer_of(turn, number)})
    return messages


def answer_of(turn: dict[str, Any], number: int) -> str:
    """The first response of a turn. Raises Unusable when there is none."""
    answer = turn.get("response")
    while isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, str) or not answer.strip():
        raise Unusable(f"turn {number} has no response")
    return answer


class Encoder:
    """Turns messages into ids and labels with a Hugging Face tokenizer that has a chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids)
        for number, token in tokenizer.added_tokens_decoder.items():
            if token.special:
                self.special.add(number)
        self.control = sorted(tokenizer.convert_ids_to_tokens(sorted(self.special)), key=len, reverse=True)

    def render(self, messages: list[Message], prompt: bool) -> str:
        """The template's text; with `prompt`, up to where the answer begins."""
        try:
            return str(
                self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            )
        except Exception as error:  # a template is a program of its own and raises what it likes
            raise Unusable(f"the model's chat template refuses it: {error}") from error

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, messages: list[Message]) -> list[int]:
        """Ids of a prompt, ready to be answered."""
        return self.tokens(self.render(messages, prompt=True))

    def encode(self, messages: list[Message]) -> Encoded:
        """Ids and labels of a conversation. Raises Unusable.

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

    def shortened(self, messages: list[Message], limit: int) -> tuple[Encoded, str]:
        """The conversation cut to `limit` tokens, and in words what was left out. Raises Unusable.

        The last answer and its end token always stay whole: first the oldest turns go, then the
        beginning of the last question."""
        system = [m for m in messages[:1] if m["role"] == "system"]
        turns = messages[len(system) :]
        for left_out in range(2, len(turns), 2):
            encoded = self.encode(system + turns[left_out:])
            if len(encoded.ids) <= limit:
                return encoded, f"turns 1–{left_out // 2} left out" if left_out > 2 else "turn 1 left out"
        question, answer = turns[-2:]
        low, high = 1, len(question["content"])  # characters cut off; fewer first
        best: Encoded | None = None
        while low <= high:
            cut = (low + high) // 2
            shorter = {**question, "content": question["content"][cut:]}
            encoded = self.encode([*system, shorter, answer])
            if len(encoded.ids) <= limit:
                best, high = encoded, cut - 1
            else:
                low = cut + 1
        if best is None:
            raise Unusable(f"its answer alone does not fit {limit} tokens")
        earlier = f"turns 1–{len(turns) // 2 - 1} and " if len(turns) > 2 else ""
        return best, f"{earlier}the first {low} characters of the last question left out"
