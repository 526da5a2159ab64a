"""A conversation between formats: its system text, its pairs of question and answer, what is preferred."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from qianfan.contract.enums import DataImportError, DataTemplateType
from qianfan.dataset.schemas import Problem

Note = Callable[[str], None]
USER: Final = "user"
ASSISTANT: Final = "assistant"
SYSTEM: Final = "system"
_ROLES: Final = {
    "user": USER,
    "human": USER,
    "assistant": ASSISTANT,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "model": ASSISTANT,
    "system": SYSTEM,
    "developer": SYSTEM,
}
_OF_TOOLS: Final = ("tool", "function", "function_call", "observation")
_CALLS: Final = ("tool_calls", "function_call")
_NO_TOOLS: Final = "remove the record, or write what the tool said into the texts; templates hold no tools"


class Unfit(Exception):
    """A record cannot be read, or not be held. field: where in the record. code: errCode of an import."""

    def __init__(
        self, what: str, fix: str, field: str = "", code: DataImportError = DataImportError.Mismatch
    ) -> None:
        super().__init__(what)
        self.what, self.fix, self.field, self.code = what, fix, field, code.value

    def problem(self, line: int, source: str) -> Problem:
        """The problem, in its line."""
        return Problem(line, self.what, self.fix, field=self.field, source=source, code=self.code)


@dataclass
class Exchange:
    """pairs: question and answer, None for one that is not there. others: more candidates for the last answer."""

    system: str = ""
    pairs: list[tuple[str, str | None]] = field(default_factory=list)
    chosen: str | None = None
    rejected: str | None = None
    others: list[str] = field(default_factory=list)

    def preferred(self, chosen: str, rejected: str) -> None:
        """Make it a preference."""
        self.chosen, self.rejected = chosen, rejected


def row_of(exchange: Exchange, template: DataTemplateType) -> Any:
    """The row of the template. Raises Unfit for what it cannot hold."""
    if template is DataTemplateType.GenericText:
        raise Unfit(
            "this is a conversation, and the dataset holds texts",
            "import it into a dataset of conversations (template 2000)",
        )
    preference = template is DataTemplateType.PromptChosenRejected
    if preference != (exchange.chosen is not None):
        raise Unfit(
            "the record has no chosen and rejected" if preference else "this is a preference",
            "a dataset of preferences (template 2002) takes records with chosen and rejected, others do not",
        )
    rows: list[dict[str, Any]] = []
    for question, answer in exchange.pairs:
        row: dict[str, Any] = {"user" if preference else "prompt": question}
        if answer is not None:
            row.update({"assistant": answer} if preference else {"response": [[answer]]})
        rows.append(row)
    if preference:
        rows[-1].update(chosen=exchange.chosen, rejected=exchange.rejected)
    elif exchange.others:
        rows[-1]["response"] += [[other] for other in exchange.others]
    if exchange.system:
        if template is DataTemplateType.QuerySet:
            raise Unfit("a query set holds questions alone", "leave the system text out", "system")
        rows[0] = {"system": exchange.system, **rows[0]}
    return rows


def exchange_of(row: Any) -> Exchange:
    """The conversation in a row of ours. Raises Unfit for a row that is none."""
    if not isinstance(row, list) or not row or not all(isinstance(turn, Mapping) for turn in row):
        raise Unfit("this is no conversation", "only conversations and preferences can be written so")
    exchange = Exchange(system=row[0].get("system") or "")
    for number, turn in enumerate(row):
        question = turn.get("prompt", turn.get("user"))
        if not isinstance(question, str):
            raise Unfit("the turn has no prompt", "add it, or remove the record", f"[{number}]")
        answers = candidates(
            turn.get("response", turn.get("assistant")), f"[{number}].response", lambda _: None
        )
        if len(answers) > 1:
            raise Unfit(
                f"the turn has {len(answers)} answers, and the format holds one",
                "keep the best one",
                f"[{number}].response",
            )
        exchange.pairs.append((question, answers[0] if answers else None))
    if "chosen" in row[-1]:
        exchange.preferred(row[-1]["chosen"], row[-1].get("rejected"))
    return exchange


def conversation(said: Sequence[tuple[tuple[str, str], str]], place: str, *, open_end: bool) -> Exchange:
    """The exchange of ((role, text), place) in order. open_end: it ends with a question, to be answered twice."""
    exchange = Exchange()
    before = ""
    for number, ((role, text), here) in enumerate(said):
        if role == SYSTEM:
            if number:
                last = number == len(said) - 1
                what = f"the system message is {'last' if last else f'number {number + 1}'}"
                raise Unfit(what, "put it first; only the first may be of system", f"{here}")
            exchange.system = text
            continue
        if role == before:
            fix = f"join the two, or put the missing message between them: {USER} and {ASSISTANT} alternate"
            raise Unfit(f"role {role} follows {before}", fix, here)
        if role == ASSISTANT:
            if not before:
                raise Unfit("role assistant comes first", "begin with a message of the user", here)
            exchange.pairs[-1] = (exchange.pairs[-1][0], text)
        else:
            exchange.pairs.append((text, None))
        before = role
    if not exchange.pairs:
        what = "the system message is last" if said else "there is no message"
        raise Unfit(what, "add what the user says and what the assistant answers", place)
    ends_open = exchange.pairs[-1][1] is None
    if open_end != ends_open and (open_end or len(exchange.pairs) > 1):
        if open_end:
            raise Unfit(
                "the last message is an answer",
                "end with the question that chosen and rejected answer",
                said[-1][1],
            )
        raise Unfit(
            "the conversation does not end with the assistant's answer",
            "add the answer, or remove the last question",
            said[-1][1],
        )
    return exchange


def spoken(message: Any, place: str, keys: tuple[str, str], note: Note) -> tuple[str, str]:
    """(role, text) of one message. keys: what holds them; the names of the other format are taken too."""
    if not isinstance(message, Mapping):
        raise Unfit("a message is an object with a role and a content", "write it as an object", place)
    who, what = (
        keys if keys[0] in message else ("role", "content") if "role" in message else ("from", "value")
    )
    role = message.get(who)
    for call in _CALLS:
        if message.get(call):
            raise Unfit(f"the message calls {_called(message[call])}", _NO_TOOLS, f"{place}.{call}")
    if role in _OF_TOOLS:
        raise Unfit(
            f"a message of role {role} without a call before it"
            if role in ("tool", "function", "observation")
            else f"the message is of role {role}",
            _NO_TOOLS,
            f"{place}.{who}",
        )
    if not isinstance(role, str) or role not in _ROLES:
        raise Unfit(
            f"the role {role!r} is not known" if role is not None else f"the message has no {who}",
            "use system, user and assistant",
            f"{place}.{who}",
        )
    if message.get("weight", 1) != 1:
        raise Unfit(
            "weight 0 says that the answer is not to be learnt, and templates cannot say so",
            "cut the conversation before it",
            f"{place}.weight",
        )
    left_out(message, (who, what, "weight", *_CALLS), note, " of messages")
    return _ROLES[role], text_of(message.get(what), f"{place}.{what}", note)


def text_of(value: Any, place: str, note: Note, *, empty: bool = False) -> str:
    """The text, also of a list of text parts. empty: nothing there is an empty text. Raises Unfit."""
    name = place.rpartition(".")[2]
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        parts = []
        for number, part in enumerate(value):
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                kind = part.get("type")
                raise Unfit(
                    f"a part of {name} is of type {kind!r}, and only text is held",
                    "remove the part or the record",
                    f"{place}[{number}]",
                )
            parts.append(part["text"])
        note(f"{name} is a list of text parts: joined")
        value = "".join(parts)
    if value is None and empty:
        return ""
    if not isinstance(value, str):
        what = "is missing" if value is None else "is not a text"
        raise Unfit(f"{name} {what}", "give a text", place)
    if not value.strip() and not empty:
        raise Unfit(f"empty {name}", "fill it or remove the record", place, DataImportError.Empty)
    return value


def candidates(value: Any, place: str, note: Note) -> list[str]:
    """The answers of a turn: none, a text, a list of texts, or of lists of one text."""
    if value is None or value in ("", [], [[]]):
        return []
    if isinstance(value, str):
        return [text_of(value, place, note)]
    if not isinstance(value, list):
        raise Unfit(f"{place} is not a text", "give a text", place)
    inner = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in value]
    return [text_of(item, f"{place}[{number}]", note) for number, item in enumerate(inner)]


def refuse_tools(row: Mapping[str, Any]) -> None:
    """Raise Unfit for a record that offers tools, naming them."""
    for key in ("tools", "functions"):
        if row.get(key):
            raise Unfit(f"the record offers tools: {_called(row[key])}", _NO_TOOLS, key)


def left_out(row: Mapping[str, Any], known: Sequence[str], note: Note, whose: str = "") -> None:
    """Tell which members are not kept."""
    for name in row:
        if name not in known and row[name] not in (None, "", [], {}):
            note(f"{name!r}{whose} is left out")


def _called(tools: Any) -> str:
    names = []
    for tool in tools if isinstance(tools, list) else [tools]:
        inner = tool.get("function", tool) if isinstance(tool, Mapping) else tool
        name = inner.get("name") if isinstance(inner, Mapping) else inner
        names.append(str(name)[:60])
    return ", ".join(names[:5]) or "tools"
