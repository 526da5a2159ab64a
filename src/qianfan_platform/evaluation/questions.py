"""What a version is asked: every turn of every row, with the dataset's own answers as the turns before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.engines.protocol import Sampling
from qianfan_platform.inference import conversations
from qianfan_platform.inference.conversations import Prompt

INPUT: Final = "{input}"
SEED: Final = 20240101  # of answers whose params name none: the same task gives the same answers
PARAMETERS: Final = frozenset(  # of an answer, that an evaluation and a batch may set
    (
        "temperature",
        "top_p",
        "top_k",
        "penalty_score",
        "stop",
        "max_output_tokens",
        "min_output_tokens",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "response_format",
        "system",
    )
)


@dataclass(frozen=True)
class Question:
    """One turn. reference: the dataset's answer, "" when it has none."""

    line: int
    turn: int
    prompt: str
    reference: str
    history: tuple[tuple[str, str], ...] = ()  # (question, answer) of the turns before
    system: str = ""


def rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The conversations of a dataset, one a line."""
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def questions(path: Path) -> Iterator[Question]:
    """Every turn of every row, in order. Of several candidates the first is the reference."""
    for number, row in enumerate(rows(path)):
        before: list[tuple[str, str]] = []
        system = str(row[0].get("system") or "") if row else ""
        for place, turn in enumerate(row):
            reference = reference_of(turn)
            yield Question(number, place, turn["prompt"], reference, tuple(before), system)
            before.append((turn["prompt"], reference))


def reference_of(turn: Mapping[str, Any]) -> str:
    """The answer that the dataset holds for a turn, "" for none."""
    candidates = turn.get("response") or []
    first = candidates[0] if candidates else []
    return str(first[0]) if first else ""


def prompt_of(question: Question, params: Mapping[str, Any], prefix: str) -> Prompt:
    """The conversation as everybody's chat call is checked. Raises Fault naming what is wrong.

    prefix: a text with {input}; filled in once, so that what a question holds is not looked at again."""
    asked = prefix.replace(INPUT, question.prompt, 1) if prefix else question.prompt
    turns: list[dict[str, str]] = []
    for user, assistant in question.history:
        turns += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    turns.append({"role": "user", "content": asked})
    body: dict[str, Any] = {"messages": turns, **params}
    coldest = body.get("temperature") == 0 and not isinstance(body["temperature"], bool)
    if coldest:
        del body["temperature"]
    if question.system and "system" not in body:
        body["system"] = question.system
    prompt = conversations.of_v1(body)
    sampling = seeded(prompt.sampling, question.line)
    if coldest:  # the likeliest token; the chat call of V1 has no word for it
        sampling = replace(sampling, temperature=0.0)
    return replace(prompt, sampling=sampling)


def seeded(sampling: Sampling, line: int) -> Sampling:
    """The sampling with a seed of its line, unless it names one."""
    return replace(sampling, seed=SEED + line) if sampling.seed is None else sampling


def checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a version. Raises Fault for a wrong one, and for one that is none."""
    unknown = sorted(set(params) - PARAMETERS)
    if unknown:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[params] invalid: {unknown[0][:60]!r} is no parameter of an answer",
            f"known: {', '.join(sorted(PARAMETERS))}",
        )
    try:
        prompt_of(Question(0, 0, "hi", ""), params, "")
    except Fault as fault:
        raise Fault(
            errors.CONSOLE_PARAMETER, f"param[params] invalid: {fault.message}", fault.advice
        ) from None
    return dict(params)


def checked_prefix(content: str) -> str:
    """A prefix that has a place for the question. Raises Fault."""
    if content.count(INPUT) != 1:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[prompt.content] invalid: it must hold {INPUT} once, where the question is put",
            f'for example "Answer in one word: {INPUT}"',
        )
    return content
