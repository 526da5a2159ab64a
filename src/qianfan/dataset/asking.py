"""What `Dataset.test_using_llm` does: each row becomes a question, a model answers, the answers become rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

from qianfan.dataset.progress import counting
from qianfan.errors import QianfanError
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset.dataset import Dataset

WORKERS: Final = 8  # calls in flight unless worker_num says otherwise
KEYS: Final = ("ak", "sk", "access_token", "access_key", "secret_key")  # of who asks; the rest is of the call
OUTPUT, EXPECTED = "llm_output", "expected_output"
FIRST, COMPLETE = "first_token_latency", "request_complete_latency"


@dataclass(frozen=True)
class Question:
    """One row as it is asked. shown: what of the row stands in the result."""

    shown: dict[str, Any]
    asked: str | list[dict[str, str]]
    expected: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question as a conversation."""
        return [{"role": "user", "content": self.asked}] if isinstance(self.asked, str) else self.asked


@dataclass(frozen=True)
class Manner:
    """How rows are turned into questions, and how they are asked.

    inputs: columns, joined by line breaks or put into `template` by their names. reference: the column of the
    expected answer. parameters: of the call, such as temperature."""

    inputs: tuple[str, ...]
    reference: str | None
    template: str | None
    is_chat: bool
    latency: bool
    workers: int
    show_progress: bool | None
    parameters: Mapping[str, Any]
    failures: list[str] = field(default_factory=list)  # why questions have no answer, one for each

    @classmethod
    def of(cls, dataset: Dataset, keywords: dict[str, Any], *, is_chat: bool, latency: bool) -> Manner:
        """Takes its own keywords out of `keywords`; the rest are parameters of the call. Raises ValueError."""
        inputs = keywords.pop("input_columns", None) or dataset.input_columns
        reference = keywords.pop("reference_column", None) or dataset.reference_column
        template = keywords.pop("prompt_template", None)
        first = next(iter(dataset), None)
        columns = first[0] if isinstance(first, list) and first else first
        if not inputs and isinstance(columns, Mapping) and "prompt" in columns:
            inputs = ["prompt"]
            reference = reference or ("response" if "response" in columns else None)
        if not inputs:
            raise ValueError("input_columns is not set: name the columns that are the question")
        if isinstance(first, list) and (len(inputs) != 1 or (len(first) > 1 and not reference)):
            raise ValueError(
                "conversations have one input column, and a reference column that holds the answers"
            )
        return cls(
            inputs=tuple([inputs] if isinstance(inputs, str) else inputs),
            reference=reference,
            template=getattr(template, "template", template),
            is_chat=is_chat,
            latency=latency,
            workers=int(keywords.pop("worker_num", None) or WORKERS),
            show_progress=keywords.pop("show_progress", None),
            parameters=keywords,
        )

    def question(self, row: Any) -> Question:
        """A row as it is asked. Raises ValueError for one that has no such columns."""
        if isinstance(row, list):
            return self._conversation(row)
        if not isinstance(row, Mapping):
            raise ValueError(f"a row is an object or a conversation, this is {type(row).__name__}")
        shown = {name: self._cell(row, name) for name in self.inputs}
        asked = self._filled(shown) if self.template else "\n".join(map(str, shown.values()))
        expected = text_of(row.get(self.reference)) if self.reference else ""
        return Question({**shown, "input_prompt": asked}, asked, expected)

    def _conversation(self, turns: Sequence[Mapping[str, Any]]) -> Question:
        name = self.inputs[0]
        *before, last = turns
        messages: list[dict[str, str]] = []
        for turn in before:
            messages.append({"role": "user", "content": str(self._cell(turn, name))})
            messages.append({"role": "assistant", "content": text_of(turn.get(self.reference or ""))})
        prompt = str(self._cell(last, name))
        expected = text_of(last.get(self.reference)) if self.reference else ""
        asked = self._filled({name: prompt}) if self.template else prompt
        if not self.is_chat:
            return Question({name: prompt, "input_prompt": asked}, asked, expected)
        messages.append({"role": "user", "content": asked})
        return Question({name: prompt, "input_chats": messages}, messages, expected)

    @staticmethod
    def _cell(row: Mapping[str, Any], name: str) -> Any:
        if name not in row:
            raise ValueError(f"a row has no column {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
        return row[name]

    def _filled(self, values: Mapping[str, Any]) -> str:
        """The template with the columns put in, once; what a value holds is not looked at again."""
        pieces = []
        for text, name, _, _ in Formatter().parse(str(self.template)):
            pieces.append(text)
            if name is not None:
                if name not in values:
                    raise ValueError(f"the prompt template names {name!r}, which is no input column")
                pieces.append(str(values[name]))
        return "".join(pieces)


def text_of(answer: Any) -> str:
    """The text of a reference: a text, or the first candidate of `[["…"]]`."""
    while isinstance(answer, list):
        answer = answer[0] if answer else ""
    return "" if answer is None else str(answer)


def client(model: str | None, endpoint: str | None, *, is_chat: bool, **keys: Any) -> Any:
    """Who is asked."""
    import qianfan.resources as resources

    kind = resources.ChatCompletion if is_chat else resources.Completion
    return kind(model=model, **keys) if endpoint is None else kind(endpoint=endpoint, **keys)


def ask_all(rows: Sequence[Any], who: Any, manner: Manner) -> list[dict[str, Any]]:
    """Ask every row, several at once, in threads; the result's rows in the same order."""
    from concurrent.futures import ThreadPoolExecutor

    questions = [manner.question(row) for row in rows]
    counter = itertools.count(1)
    with counting("asking", manner.show_progress) as shown, ThreadPoolExecutor(manner.workers) as pool:

        def work(question: Question) -> dict[str, Any]:
            answer = _asked(question, who, manner)
            shown(next(counter), len(questions))
            return answer

        found = list(pool.map(work, questions))
    _summed(manner, len(questions))
    return found


def _asked(question: Question, who: Any, manner: Manner) -> dict[str, Any]:
    given = question.messages if manner.is_chat else question.asked
    try:
        answer = who.do(given, **manner.parameters)
        pieces: Iterator[Any] = iter([answer]) if hasattr(answer, "body") else iter(answer)
        return _row(question, manner, *_told(list(pieces)))
    except QianfanError as error:
        return _unanswered(question, manner, error)


async def aask_all(rows: Sequence[Any], who: Any, manner: Manner) -> list[dict[str, Any]]:
    """The same for asyncio."""
    import asyncio

    questions = [manner.question(row) for row in rows]
    found: list[dict[str, Any]] = [{}] * len(questions)
    waiting = iter(enumerate(questions))
    counter = itertools.count(1)
    with counting("asking", manner.show_progress) as shown:

        async def work() -> None:
            for place, question in waiting:
                found[place] = await _aasked(question, who, manner)
                shown(next(counter), len(questions))

        await asyncio.gather(*(work() for _ in range(min(manner.workers, len(questions)))))
    _summed(manner, len(questions))
    return found


async def _aasked(question: Question, who: Any, manner: Manner) -> dict[str, Any]:
    given = question.messages if manner.is_chat else question.asked
    try:
        answer = await who.ado(given, **manner.parameters)
        pieces = [answer] if hasattr(answer, "body") else [piece async for piece in answer]
        return _row(question, manner, *_told(pieces))
    except QianfanError as error:
        return _unanswered(question, manner, error)


def _told(pieces: Sequence[Any]) -> tuple[str, float | None, float | None]:
    """The text of an answer, and the seconds to its first and to its last token."""
    text = "".join(str(piece["result"]) for piece in pieces)
    last = pieces[-1].statistic if pieces else {}
    first = pieces[0].statistic.get("first_token_latency") if len(pieces) > 1 else None
    return text, first, last.get("total_latency")


def _row(
    question: Question, manner: Manner, text: str, first: float | None, whole: float | None
) -> dict[str, Any]:
    row = {**question.shown, OUTPUT: text, EXPECTED: question.expected}
    if manner.latency:
        row |= {FIRST: first} if manner.parameters.get("stream") else {}
        row[COMPLETE] = whole
    return row


def _unanswered(question: Question, manner: Manner, error: QianfanError) -> dict[str, Any]:
    """The row of a question that has no answer; one reason is told once, not once a question."""
    why = error.error_msg or str(error)
    if why not in manner.failures:
        logger.warning("a question has no answer: %s", error)
    manner.failures.append(why)
    return _row(question, manner, "", None, None)


def _summed(manner: Manner, asked: int) -> None:
    if len(manner.failures) > 1:
        logger.warning("%d of %d questions have no answer", len(manner.failures), asked)


def of_platform(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows of a dataset of answers, a row for each turn: what the first of the versions said."""
    found = []
    for row in rows:
        for turn in row:
            answers = turn.get("model_response") or [{}]
            found.append(
                {
                    "prompt": turn["prompt"],
                    "input_prompt": turn["prompt"],
                    OUTPUT: str(answers[0].get("content") or ""),
                    EXPECTED: text_of(turn.get("response") or ""),
                }
            )
    return found
