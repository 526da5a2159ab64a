"""From a row to samples, by mode: what is learned of it, and what is done when it is too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from qianfan_platform.trainers.child.encoder import Encoder, Rewritten
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

    encoder: Encoder

    def read(self, row: Any, limit: int) -> Reading:
        """limit: tokens of a sequence. Raises Unusable, and TooLong by the policy."""

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        """(messages, ids) of a prompt from this row, to ask the model. Raises Unusable for one that names a
        control token: what engines make of that is theirs."""

    def wanted(self, row: Any) -> str:
        """The answer that this row has to its `question`."""


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
    """Every answer of a conversation is learned, each after what stood before it when the model is asked.

    One sequence holds them all, unless the chat template writes earlier turns anew: then each has its own."""

    def __init__(self, encoder: Encoder, too_long: str) -> None:
        self.encoder, self.too_long = encoder, too_long

    def read(self, row: Any, limit: int) -> Reading:
        messages = conversation_of(row)
        made, why = self.sequences(messages)
        tokens = longest(made)
        if tokens <= limit:
            return Reading(list(made), "split" if why else "kept", why, self.made_of(messages, made))
        refuse_or_drop(self.too_long, tokens, limit)
        said = f"({tokens} tokens, at most {limit})"
        if self.too_long == "split":
            parts = list(self.parts(messages, limit))
            samples = [self.sequences(part)[0] for part in parts]
            return Reading(
                [one for made in samples for one in made],
                "split",
                f"into {len(parts)} samples of whole turns {said}",
                [one for part, made in zip(parts, samples, strict=True) for one in self.made_of(part, made)],
            )
        history, why = shortened(
            messages[:-1], lambda kept: longest(self.sequences([*kept, messages[-1]])[0]), limit
        )
        short = [*history, messages[-1]]
        made, _ = self.sequences(short)
        return Reading(list(made), "truncated", f"{why} {said}", self.made_of(short, made))

    def sequences(self, messages: list[Message]) -> tuple[list[Encoded], str]:
        """(the sequences that learn every answer, in words why there are several). Raises Unusable."""
        try:
            return [self.encoder.encode(messages)], ""
        except Rewritten as reason:
            made = [self.encoder.encode(part, last_only=True) for part in asked_in(messages)]
            return made, f"into {len(made)} samples, one for each answer: {reason}"

    def made_of(self, messages: list[Message], made: list[Encoded]) -> list[tuple[list[Message] | None, ...]]:
        return [(messages,)] if len(made) == 1 else [(part,) for part in asked_in(messages)]

    def parts(self, messages: list[Message], limit: int) -> Iterator[list[Message]]:
        """The conversation in pieces of whole turns that fit, as long as possible. Raises Unusable."""
        system, turns = divided(messages)
        part: list[Message] = []
        for at in range(0, len(turns), 2):
            turn = turns[at : at + 2]
            if part and longest(self.sequences([*system, *part, *turn])[0]) <= limit:
                part += turn
                continue
            if part:
                yield [*system, *part]
            alone = longest(self.sequences([*system, *turn])[0])
            if alone > limit:
                raise Unusable(f"too long: turn {at // 2 + 1} alone has {alone} tokens, at most {limit}")
            part = list(turn)
        yield [*system, *part]

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        messages = conversation_of(row)
        asked = messages[: 1 + (messages[0]["role"] == "system")]
        return asked, askable(self.encoder, asked)

    def wanted(self, row: Any) -> str:
        return next(m["content"] for m in conversation_of(row) if m["role"] == "assistant")


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

        most = tokens(history)
        what, why = "kept", ""
        if most > limit:
            refuse_or_drop(self.too_long, most, limit)
            history, why = shortened(history, tokens, limit)
            what, why = "truncated", f"{why} ({most} tokens, at most {limit})"
        best, worst = (self.encoder.encode(one, last_only=True) for one in both(history))
        if best == worst:
            raise Unusable("the chat template makes one of both answers, so there is nothing to prefer")
        return Reading([Pair(best, worst)], what, why, [both(history)])

    def question(self, row: Any) -> tuple[list[Message], list[int]]:
        history, _, _ = preference_of(row)
        return history, askable(self.encoder, history)

    def wanted(self, row: Any) -> str:
        return preference_of(row)[1]


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
        messages = [{"role": "text", "content": self.encoder.decode(asked)}]
        if self.encoder.names_control(messages):
            raise Unusable("it names a control token")
        return messages, [*first, *asked]

    def wanted(self, row: Any) -> str:
        _, ids = self.encoder.document(text_of(row))
        return self.encoder.decode(ids[:-1][ASKED_TOKENS:])


def askable(encoder: Encoder, messages: list[Message]) -> list[int]:
    """Ids of a prompt. Raises Unusable where it names a control token."""
    if encoder.names_control(messages):
        raise Unusable("it names a control token")
    return encoder.prompt(messages)


def refuse_or_drop(too_long: str, tokens: int, limit: int) -> None:
    """Raises what the policy says, where it says no."""
    if too_long == "refuse":
        raise TooLong(tokens)
    if too_long == "drop":
        raise Unusable(f"too long: {tokens} tokens, at most {limit}")


def longest(made: list[Encoded]) -> int:
    """Tokens of the longest of several sequences."""
    return max(one.tokens for one in made)


def asked_in(messages: list[Message]) -> list[list[Message]]:
    """The conversation up to each of its answers."""
    return [messages[: at + 1] for at, message in enumerate(messages) if message["role"] == "assistant"]


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
