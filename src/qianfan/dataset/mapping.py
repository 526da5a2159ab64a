"""Records of other formats as rows of a template, and back: Alpaca, ShareGPT, OpenAI's messages, plain columns.

`of(row)` says which format a record has, by its members; rows of our own have none. A mapping explains itself in
lines for people (`explained`). What a template cannot hold is refused by name, with the place in the record; what
is left out, or read in another form, is told to `note`, so that nothing is lost in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import turns
from qianfan.dataset.formats import FormatError
from qianfan.dataset.turns import Exchange, Note, Unfit

_PREFERRED: Final = ("chosen", "rejected")


@dataclass(frozen=True)
class Mapping:
    """How records of one format and rows of a template become each other."""

    name: str
    explained: tuple[str, ...]
    _read: Callable[[Any, Note], Exchange | str]
    _write: Callable[[Exchange], Any]

    def to_row(
        self,
        foreign: Any,
        template: DataTemplateType | int,
        *,
        line: int = 1,
        source: str = "",
        note: Note | None = None,
    ) -> Any:
        """The row of the template. Raises FormatError that names line and place of what does not fit.

        note: hears each thing that is left out or read in another form, in the same words for each record."""
        try:
            read = self._read(foreign, note or _quiet)
            return read if isinstance(read, str) else turns.row_of(read, DataTemplateType(template))
        except Unfit as unfit:
            raise FormatError(unfit.problem(line, source)) from None
        except RecursionError:  # JSON may nest deeper than it can be shown
            deep = Unfit("the record nests too deep", f"write it as {self.name} says")
            raise FormatError(deep.problem(line, source)) from None

    def from_row(self, row: Any, *, line: int = 1, source: str = "") -> Any:
        """The record in this format. Raises FormatError for what the format cannot hold."""
        try:
            if isinstance(row, str) and self is TEXT:
                return {"text": row}
            return self._write(turns.exchange_of(row))
        except Unfit as unfit:
            raise FormatError(unfit.problem(line, source)) from None


def of(row: Any) -> Mapping | None:
    """The mapping for a record, by its members; None when it is a row of ours, or nothing known."""
    if isinstance(row, list):
        first = row[0] if row else None
        return OPENAI if isinstance(first, dict) and "role" in first and "prompt" not in first else None
    if not isinstance(row, dict):
        return None
    if "messages" in row or "preferred_output" in row:
        return OPENAI
    if isinstance(row.get("conversations", row.get("conversation")), list):
        return SHAREGPT
    if "instruction" in row:
        return ALPACA
    if "prompt" in row:
        return COLUMNS
    return TEXT if "text" in row else None


def detect(first_rows: Iterable[Any]) -> Mapping | None:
    """The mapping that most of these rows have; None when most are rows of ours, or nothing known."""
    found = Counter(mapping.name if (mapping := of(row)) else "" for row in first_rows)
    return BY_NAME.get(found.most_common(1)[0][0]) if found else None


def _quiet(_: str) -> None:
    """Nobody listens."""


# ── Alpaca ───────────────────────────────────────────────────────────────────────────────────────


def _from_alpaca(row: Any, note: Note) -> Exchange:
    known = ("instruction", "input", "output", "system", "history", *_PREFERRED)
    turns.left_out(row, known, note)
    asked = turns.text_of(row.get("instruction"), "instruction", note)
    more = turns.text_of(row.get("input"), "input", note, empty=True)
    exchange = Exchange(system=turns.text_of(row.get("system"), "system", note, empty=True))
    history = row.get("history") or []
    if not isinstance(history, list):
        raise Unfit("history is not a list", 'write it as [["…", "…"]], or leave it out', "history")
    for number, pair in enumerate(history):
        place = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unfit("a part of the history is a question and its answer", 'write it as ["…", "…"]', place)
        exchange.pairs.append(
            (turns.text_of(pair[0], f"{place}[0]", note), turns.text_of(pair[1], f"{place}[1]", note))
        )
    question = f"{asked}\n{more}" if more else asked
    if any(key in row for key in _PREFERRED):
        exchange.preferred(*(turns.text_of(row.get(key), key, note) for key in _PREFERRED))
        exchange.pairs.append((question, None))
    else:
        answer = turns.text_of(row.get("output"), "output", note, empty=True)
        exchange.pairs.append((question, answer or None))
    return exchange


def _to_alpaca(exchange: Exchange) -> Any:
    question, answer = exchange.pairs[-1]
    row: dict[str, Any] = {"instruction": question, "input": ""}
    if exchange.chosen is not None:
        row.update(chosen=exchange.chosen, rejected=exchange.rejected)
    else:
        row["output"] = answer or ""
    if exchange.system:
        row["system"] = exchange.system
    if exchange.pairs[:-1]:
        row["history"] = [[asked, said or ""] for asked, said in exchange.pairs[:-1]]
    return row


# ── ShareGPT ─────────────────────────────────────────────────────────────────────────────────────


def _from_sharegpt(row: Any, note: Note) -> Exchange:
    key = "conversations" if "conversations" in row else "conversation"
    turns.left_out(row, (key, "system", "tools", *_PREFERRED), note)
    turns.refuse_tools(row)
    names = [
        (turns.spoken(item, f"{key}[{number}]", ("from", "value"), note), f"{key}[{number}]")
        for number, item in enumerate(row[key])
    ]
    exchange = turns.conversation(names, key, open_end=any(name in row for name in _PREFERRED))
    exchange.system = exchange.system or turns.text_of(row.get("system"), "system", note, empty=True)
    if any(name in row for name in _PREFERRED):
        exchange.preferred(
            *(turns.spoken(row.get(name), name, ("from", "value"), note)[1] for name in _PREFERRED)
        )
    return exchange


def _to_sharegpt(exchange: Exchange) -> Any:
    said: list[dict[str, str]] = []
    for question, answer in exchange.pairs:
        said.append({"from": "human", "value": question})
        if answer is not None:
            said.append({"from": "gpt", "value": answer})
    row: dict[str, Any] = {"conversations": said}
    if exchange.system:
        row["system"] = exchange.system
    if exchange.chosen is not None:
        row["chosen"] = {"from": "gpt", "value": exchange.chosen}
        row["rejected"] = {"from": "gpt", "value": exchange.rejected}
    return row


# ── OpenAI ───────────────────────────────────────────────────────────────────────────────────────


def _from_openai(row: Any, note: Note) -> Exchange:
    if isinstance(row, list):
        return _messages(row, "", note, open_end=False)
    turns.refuse_tools(row)
    if "preferred_output" in row:
        given = row.get("input")
        turns.left_out(row, ("input", "preferred_output", "non_preferred_output"), note)
        if not isinstance(given, dict):
            raise Unfit("input is no object with messages", 'write it as {"messages": […]}', "input")
        turns.refuse_tools(given)
        exchange = _messages(given.get("messages"), "input.messages", note, open_end=True)
        exchange.preferred(
            _only_answer(row["preferred_output"], "preferred_output", note),
            _only_answer(row.get("non_preferred_output"), "non_preferred_output", note),
        )
        return exchange
    turns.left_out(row, ("messages", "tools", "functions", "parallel_tool_calls", *_PREFERRED), note)
    exchange = _messages(row.get("messages"), "messages", note, open_end="chosen" in row)
    if any(key in row for key in _PREFERRED):
        exchange.preferred(
            *(turns.spoken(row.get(key), key, ("role", "content"), note)[1] for key in _PREFERRED)
        )
    return exchange


def _messages(messages: Any, place: str, note: Note, *, open_end: bool) -> Exchange:
    if not isinstance(messages, list) or not messages:
        raise Unfit(f"{place or 'the record'} is no list of messages", "give at least one message", place)
    said = [
        (turns.spoken(message, f"{place}[{number}]", ("role", "content"), note), f"{place}[{number}]")
        for number, message in enumerate(messages)
    ]
    return turns.conversation(said, place, open_end=open_end)


def _only_answer(messages: Any, place: str, note: Note) -> str:
    if not isinstance(messages, list) or len(messages) != 1:
        raise Unfit(f"{place} is not a list of one message", "give the one answer of the assistant", place)
    role, text = turns.spoken(messages[0], f"{place}[0]", ("role", "content"), note)
    if role != "assistant":
        raise Unfit(f"the role here is {role}", "give an answer of the assistant", f"{place}[0].role")
    return text


def _to_openai(exchange: Exchange) -> Any:
    said = [{"role": "system", "content": exchange.system}] if exchange.system else []
    for question, answer in exchange.pairs:
        said.append({"role": "user", "content": question})
        if answer is not None:
            said.append({"role": "assistant", "content": answer})
    if exchange.chosen is None:
        return {"messages": said}
    return {
        "input": {"messages": said},
        "preferred_output": [{"role": "assistant", "content": exchange.chosen}],
        "non_preferred_output": [{"role": "assistant", "content": exchange.rejected}],
    }


# ── plain columns, plain texts ───────────────────────────────────────────────────────────────────


def _from_columns(row: Any, note: Note) -> Exchange:
    turns.left_out(row, ("prompt", "response", "completion", "system", *_PREFERRED), note)
    exchange = Exchange(system=turns.text_of(row.get("system"), "system", note, empty=True))
    question = turns.text_of(row["prompt"], "prompt", note)
    if any(key in row for key in _PREFERRED):
        exchange.preferred(*(turns.text_of(row.get(key), key, note) for key in _PREFERRED))
        exchange.pairs.append((question, None))
        return exchange
    key = "response" if "response" in row else "completion"
    answers = turns.candidates(row.get(key), key, note)
    exchange.pairs.append((question, answers[0] if answers else None))
    exchange.others = answers[1:]
    return exchange


def _to_columns(exchange: Exchange) -> Any:
    if len(exchange.pairs) != 1:
        raise Unfit("a conversation of several turns does not fit into columns", "write it in another format")
    question, answer = exchange.pairs[0]
    row: dict[str, Any] = {"system": exchange.system} if exchange.system else {}
    row["prompt"] = question
    if exchange.chosen is not None:
        return {**row, "chosen": exchange.chosen, "rejected": exchange.rejected}
    return row if answer is None else {**row, "response": answer}


def _from_text(row: Any, note: Note) -> str:
    turns.left_out(row, ("text",), note)
    return turns.text_of(row["text"], "text", note)


def _to_text(exchange: Exchange) -> Any:
    raise Unfit("a conversation is no text", "write it as alpaca, sharegpt or openai")


ALPACA: Final = Mapping(
    "alpaca",
    (
        "instruction and input, on a line each → prompt",
        "output → response; chosen and rejected stay",
        "history → the turns before",
        "system → system of the first turn",
    ),
    _from_alpaca,
    _to_alpaca,
)
SHAREGPT: Final = Mapping(
    "sharegpt",
    (
        "conversations: human → prompt, gpt → response",
        "system → system of the first turn",
        "chosen and rejected: their value",
        "tools, function_call and observation are refused",
    ),
    _from_sharegpt,
    _to_sharegpt,
)
OPENAI: Final = Mapping(
    "openai",
    (
        "messages: user → prompt, assistant → response",
        "a first message of system or developer → system of the first turn",
        "content as a list of text parts → the parts joined",
        "preferred_output → chosen, non_preferred_output → rejected",
        "tools, tool calls and pictures are refused",
    ),
    _from_openai,
    _to_openai,
)
COLUMNS: Final = Mapping(
    "columns",
    (
        "prompt → the prompt of the one turn",
        "response or completion → its response",
        "chosen, rejected and system stay",
    ),
    _from_columns,
    _to_columns,
)
TEXT: Final = Mapping("text", ("text → the text",), _from_text, _to_text)
BY_NAME: Final = {mapping.name: mapping for mapping in (ALPACA, SHAREGPT, OPENAI, COLUMNS, TEXT)}
