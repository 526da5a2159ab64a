"""What a record of each template looks like, and what is wrong with one that does not. Pure functions.

The SDK checks rows with these before anything is sent; the platform checks them with the same on import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qianfan.contract.enums import DataImportError, DataTemplateType

TURN_KEYS: Final = ("prompt", "response", "system")
_CONVERSATIONS: Final = (DataTemplateType.NonSortedConversation, DataTemplateType.SortedConversation)
_SHAPE: Final = '[{"prompt": "…", "response": [["…"]]}]'
_PREFERENCE: Final = '[{"user": "…", "chosen": "…", "rejected": "…"}]'
_SHOWN: Final = 160  # characters of a suggested row


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one record, and how to mend it.

    line and column count from 1; column counts characters. field: where in the record, like `[1].response`.
    source: name of the file or dataset, "" when unknown. code: errCode of an import."""

    line: int
    what: str
    fix: str
    field: str = ""
    column: int | None = None
    source: str = ""
    code: int = DataImportError.Mismatch.value

    def __str__(self) -> str:
        place = f"{self.source} line {self.line}" if self.source else f"line {self.line}"
        if self.column is not None:
            place += f", column {self.column}"
        if self.field:
            place += f", field {self.field}"
        return f"{place}: {self.what} — fix: {self.fix}"


class _Bad(Exception):
    code = DataImportError.Mismatch

    def __init__(self, what: str, fix: str, field: str = "") -> None:
        self.what, self.fix, self.field = what, fix, field


class _Empty(_Bad):
    """Nothing is there where a text is wanted."""

    code = DataImportError.Empty


def check_row(row: Any, template: DataTemplateType | int, line: int, source: str = "") -> Problem | None:
    """The first problem of a record, or None when it fits the template.

    Raises ValueError for a template whose records are not text."""
    if template in _CONVERSATIONS and is_plain(
        row, several=template != DataTemplateType.NonSortedConversation
    ):
        return None
    template = DataTemplateType(template)
    try:
        if template is DataTemplateType.NonSortedConversation:
            _conversation(row, several=False)
        elif template is DataTemplateType.SortedConversation:
            _conversation(row, several=True)
        elif template is DataTemplateType.PromptChosenRejected:
            _preference(row)
        elif template is DataTemplateType.GenericText:
            _text(row)
        elif template is DataTemplateType.QuerySet:
            _query(row)
        else:
            raise ValueError(f"records of the template {template.name} are not checked line by line")
    except RecursionError:  # JSON may nest deeper than it can be shown
        return Problem(line, "the record nests too deep", "write it as the template says", source=source)
    except _Bad as bad:
        return Problem(line, bad.what, bad.fix, field=bad.field, source=source, code=bad.code.value)
    return None


def is_plain(row: Any, *, several: bool = False) -> bool:
    """True for a conversation of the usual form: turns of prompt and response alone, all with an answer.

    Such a record has no problem and is annotated, which this says in a fraction of the time; False says nothing.
    several: a turn may have several answers to choose from."""
    if type(row) is not list or not row:
        return False
    for turn in row:
        if type(turn) is not dict or len(turn) != 2 or "prompt" not in turn or "response" not in turn:
            return False
        prompt, response = turn["prompt"], turn["response"]
        if type(prompt) is not str or not prompt or prompt.isspace():
            return False
        if type(response) is not list or not response or (len(response) > 1 and not several):
            return False
        for answer in response:
            if type(answer) is not list or len(answer) != 1:
                return False
            text = answer[0]
            if type(text) is not str or not text or text.isspace():
                return False
    return True


def is_annotated(row: Any) -> bool:
    """True when the record is a conversation and every turn has an answer, the last perhaps two to choose from."""
    return isinstance(row, list) and bool(row) and all(isinstance(t, Mapping) and _answered(t) for t in row)


def _answered(turn: Mapping[str, Any]) -> bool:
    if "response" in turn:
        return turn["response"] not in (None, [], [[]])
    return bool(turn.get("assistant") or (turn.get("chosen") and turn.get("rejected")))


