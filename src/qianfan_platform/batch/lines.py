"""Lines of a batch: what each asks, and what is written for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.evaluation.asking import Answered
from qianfan_platform.evaluation.questions import PARAMETERS, Question, prompt_of, reference_of, seeded
from qianfan_platform.inference import conversations
from qianfan_platform.inference.conversations import Prompt

LONGEST: Final = 4 * 1024 * 1024  # bytes of a line
MOST: Final = 1_000_000  # lines of a batch


def read(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 0, line) of every line that is not empty; of one that is too long, its beginning."""
    number = 0
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while line := file.readline(LONGEST + 1):
            while not line.endswith(b"\n") and len(line) > LONGEST and (rest := file.readline(LONGEST)):
                if rest.endswith(b"\n"):
                    break
            if text := line.strip():
                yield number, text
                number += 1


def count(path: Path) -> int:
    """How many lines there are. Raises Fault for none, and for too many."""
    total = sum(1 for _ in read(path))
    if not 0 < total <= MOST:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"the input has {total} lines",
            f"give JSON Lines, 1 to {MOST} of them",
        )
    return total


def prompt_of_line(number: int, line: bytes, params: Mapping[str, Any]) -> Prompt:
    """What a line asks. Raises Fault that names what is wrong.

    A line is an object with `messages`, `prompt` or `query`, beside parameters of its own; a request of the
    OpenAI batch (`body`); a conversation of a dataset, of which the last turn is asked; or a text."""
    row = _parsed(line)
    if isinstance(row, dict) and isinstance(row.get("body"), dict):
        body = {"max_tokens": params.get("max_output_tokens"), **_own(params), **row["body"]}
        return _seeded(number, conversations.of_v2({k: v for k, v in body.items() if v is not None}))
    if isinstance(row, list):
        return prompt_of(_last_turn(number, row), params, "")
    if isinstance(row, str):
        return prompt_of(Question(number, 0, row, ""), params, "")
    asked = row.get("prompt", row.get("query"))
    if isinstance(asked, str):
        system = row.get("system")
        own = {name: value for name, value in row.items() if name in PARAMETERS and name != "system"}
        question = Question(number, 0, asked, "", system=system if isinstance(system, str) else "")
        return prompt_of(question, {**params, **own}, "")
    if "messages" not in row:
        raise Fault(
            errors.CONSOLE_PARAMETER, "the line asks nothing", 'give it "messages", "prompt" or "query"'
        )
    body = {**params, **{name: value for name, value in row.items() if name in PARAMETERS}}
    turns = row["messages"]
    if isinstance(turns, list) and turns and isinstance(turns[0], dict) and turns[0].get("role") == "system":
        body["system"], turns = turns[0].get("content"), turns[1:]
    return _seeded(number, conversations.of_v1({**body, "messages": turns}))


def _parsed(line: bytes) -> Any:
    if len(line) > LONGEST:
        raise Fault(errors.CONSOLE_PARAMETER, f"the line is longer than {LONGEST} bytes", "shorten it")
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Fault(errors.CONSOLE_PARAMETER, f"the line is no JSON: {error}", "") from None
    if not isinstance(row, dict | list | str):
        raise Fault(errors.CONSOLE_PARAMETER, "the line is no object, conversation or text", "")
    return row


def _own(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that both interfaces call the same."""
    return {name: value for name, value in params.items() if not name.endswith("output_tokens")}


def _last_turn(number: int, row: list[Any]) -> Question:
    turns = [turn for turn in row if isinstance(turn, dict) and isinstance(turn.get("prompt"), str)]
    if not turns or len(turns) != len(row):
        raise Fault(errors.CONSOLE_PARAMETER, "a turn of the conversation has no prompt", "")
    *before, last = turns
    history = tuple((str(turn["prompt"]), _reference(turn)) for turn in before)
    return Question(number, 0, last["prompt"], "", history, str(turns[0].get("system") or ""))


def _reference(turn: Mapping[str, Any]) -> str:
    try:
        return reference_of(turn)
    except (TypeError, KeyError, IndexError):
        raise Fault(errors.CONSOLE_PARAMETER, "response of a turn is no list of lists of texts", "") from None


def _seeded(number: int, prompt: Prompt) -> Prompt:
    """The same batch gives the same answers."""
    return replace(prompt, sampling=seeded(prompt.sampling, number))


def response_of(answered: Answered, model: str) -> dict[str, Any]:
    """An entry of model_response, as batch inference on a dataset has it."""
    shown: dict[str, Any] = {"content": answered.text, "modelName": model}
    if answered.error:
        return {**shown, "error": answered.error}
    shown["latency"] = answered.latency_s
    shown["usage"] = {
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "total_tokens": answered.prompt_tokens + answered.completion_tokens,
    }
    if answered.finish_reason:
        shown["finishReason"] = answered.finish_reason
    return shown


def written(line: bytes, response: dict[str, Any]) -> bytes:
    """The line of the output: what was asked, with `model_response`."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = line.decode(errors="replace")[:10_000]
    if isinstance(row, dict):
        row = {**row, "model_response": [response]}
    elif isinstance(row, list) and row and isinstance(row[-1], dict):
        row = [*row[:-1], {**row[-1], "model_response": [response]}]
    else:
        row = {"prompt": row, "model_response": [response]}
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
