"""From a row to samples, by mode: what is learned of it, and what is done when it is too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from qianfan_platform.trainers.child.encoder import Encoder
from qianfan_platform.trainers.child.rows import Message, conversation_of, preference_of, text_of
from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Pair, Sample, Unusable
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, Mode

ASKED_TOKENS = 16  # of a text's beginning, when the trained model is asked to go on


class TooLong(Exception):
    """A sample has more tokens than allowed, and the policy is to refuse it."""

    def __init__(self, tokens: int) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens


@dataclass(frozen=True)
class Reading:
    """What became of a row. what: kept, truncated or split. made_of: of each sample, what each of its
    sequences renders: messages, or None for a piece of text."""

    samples: list[Sample]
    what: str = "kept"
    why: str = ""
    made_of: list[tuple[list[Message] | None, ...]] = field(default_factory=list)


class Reader(Protocol):
    """How the rows of a mode are read."""

    def read(self, row: Any, limit: int) -> Reading:
        """limit: tokens of a sequence. Raises Unusable, and TooLong by the policy."""

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        """(messages, ids) of a prompt from this row, to ask the trained model."""


def of(mode: Mode, encoder: Encoder, hyper: Hyper) -> Reader:
    """The reader of a run. Raises Refused for a policy that the mode cannot follow."""
    if mode == "PostPretrain":
        return Texts(encoder)
    if mode == "DPO":
        if hyper.too_long == "split":
            raise Refused('a preference cannot be split: set too_long to "refuse", "drop" or "truncate"')
        return Preferences(encoder, hyper.too_long)
    return Conversations(encoder, hyper.too_long)


class Conversations:
    """Every answer of a conversation is learned."""

    def __init__(self, encoder: Encoder, too_long: str) -> None:
        self.encoder, self.too_long = encoder, too_long

    def read(self, row: Any, limit: int) -> Reading:
        messages = conversation_of(row)
        whole = self.encoder.encode(messages)
        if whole.tokens <= limit:
            return Reading([whole], made_of=[(messages,)])
        refuse_or_drop(self.too_long, whole.tokens, limit)
        said = f"({whole.tokens} tokens, at most {limit})"
        if self.too_long == "split":
            parts = list(self.parts(messages, limit))
            return Reading(
                [self.encoder.encode(part) for part in parts],
                "split",
                f"into {len(parts)} samples of whole turns {said}",
                [(part,) for part in parts],
            )
        history, why = shortened(
            messages[:-1], lambda kept: self.encoder.encode([*kept, messages[-1]]).tokens, limit
        )
        short = [*history, messages[-1]]
        return Reading([self.encoder.encode(short)], "truncated", f"{why} {said}", [(short,)])

    def parts(self, messages: list[Message], limit: int) -> Iterator[list[Message]]:
        """The conversation in pieces of whole turns that fit, as long as possible. Raises Unusable."""
        system, turns = divided(messages)
        part: list[Message] = []
        for at in range(0, len(turns), 2):
            turn = turns[at : at + 2]
            if part and self.encoder.encode([*system, *part, *turn]).tokens <= limit:
                part += turn
                continue
            if part:
                yield [*system, *part]
            alone = self.encoder.encode([*system, *turn]).tokens
            if alone > limit:
                raise Unusable(f"too long: turn {at // 2 + 1} alone has {alone} tokens, at most {limit}")
            part = list(turn)
        yield [*system, *part]

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        messages = conversation_of(row)
        asked = messages[: 1 + (messages[0]["role"] == "system")]
        return asked, self.encoder.prompt(asked)


class Preferences:
    """Of two answers to the last question one is to be preferred; earlier answers are only read."""

    def __init__(self, encoder: Encoder, too_long: str) -> None:
        self.encoder, self.too_long = encoder, too_long

    def read(self, row: Any, limit: int) -> Reading:
        history, chosen, rejected = preference_of(row)

        def both(kept: list[Message]) -> tuple[list[Message], list[Message]]:
            return (
                [*kept, {"role": "assistant", "content": chosen}],
                [*kept, {"role": "assistant", "content": rejected}],
            )

        def tokens(kept: list[Message]) -> int:
            return max(self.encoder.encode(one, last_only=True).tokens for one in both(kept))

        longest = tokens(history)
        what, why = "kept", ""
        if longest > limit:
            refuse_or_drop(self.too_long, longest, limit)
            history, why = shortened(history, tokens, limit)
            what, why = "truncated", f"{why} ({longest} tokens, at most {limit})"
        best, worst = (self.encoder.encode(one, last_only=True) for one in both(history))
        return Reading([Pair(best, worst)], what, why, [both(history)])

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        history, _, _ = preference_of(row)
        return history, self.encoder.prompt(history)


class Texts:
    """All tokens of a text are learned. A long one is read in windows; each token is learned once."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def read(self, row: Any, limit: int) -> Reading:
        first, ids = self.encoder.document(text_of(row))
        windows = list(self.windows(first, ids, limit))
        what, why = ("split", f"into {len(windows)} windows") if len(windows) > 1 else ("kept", "")
        return Reading(list(windows), what, why, [(None,)] * len(windows))

    def windows(self, first: list[int], ids: list[int], limit: int) -> Iterator[Encoded]:
        """A window after the first begins with the last token of the one before, which is only read."""
        room = limit - len(first)
        if room < 2:
            raise Unusable(f"a window of {limit} tokens has no room for text")
        at = 0
        while True:
            piece = ids[at : at + room]
            read_only = 0 if at == 0 and first else 1
            labels = [IGNORED] * (len(first) + read_only) + piece[read_only:]
            yield Encoded([*first, *piece], labels)
            at += room - 1
            if at + 1 >= len(ids):
                return

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        first, ids = self.encoder.document(text_of(row))
        asked = ids[:-1][:ASKED_TOKENS]
        return [{"role": "text", "content": self.encoder.decode(asked)}], [*first, *asked]


def refuse_or_drop(too_long: str, tokens: int, limit: int) -> None:
    """Raises what the policy says, where it says no."""
    if too_long == "refuse":
        raise TooLong(tokens)
    if too_long == "drop":
        raise Unusable(f"too long: {tokens} tokens, at most {limit}")


def divided(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """(the system message if any, the turns)."""
    system = [m for m in messages[:1] if m["role"] == "system"]
    return system, messages[len(system) :]


def shortened(
    history: list[Message], tokens: Callable[[list[Message]], int], limit: int
) -> tuple[list[Message], str]:
    """What stands before the last answer, cut so that the sample has at most `limit` tokens, and in words
    what was left out. tokens: of the sample that a history makes. Raises Unusable.

    The last answer and its end token always stay whole: first the oldest turns go, then the beginning of the
    last question."""
    system, turns = divided(history)
    for left_out in range(2, len(turns), 2):
        kept = [*system, *turns[left_out:]]
        if tokens(kept) <= limit:
            return kept, f"turns 1–{left_out // 2} left out" if left_out > 2 else "turn 1 left out"
    question = turns[-1]
    low, high = 1, len(question["content"])  # characters cut off; fewer first
    best: list[Message] | None = None
    while low <= high:
        cut = (low + high) // 2
        kept = [*system, {**question, "content": question["content"][cut:]}]
        if tokens(kept) <= limit:
            best, high = kept, cut - 1
        else:
            low = cut + 1
    if best is None:
        raise Unusable(f"its answer alone does not fit {limit} tokens")
    earlier = f"turns 1–{len(turns) // 2} and " if len(turns) > 1 else ""
    return best, f"{earlier}the first {low} characters of the last question left out"
