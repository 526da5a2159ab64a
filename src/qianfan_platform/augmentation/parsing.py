"""What a model said, read as samples: one text, a numbered list, or JSON, with whatever it wrote around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

MOST_READ: Final = 50  # samples of one try
LONGEST: Final = 4_000  # characters of a text; more is noise

_FENCE: Final = re.compile(r"\A\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_MARK: Final = (
    r"(?:(?:sample|example|样本|示例|例子?|第)\s*)?\(?\d{1,3}\s*(?:[个条]\s*(?:样本)?\s*)?[.):、．：）]"
)
_ITEM: Final = re.compile(rf"^[ \t>*#]*(?:{_MARK}|[-•*](?=\s))[*\s]*", re.IGNORECASE | re.MULTILINE)
_FIRST: Final = re.compile(
    rf"\A[\s>*#]*(?:{_MARK}|(?:new\s+)?(?:sample|example|样本)\s*[:：])[*\s]*", re.IGNORECASE
)
_INTRODUCTION: Final = re.compile(
    r"\A[^\n]{0,160}?\b(?:here|sure|sample|samples|below|following|certainly)\b[^\n]{0,160}[:：]\s*\n|"
    r"\A[^\n]{0,80}(?:样本|如下|以下)[^\n]{0,80}[:：]\s*\n",
    re.IGNORECASE,
)
_PAIR: Final = re.compile(
    r"\A(?:q|question|prompt|instruction|input|user|问题?|提问)\s*[:：]\s*(.+?)\s*\n\s*"
    r"(?:a|answer|response|output|assistant|答案?|回答)\s*[:：]\s*(.+)\Z",
    re.IGNORECASE | re.DOTALL,
)
_QUOTES: Final = {'"': '"', "“": "”", "「": "」", "'": "'", "`": "`", "『": "』"}
_ASKED: Final = ("prompt", "instruction", "question", "query", "input", "user", "sample", "text", "content")
_ANSWERED: Final = ("response", "output", "answer", "completion", "assistant")


@dataclass(frozen=True)
class Candidate:
    """A sample as it was read. answer: "" when the model gave none beside it."""

    prompt: str
    answer: str = ""


def candidates(said: str, *, cut: bool = False) -> list[Candidate]:
    """The samples in what was said, in order. cut: the end is missing, so the last of several is left out."""
    fenced = _FENCE.match(said)
    text = (fenced[1] if fenced else said).strip()
    found = _of_json(text)
    if found is None:
        items = _items(text)
        found = [_candidate(item) for item in (items[:-1] if cut and len(items) > 1 else items)]
    return [one for one in found if one.prompt][:MOST_READ]


def _items(text: str) -> list[str]:
    """The items of a numbered list; a text that only holds a list somewhere is one item."""
    introduction = _INTRODUCTION.match(text)
    rest = text[introduction.end() :].lstrip("\n") if introduction else text
    marks = list(_ITEM.finditer(rest))
    if len(marks) >= 2 and not rest[: marks[0].start()].strip():
        ends = [mark.start() for mark in marks[1:]] + [len(rest)]
        return [rest[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return [rest.strip() or text]


def _candidate(item: str) -> Candidate:
    item = _FIRST.sub("", item.strip(), count=1).strip()
    pair = _PAIR.match(item)
    if pair:
        return Candidate(_bare(pair[1]), _bare(pair[2]))
    return Candidate(_bare(item))


def _bare(text: str) -> str:
    """Without quotation marks, or stars, around all of it."""
    text = text.strip()
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def _of_json(text: str) -> list[Candidate] | None:
    """The samples of a JSON answer; None when it is not one, or holds no samples: then it is a text."""
    begin = min((at for at in (text.find("["), text.find("{")) if at >= 0), default=-1)
    if begin < 0:
        return None
    for part in (text, text[begin:] if _INTRODUCTION.match(text) else ""):
        value = _value(part.strip())
        found = list(_read(value)) if value is not None else []
        if found:
            return found
    return None


def _value(text: str) -> Any:
    """One JSON value, or the values of JSON lines as a list; None for anything else."""
    if not text.startswith(("[", "{")):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return [orjson.loads(line) for line in text.splitlines() if line.strip()]
    except orjson.JSONDecodeError:
        return None


def _read(value: Any) -> Iterator[Candidate]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield Candidate(item.strip())
            else:
                yield from _read(item)
    elif isinstance(value, Mapping):
        asked = next((value[key] for key in _ASKED if isinstance(value.get(key), str)), None)
        if asked is not None:
            yield Candidate(asked.strip(), _text(next((value[k] for k in _ANSWERED if k in value), "")))
        else:
            for inner in value.values():
                if isinstance(inner, list):
                    yield from _read(inner)


def _text(value: Any) -> str:
    """An answer as a text: itself, or the first of the lists that a record has it in."""
    while isinstance(value, list) and value:
        value = value[0]
    return value.strip() if isinstance(value, str) else ""