def _preference(row: Any) -> None:
    """Turns of user and assistant; the last has chosen and rejected in place of assistant."""
    if not isinstance(row, list):
        wrap = isinstance(row, Mapping) and "chosen" in row
        fix = f"wrap it: {_shown([row])}" if wrap else f"write it as {_PREFERENCE}"
        raise _Bad(f"a preference is an array of turns, this is {_kind(row)}", fix)
    if not row:
        raise _Empty("the preference has no turn", f"write it as {_PREFERENCE}, or remove the line")
    for index, turn in enumerate(row):
        place, last = f"[{index}]", index == len(row) - 1
        if not isinstance(turn, Mapping):
            raise _Bad(f"a turn is an object, this is {_kind(turn)}", f"write it as {_PREFERENCE}", place)
        asked = "prompt" if "prompt" in turn and "user" not in turn else "user"
        wanted = ("chosen", "rejected") if last else ("assistant",)
        for key in (asked, *wanted):
            if key not in turn:
                raise _Bad(f"the turn has no {key}; it has {_names(turn)}", f"add {key}: a text", place)
            if not isinstance(turn[key], str) or not turn[key].strip():
                bad, what = (
                    (_Empty, "empty")
                    if isinstance(turn[key], str)
                    else (_Bad, f"{_kind(turn[key])}, not a text")
                )
                raise bad(f"{key} is {what}", "fill it or remove the record", f"{place}.{key}")
        _system(turn, index)
        _known_keys(turn, (asked, *wanted, "system"), place)
    if row[-1]["chosen"] == row[-1]["rejected"]:
        raise _Bad(
            "chosen and rejected are the same text: nothing is preferred",
            "remove the record",
            f"{place}.rejected",
        )


def _text(row: Any) -> None:
    if not isinstance(row, str):
        raise _Bad(f"a text is wanted, this is {_kind(row)}", "give one text a record")
    if not row.strip():
        raise _Empty("the text is empty", "remove the record or fill it")


def _query(row: Any) -> None:
    _wrapped(row)
    if len(row) != 1:
        raise _Bad(
            f"a record of a query set has one question, this has {len(row)}",
            'write each question as a record of its own: [{"prompt": "…"}]',
        )
    turn = row[0]
    _prompt(turn, "[0]")
    if _answered(turn):
        raise _Bad(
            "a query set holds questions without answers",
            "remove response, or import it as a conversation (template 2000)",
            "[0].response",
        )
    _known_keys(turn, ("prompt", "response"), "[0]")


def _conversation(row: Any, *, several: bool) -> None:
    _wrapped(row)
    if not row:
        raise _Empty("the conversation has no turn", f"write it as {_SHAPE}, or remove the line")
    for index, turn in enumerate(row):
        place = f"[{index}]"
        _prompt(turn, place)
        _known_keys(turn, TURN_KEYS, place)
        _system(turn, index)
        if _answered(turn):
            _response(turn["response"], f"{place}.response", several=several)
    bare = [index for index, turn in enumerate(row) if not _answered(turn)]
    if bare and len(bare) < len(row):
        raise _Bad(
            "this turn has no answer though others of the conversation have",
            "add its response, or cut the conversation before it",
            f"[{bare[0]}].response",
        )


def _system(turn: Mapping[str, Any], index: int) -> None:
    if "system" not in turn:
        return
    place = f"[{index}].system"
    if index > 0:
        raise _Bad(
            "only the first turn may have a system text", "move it to the first turn or remove it", place
        )
    if turn["system"] is not None and not isinstance(turn["system"], str):
        raise _Bad(f"system is {_kind(turn['system'])}, not a text", "make it a text", place)


def _wrapped(row: Any) -> None:
    """Refuse what is not an array of turns; the well-known formats of others get their own words."""
    if isinstance(row, list):
        if row and all(isinstance(item, Mapping) and "role" in item for item in row):
            _openai(row)
        return
    if isinstance(row, Mapping):
        if "messages" in row:
            _openai(row["messages"])
        if "instruction" in row and "output" in row:
            question = "\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key))
            raise _Bad(
                "this is an instruction/output record",
                f"write it as {_shown([_turn(question, row['output'])])}",
            )
        if "prompt" in row:
            mended = dict(row)
            if isinstance(row.get("response"), str):
                mended["response"] = [[row["response"]]]
            raise _Bad("the turn is not in an array", f"wrap it: {_shown([mended])}")
        raise _Bad(
            f"a conversation is an array of turns, this is an object with {_names(row)}",
            f"write it as {_SHAPE}, or name the columns prompt and response",
        )
    raise _Bad(f"a conversation is an array of turns, this is {_kind(row)}", f"write it as {_SHAPE}")


