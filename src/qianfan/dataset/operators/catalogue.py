"""The operators by name: their stage, their arguments with ranges and defaults, what they do, and how."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from . import clean, duplicates, figures, fluency, mask

Stage = Literal["clean", "filter", "deduplication", "desensitization"]
STAGES: Final[tuple[Stage, ...]] = ("clean", "filter", "deduplication", "desensitization")


class BadOperator(ValueError):
    """An operator that is not known, or an argument that it does not take. `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        self.advice = advice
        super().__init__(message)


@dataclass(frozen=True)
class Argument:
    """A number: its range, inclusive, and what it is when not given."""

    name: str
    low: float
    high: float
    default: float
    about: str


@dataclass(frozen=True)
class Operator:
    """One operator. before and after: what it does to an example; after is "" where the example is dropped.

    change: of a text, for clean and desensitization. figure and keeps: of a text, for filters."""

    name: str
    stage: Stage
    about: str
    before: str
    after: str
    arguments: tuple[Argument, ...] = ()
    change: Callable[[str], str] | None = None
    figure: Callable[[str], float] | None = None
    keeps: Callable[[float, Mapping[str, float]], bool] | None = None

    def checked(self, given: Mapping[str, Any]) -> dict[str, float]:
        """The arguments with defaults. Raises BadOperator naming the one that is wrong."""
        known = {argument.name: argument for argument in self.arguments}
        for name in given:
            if name not in known:
                takes = ", ".join(known) or "no arguments"
                raise BadOperator(f"the operator {self.name} has no argument {name!r}", f"it takes {takes}")
        found: dict[str, float] = {}
        for name, argument in known.items():
            value = given.get(name, argument.default)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadOperator(f"{self.name}.{name} is {value!r}", "it must be a number")
            if not argument.low <= value <= argument.high:
                raise BadOperator(
                    f"{self.name}.{name} is {value:g}",
                    f"it must be between {argument.low:g} and {argument.high:g}",
                )
            found[name] = float(value)
        return found


def _most(name: str, default: float, about: str, high: float = 1) -> tuple[Argument, ...]:
    return (Argument(name, 0, high, default, about),)


def _at_most(name: str) -> Callable[[float, Mapping[str, float]], bool]:
    return lambda figure, given: figure <= given[name]


_ALL: Final = (
    Operator("remove_emoji", "clean", "drop emoji", "好的👍🏽 ok 😀", "好的 ok ", change=clean.remove_emoji),
    Operator(
        "remove_invisible_character",
        "clean",
        "drop control characters, directional marks and zero width spaces",
        "a\u200bb\x07c",
        "abc",
        change=clean.remove_invisible_character,
    ),
    Operator(
        "replace_uniform_whitespace",
        "clean",
        "every Unicode space becomes a plain one",
        "你好\u3000世界\u00a0!",
        "你好 世界 !",
        change=clean.replace_uniform_whitespace,
    ),
    Operator(
        "remove_non_meaning_characters",
        "clean",
        "drop mojibake and code points that mean nothing",
        "价格锟斤拷 \ufffd100\ue000元",
        "价格 100元",
        change=clean.remove_non_meaning_characters,
    ),
    Operator(
        "replace_traditional_chinese_to_simplified",
        "clean",
        "traditional Chinese becomes simplified",
        "這裡的電腦",
        "这里的电脑",
        change=clean.replace_traditional_chinese_to_simplified,
    ),
    Operator(
        "remove_web_identifiers",
        "clean",
        "drop HTML tags, comments, scripts and styles",
        "<p>Tea &amp; milk<br/></p><script>x()</script>",
        "Tea & milk",
        change=clean.remove_web_identifiers,
    ),
    Operator(
        "filter_check_number_words",
        "filter",
        "drop a text with too few or too many words",
        "Hi",
        "",
        (
            Argument("number_words_min_cutoff", 1, 1_000_000, 1, "fewest words"),
            Argument("number_words_max_cutoff", 1, 1_000_000, 10_000, "most words"),
        ),
        figure=figures.word_number,
        keeps=lambda figure, given: (
            given["number_words_min_cutoff"] <= figure <= given["number_words_max_cutoff"]
        ),
    ),
    Operator(
        "filter_check_word_repetition_removal",
        "filter",
        "drop a text that repeats runs of words",
        "buy it now and save buy it now and save buy it now and save",
        "",
        _most("word_repetition_max_cutoff", 0.6, "share of repeated runs of five words"),
        figure=figures.word_repetition,
        keeps=_at_most("word_repetition_max_cutoff"),
    ),
    Operator(
        "filter_check_character_repetition_removal",
        "filter",
        "drop a text that repeats runs of characters",
        "哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈哈",
        "",
        _most("default_character_repetition_max_cutoff", 0.2, "share of the most frequent runs"),
        figure=figures.character_repetition,
        keeps=_at_most("default_character_repetition_max_cutoff"),
    ),
    Operator(
        "filter_check_special_characters",
        "filter",
        "drop a text of marks and symbols",
        "#### ==== $$$$ ok",
        "",
        _most(
            "special_characters_max_cutoff", 0.3, "share of characters that are no letters, digits or spaces"
        ),
        figure=figures.special_characters,
        keeps=_at_most("special_characters_max_cutoff"),
    ),
    Operator(
        "filter_check_flagged_words",
        "filter",
        "drop a text with many words of the list of flagged words",
        "casino jackpot casino 博彩",
        "",
        _most("flagged_words_max_cutoff", 0.5, "share of flagged words"),
        figure=figures.flagged_words,
        keeps=_at_most("flagged_words_max_cutoff"),
    ),
    Operator(
        "filter_check_lang_id",
        "filter",
        "drop a text that is in no language for sure",
        "xq zvkj wpqr lmnbt ghjkq",
        "",
        (Argument("lang_id_min_cutoff", 0, 1, 0.5, "least probability of its language"),),
        figure=lambda text: fluency.language(text)[1],
        keeps=lambda figure, given: figure >= given["lang_id_min_cutoff"],
    ),
    Operator(
        "filter_check_perplexity",
        "filter",
        "drop a text that is unlike plain Chinese or English",
        "货号价格库存颜色尺码蓝红黄绿紫橙黑白灰",
        "",
        _most("perplexity_max_cutoff", 1110, "highest perplexity", 5000),
        figure=fluency.perplexity,
        keeps=_at_most("perplexity_max_cutoff"),
    ),
    Operator(
        "deduplication_simhash",
        "deduplication",
        "of texts that are nearly the same keep the first",
        "the second of two that differ in a word",
        "",
        (
            Argument(
                "distance", duplicates.NEAREST, duplicates.FARTHEST, 4, "bits of 64 in which they may differ"
            ),
        ),
    ),
    Operator(
        "replace_emails",
        "desensitization",
        "mail addresses become <EMAIL>",
        "写信到 li.lei@example.com 吧",
        "写信到 <EMAIL> 吧",
        change=mask.replace_emails,
    ),
    Operator(
        "replace_ip",
        "desensitization",
        "IPv4 and IPv6 addresses become <IP>",
        "ping 10.0.0.7 or fe80::1",
        "ping <IP> or <IP>",
        change=mask.replace_ip,
    ),
    Operator(
        "replace_identifier",
        "desensitization",
        "long numbers and keys become <ID>; years and small numbers stay",
        "2024年 13812345678 买了3个",
        "2024年 <ID> 买了3个",
        change=mask.replace_identifier,
    ),
)
CATALOGUE: Final[Mapping[str, Operator]] = {operator.name: operator for operator in _ALL}
"""Every operator by its name on the wire, in the order of the stages."""


def find(name: str, stage: str | None = None) -> Operator:
    """The operator of this name. Raises BadOperator when there is none, or when it belongs to another stage."""
    operator = CATALOGUE.get(name)
    if operator is None:
        near = difflib.get_close_matches(name[:60], CATALOGUE, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise BadOperator(f"there is no operator {name[:60]!r}", f"{meant}known are {', '.join(CATALOGUE)}")
    if stage is not None and operator.stage != stage:
        raise BadOperator(
            f"the operator {name} belongs to the stage {operator.stage}, not to {stage[:40]!r}",
            "move it to its stage",
        )
    return operator
