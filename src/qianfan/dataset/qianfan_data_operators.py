"""Operators of the platform's cleaning tasks, as objects: `dataset.online_data_process([RemoveEmoji(), …])`.

Each stands for one of `qianfan.dataset.operators.CATALOGUE`, where ranges, defaults and examples are. They work on
this machine as well: `operator(text)` gives the changed text, or None for a text that is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from qianfan.dataset.operators import STAGES, BadOperator, Stage, Work, find
from qianfan.errors import InvalidArgumentError


class QianfanOperator:
    """An operator with its arguments. Raises InvalidArgumentError for one outside its range."""

    operator_name: ClassVar[str]

    def __init__(self, **arguments: float) -> None:
        operator = find(self.operator_name)
        try:
            self._work = Work(operator, operator.checked(arguments))
        except BadOperator as bad:
            raise InvalidArgumentError(str(bad), advice=bad.advice) from None
        self.arguments = arguments

    @property
    def operator_type(self) -> Stage:
        """Its stage: clean, filter, deduplication or desensitization."""
        return self._work.operator.stage

    def __call__(self, text: str) -> str | None:
        """The text as it goes on, None when it is dropped. Deduplication remembers what it has seen."""
        return self._work.do(text)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value:g}" for name, value in self.arguments.items())
        return f"{type(self).__name__}({given})"

    def to_dict(self) -> dict[str, Any]:
        """As the wire has it: {"name", "args"}."""
        return {"name": self.operator_name, "args": dict(self.arguments)}


def stages_of(operators: Sequence[QianfanOperator]) -> Mapping[str, list[dict[str, Any]]]:
    """What the wire calls operationsV2: all four stages, the empty ones too."""
    found: dict[str, list[dict[str, Any]]] = {stage: [] for stage in STAGES}
    for operator in operators:
        if not isinstance(operator, QianfanOperator):
            raise InvalidArgumentError(
                f"{operator!r} is no operator", advice="give such as qianfan_data_operators.RemoveEmoji()"
            )
        found[operator.operator_type].append(operator.to_dict())
    return found


class RemoveEmoji(QianfanOperator):
    """Drop emoji."""

    operator_name = "remove_emoji"


class RemoveInvisibleCharacter(QianfanOperator):
    """Drop control characters, directional marks and zero width spaces."""

    operator_name = "remove_invisible_character"


class ReplaceUniformWhitespace(QianfanOperator):
    """Every Unicode space becomes a plain one."""

    operator_name = "replace_uniform_whitespace"


class RemoveNonMeaningCharacters(QianfanOperator):
    """Drop mojibake and code points that mean nothing."""

    operator_name = "remove_non_meaning_characters"


class ReplaceTraditionalChineseToSimplified(QianfanOperator):
    """Traditional Chinese becomes simplified."""

    operator_name = "replace_traditional_chinese_to_simplified"


class RemoveWebIdentifiers(QianfanOperator):
    """Drop HTML tags, comments, scripts and styles."""

    operator_name = "remove_web_identifiers"


class FilterCheckNumberWords(QianfanOperator):
    """Drop a text with too few or too many words."""

    operator_name = "filter_check_number_words"

    def __init__(self, number_words_min_cutoff: int = 1, number_words_max_cutoff: int = 10000) -> None:
        super().__init__(
            number_words_min_cutoff=number_words_min_cutoff, number_words_max_cutoff=number_words_max_cutoff
        )


class FilterCheckWordRepetitionRemoval(QianfanOperator):
    """Drop a text that repeats runs of words."""

    operator_name = "filter_check_word_repetition_removal"

    def __init__(self, word_repetition_max_cutoff: float) -> None:
        super().__init__(word_repetition_max_cutoff=word_repetition_max_cutoff)


class FilterCheckCharacterRepetitionRemoval(QianfanOperator):
    """Drop a text that repeats runs of characters."""

    operator_name = "filter_check_character_repetition_removal"

    def __init__(self, default_character_repetition_max_cutoff: float) -> None:
        super().__init__(default_character_repetition_max_cutoff=default_character_repetition_max_cutoff)


class FilterCheckSpecialCharacters(QianfanOperator):
    """Drop a text of marks and symbols."""

    operator_name = "filter_check_special_characters"

    def __init__(self, special_characters_max_cutoff: float) -> None:
        super().__init__(special_characters_max_cutoff=special_characters_max_cutoff)


class FilterCheckFlaggedWords(QianfanOperator):
    """Drop a text with many flagged words."""

    operator_name = "filter_check_flagged_words"

    def __init__(self, flagged_words_max_cutoff: float) -> None:
        super().__init__(flagged_words_max_cutoff=flagged_words_max_cutoff)


class FilterCheckLangId(QianfanOperator):
    """Drop a text that is in no language for sure."""

    operator_name = "filter_check_lang_id"

    def __init__(self, lang_id_min_cutoff: float) -> None:
        super().__init__(lang_id_min_cutoff=lang_id_min_cutoff)


class FilterCheckPerplexity(QianfanOperator):
    """Drop a text that is unlike plain Chinese or English."""

    operator_name = "filter_check_perplexity"

    def __init__(self, perplexity_max_cutoff: float) -> None:
        super().__init__(perplexity_max_cutoff=perplexity_max_cutoff)


class DeduplicationSimhash(QianfanOperator):
    """Of texts that are nearly the same keep the first."""

    operator_name = "deduplication_simhash"

    def __init__(self, distance: float) -> None:
        super().__init__(distance=distance)


class ReplaceEmails(QianfanOperator):
    """Mail addresses become <EMAIL>."""

    operator_name = "replace_emails"


class ReplaceIp(QianfanOperator):
    """IP addresses become <IP>."""

    operator_name = "replace_ip"


class ReplaceIdentifier(QianfanOperator):
    """Long numbers and keys become <ID>."""

    operator_name = "replace_identifier"