def _openai(messages: Any) -> None:
    """Always raises: says that this is OpenAI's format, or where its roles are out of order."""
    what = "this is a record in OpenAI's chat format"
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise _Bad(
            f"{what}, and its messages are {_kind(messages)}, not a list of objects", f"write it as {_SHAPE}"
        )
    rest = list(messages)
    system = rest.pop(0).get("content") if rest and rest[0].get("role") == "system" else None
    for index, message in enumerate(rest):
        wanted = "assistant" if index % 2 else "user"
        if message.get("role") != wanted:
            raise _Bad(
                f"{what}, and the role here is {message.get('role')!r} where {wanted!r} is due",
                f"let user and assistant alternate, then write each pair as a turn: {_SHAPE}",
                f"messages[{len(messages) - len(rest) + index}].role",
            )
    if not rest or len(rest) % 2:
        raise _Bad(
            f"{what}, and it does not end with the assistant's answer",
            f"add the answer, then write each pair as a turn: {_SHAPE}",
        )
    turns = [_turn(q.get("content"), a.get("content")) for q, a in zip(rest[::2], rest[1::2], strict=True)]
    if system:
        turns[0] = {"system": system, **turns[0]}
    raise _Bad(what, f"write it as {_shown(turns)}")


def _prompt(turn: Any, place: str) -> None:
    if not isinstance(turn, Mapping):
        raise _Bad(f"a turn is an object, this is {_kind(turn)}", f"write it as {_SHAPE[1:-1]}", place)
    if "prompt" not in turn:
        raise _Bad(f"the turn has no prompt; it has {_names(turn)}", "add the question as prompt", place)
    prompt = turn["prompt"]
    if not isinstance(prompt, str):
        raise _Bad(f"prompt is {_kind(prompt)}, not a text", "make it a text", f"{place}.prompt")
    if not prompt.strip():
        raise _Empty("prompt is empty", "fill it or remove the turn", f"{place}.prompt")


def _response(response: Any, place: str, *, several: bool) -> None:
    if isinstance(response, str):
        raise _Bad("response is a plain text", f"write it as {_shown([[response]])}", place)
    if not isinstance(response, list):
        raise _Bad(f"response is {_kind(response)}, not a list", 'write it as [["…"]]', place)
    if all(isinstance(item, str) for item in response):
        raise _Bad(
            "response is a list of texts, not a list of one-element lists",
            f"write it as {_shown([[item] for item in response])}",
            place,
        )
    if not several and len(response) != 1:
        raise _Bad(
            f"response has {len(response)} candidates, exactly one is wanted",
            "keep the best one, or import the data as sorted conversations (template 2001)",
            place,
        )
    for index, candidate in enumerate(response):
        here = f"{place}[{index}]"
        if not isinstance(candidate, list) or len(candidate) != 1:
            size = f"a list of {len(candidate)}" if isinstance(candidate, list) else _kind(candidate)
            raise _Bad(f"a candidate is a list of one text, this is {size}", 'write it as ["…"]', here)
        if not isinstance(candidate[0], str):
            raise _Bad(f"the answer is {_kind(candidate[0])}, not a text", "make it a text", f"{here}[0]")
        if not candidate[0].strip():
            raise _Empty("the answer is empty", "fill it or remove the record", f"{here}[0]")


def _known_keys(turn: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    unknown = [key for key in turn if key not in known]
    if unknown and {"chosen", "rejected"} <= {*unknown}:
        raise _Bad(
            "the turn has chosen and rejected answers",
            "train it by DPO (template PromptChosenRejected), or write the better one as response",
            place,
        )
    if unknown:
        raise _Bad(
            f"the turn has unknown members: {', '.join(map(repr, unknown[:5]))}",
            f"remove them; a turn has {', '.join(known)}",
            place,
        )


def _turn(prompt: Any, response: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": [[response]]}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(repr(key) for key in list(row)[:5]) or "no members"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, name in ((bool, "a boolean"), (str, "a text"), ((int, float), "a number"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "an object"
