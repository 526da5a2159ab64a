"""Questions so plain that no model is needed to pick the tool: bare arithmetic, and what time it is.

A small model is bad at both: it neither picks the tool nor copies the number. Whatever is not plain beyond
doubt goes to the model, with the tools offered.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from . import clock

LONGEST: Final = 120  # characters of a plain question

_ASKS: Final = re.compile(
    r"\b(?:please|can you|could you|tell me|what is|what's|whats|how much is|calculate|compute|work out|"
    r"evaluate|the (?:value|result) of|equals?)\b|请问|请|帮我|计算一下|计算|算一下|算算|算出|求|"
    r"等于多少|等于几|得多少|是多少|等于|多少|结果"
)
_SUM: Final = re.compile(
    r"(?=.*\d)(?=.*(?:[-+*/^%×÷]|sqrt|round|log|sin|cos|tan|exp|max|min|abs))[-+*/^%().,\d\s×÷a-z]+"
)
_NUMBERS: Final = re.compile(r"\d+(?:[-/]\d+){2}|\d{3,}-\d{3,}")  # dates and telephone numbers
_SURE: Final = re.compile(r"[*+^×÷(]")  # without a question around it, 24/7 is no sum
_WORDS: Final = frozenset(
    [
        "sqrt",
        "abs",
        "round",
        "floor",
        "ceil",
        "min",
        "max",
        "sin",
        "cos",
        "tan",
        "log",
        "log10",
        "log2",
        "ln",
        "exp",
        "pi",
        "e",
    ]
)
_TIME: Final = re.compile(
    r"\b(?:what time is it|what(?:'s| is) the (?:current |local )?(?:time|date)|the (?:current |local )?(?:time|date)|"
    r"what(?:'s| is) today'?s date|what day (?:is it|is today)|what(?:'s| is) the day|what day|current (?:time|date)|"
    r"what is today|today'?s date)\b|"
    r"(?:现在|当前|此刻|目前)?(?:是)?(?:几点钟?|什么时间|什么时候了|时间是?多少)了?|(?:现在|当前|此刻)(?:的|是)?时间|"
    r"今天(?:是|的)?(?:几号|几月几[日号]|星期几|周几|礼拜几|什么日子|多少号|日期)"
)
_FILLER: Final = re.compile(
    r"\b(?:please|can you|could you|tell me|right|now|in|at|of|it|is|today|currently|the|there|what)\b|"
    r"请问|请|告诉我|现在|今天|的|是|在|了|呢|吗|啊"
)
_CHINESE: Final = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Plain:
    """What a plain question asks for: a tool and its one argument."""

    tool: str  # calculator or clock
    argument: str  # an expression, or a time zone; "" is the server's own


def is_chinese(text: str) -> bool:
    """Whether to answer in Chinese."""
    return bool(_CHINESE.search(text))


def plain(question: str) -> Plain | None:
    """The tool that answers a plain question; None when it is not plain."""
    text = unicodedata.normalize("NFKC", question[: LONGEST + 1]).strip().lower()
    if len(text) > LONGEST:
        return None
    return _sum(text) or _time(text)


def _sum(text: str) -> Plain | None:
    rest = _ASKS.sub(" ", text).strip(" =?？。.!！,，:：、\n")
    words = re.findall(r"[a-z]+\d*", rest)
    if _NUMBERS.fullmatch(rest) or (rest == text and not _SURE.search(rest)):
        return None
    if _SUM.fullmatch(rest) and all(word in _WORDS for word in words):
        return Plain("calculator", rest)
    return None


def _time(text: str) -> Plain | None:
    found = _TIME.search(text)
    if found is None:
        return None
    rest = text[: found.start()] + " " + text[found.end() :]
    zone = clock.zone_named(rest)
    rest = re.sub(r"[\W_]+", " ", _FILLER.sub(" ", clock.without_cities(rest)))
    return None if rest.strip() else Plain("clock", zone)


def sentence(asked: Plain, output: str, chinese: bool) -> str:
    """The answer to a plain question."""
    if asked.tool == "calculator":
        return f"{asked.argument} = {output}"
    return f"现在是 {output}。" if chinese else f"It is {output}."
