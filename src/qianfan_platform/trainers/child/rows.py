"""What a line of a dataset says: a conversation, a text, or two answers to one question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from qianfan_platform.trainers.child.samples import Unusable

Message = dict[str, str]
QUESTION = ("prompt", "user")  # both spellings of a turn are in use
ANSWER = ("response", "assistant")


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


def conversation_of(row: Any) -> list[Message]:
    """The messages of [{"prompt", "response": [[str]]}, …] with optional "system" in the first turn.

    Of several responses the first, the best ranked, is learned. Raises Unusable."""
    turns = turns_of(row)
    return [*system_of(turns), *(m for n, turn in enumerate(turns, 1) for m in messages_of(turn, n))]


def preference_of(row: Any) -> tuple[list[Message], str, str]:
    """(messages up to the last question, the chosen answer, the rejected answer) of a conversation whose
    last turn has "chosen" and "rejected". Raises Unusable."""
    turns = turns_of(row)
    last, number = turns[-1], len(turns)
    before = [m for n, turn in enumerate(turns[:-1], 1) for m in messages_of(turn, n)]
    question = {"role": "user", "content": question_of(last, number)}
    chosen = answer_of(last, number, ("chosen",))
    rejected = answer_of(last, number, ("rejected",))
    if chosen == rejected:
        raise Unusable("the chosen answer is the rejected one, so there is nothing to prefer")
    return [*system_of(turns), *before, question], chosen, rejected


def text_of(row: Any) -> str:
    """The text of a JSON string. Raises Unusable."""
    if isinstance(row, Unusable):
        raise row
    if not isinstance(row, str):
        raise Unusable("not a text: expected a JSON string")
    if not row.strip():
        raise Unusable("the text is empty")
    return row


def turns_of(row: Any) -> list[dict[str, Any]]:
    if isinstance(row, Unusable):
        raise row
    if not isinstance(row, list) or not row:
        raise Unusable("not a conversation: expected a list of turns")
    for number, turn in enumerate(row, 1):
        if not isinstance(turn, dict):
            raise Unusable(f"turn {number} has no prompt")
    return row


def system_of(turns: list[dict[str, Any]]) -> list[Message]:
    text = turns[0].get("system")
    return [{"role": "system", "content": str(text)}] if text else []


def messages_of(turn: dict[str, Any], number: int) -> list[Message]:
    """Question and answer."""
    return [
        {"role": "user", "content": question_of(turn, number)},
        {"role": "assistant", "content": answer_of(turn, number, ANSWER)},
    ]


def question_of(turn: dict[str, Any], number: int) -> str:
    asked = next((turn[name] for name in QUESTION if name in turn), None)
    if not isinstance(asked, str):
        raise Unusable(f"turn {number} has no prompt")
    return asked


def answer_of(turn: dict[str, Any], number: int, names: tuple[str, ...]) -> str:
    """The first answer under one of `names`. Raises Unusable when there is none."""
    answer: Any = next((turn[name] for name in names if name in turn), None)
    while isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, str) or not answer.strip():
        raise Unusable(f"turn {number} has no {names[0]}" + (" answer" if names != ANSWER else ""))
    return answer
