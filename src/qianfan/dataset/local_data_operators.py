"""Filters for rows on this machine: `dataset.filter(LocalCheckSpecialCharactersFilter(filter_column="prompt"))`.

Each looks at a figure of one column, the same that the operators of `qianfan.dataset.operators` look at, and keeps
a row that is within its limit. Rows are objects: a conversation must be unpacked first; a row that is a text has
no columns and is looked at itself. text_language: ZH, or another ISO 639-1 code such as EN; it decides the defaults.

Words are found by the rules of `operators.words`: a Chinese character is a word. No model is needed for it; where
a path of a SentencePiece model is taken, it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

from qianfan.dataset.operators import figures, fluency
from qianfan.dataset.operators.words import words_of
from qianfan.dataset.texts import text_of
from qianfan.errors import InvalidArgumentError

CHINESE: Final = "ZH"
# Words that carry a sentence and nothing else; texts that have none of them are lists and noise.
STOPWORDS_ZH: Final = frozenset(
    "的了是在和有我不这他个们也就都而及与着或一你她它那要会能对于以为到说把被从但还"
)
_SENTENCE_END: Final = re.compile(r"[。！？!?；;…\n]+|\.(?=\s|$)")


class LocalFilter:
    """Keeps a row whose figure lies within its limits. Raises InvalidArgumentError for a column that is no name."""

    least: float = 0.0
    most: float = float("inf")

    def __init__(self, filter_column: str, text_language: str = CHINESE) -> None:
        if not isinstance(filter_column, str) or not filter_column:
            raise InvalidArgumentError("filter_column is empty", advice="name the column to look at")
        self.filter_column, self.text_language = filter_column, text_language.upper()

    @property
    def is_chinese(self) -> bool:
        """Whether the texts are Chinese."""
        return self.text_language == CHINESE

    def __call__(self, row: Any) -> bool:
        """Whether the row is kept. Raises ValueError for a conversation, and for a row without the column."""
        return self.least <= self.figure(self._text(row)) <= self.most

    def figure(self, text: str) -> float:
        """What is looked at."""
        raise NotImplementedError

    def _text(self, row: Any) -> str:
        if isinstance(row, str):
            return row
        if not isinstance(row, Mapping):
            raise ValueError("the rows are packed; call unpack() on the dataset first, and pack() afterwards")
        if self.filter_column not in row:
            raise ValueError(
                f"the row has no column {self.filter_column!r}; it has {', '.join(map(repr, row))}"
            )
        return text_of(row[self.filter_column])


class LocalCheckCharacterRepetitionFilter(LocalFilter):
    """Drop texts that repeat runs of characters; a run has 3 characters in Chinese, 10 elsewhere.

    character_repetition_max_cutoff: share of the most frequent runs, 0 to 1; default 0.2, elsewhere 0.106."""

    def __init__(
        self,
        filter_column: str,
        text_language: str = CHINESE,
        character_repetition_length: int | None = None,
        character_repetition_max_cutoff: float | None = None,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.length = character_repetition_length or figures.CHARACTER_GRAM[self.is_chinese]
        self.most = _or(character_repetition_max_cutoff, 0.2 if self.is_chinese else 0.106)

    def figure(self, text: str) -> float:
        """Share of the most frequent runs."""
        return figures.character_repetition(text, self.length)


class LocalCheckWordRepetitionFilter(LocalFilter):
    """Drop texts that repeat runs of words.

    word_repetition_length: words of a run, default 5. word_repetition_max_cutoff: share of repeated runs, 0 to 1,
    default 0.6."""

    def __init__(
        self,
        filter_column: str,
        sentence_piece_model_path: str | None = None,
        text_language: str = CHINESE,
        word_repetition_length: int = figures.WORD_GRAM,
        word_repetition_max_cutoff: float = 0.6,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.length, self.most = word_repetition_length, word_repetition_max_cutoff

    def figure(self, text: str) -> float:
        """Share of runs that come more than once."""
        return figures.word_repetition(text, self.length)


class LocalCheckWordNumberFilter(LocalFilter):
    """Drop texts with too few or too many words: default 1 to 10,000."""

    def __init__(
        self,
        filter_column: str,
        sentence_piece_model_path: str | None = None,
        text_language: str = CHINESE,
        word_number_min_cutoff: int = 1,
        word_number_max_cutoff: int = 10_000,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.least, self.most = word_number_min_cutoff, word_number_max_cutoff

    def figure(self, text: str) -> float:
        """How many words there are."""
        return figures.word_number(text)


class LocalCheckFlaggedWordsFilter(LocalFilter):
    """Drop texts with many words of a list.

    flagged_words: a list of your own; by default the short one that ships with the SDK, Chinese and English.
    flagged_words_max_cutoff: share of such words, 0 to 1, default 0.5."""

    def __init__(
        self,
        filter_column: str,
        sentence_piece_model_path: str | None = None,
        text_language: str = CHINESE,
        flagged_words_max_cutoff: float = 0.5,
        flagged_words: Collection[str] | None = None,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.most = flagged_words_max_cutoff
        self.words = None if flagged_words is None else _phrases(flagged_words)

    def figure(self, text: str) -> float:
        """Share of flagged words."""
        return figures.flagged_words(text) if self.words is None else figures.share_of(text, self.words)


class LocalCheckStopwordsFilter(LocalFilter):
    """Drop texts with hardly any of the words that carry sentences, such as 的 or "the": lists and noise.

    stopwords: a list of your own; there are lists for ZH, EN, FR, DE, ES, PT and IT. stopwords_min_cutoff: share of
    such words that a text must have, 0 to 1; default 0.05, elsewhere 0.1."""

    def __init__(
        self,
        filter_column: str,
        sentence_piece_model_path: str | None = None,
        text_language: str = CHINESE,
        stopwords_min_cutoff: float | None = None,
        stopwords: Collection[str] | None = None,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.least = _or(stopwords_min_cutoff, 0.05 if self.is_chinese else 0.1)
        lists = {CHINESE: STOPWORDS_ZH} | {code.upper(): words for code, words in fluency.FREQUENT.items()}
        if stopwords is None and self.text_language not in lists:
            raise InvalidArgumentError(
                f"there is no list of stopwords for {self.text_language}",
                advice=f"give stopwords=, or one of {', '.join(sorted(lists))}",
            )
        self.words = _phrases(lists[self.text_language] if stopwords is None else stopwords)

    def figure(self, text: str) -> float:
        """Share of stopwords."""
        return figures.share_of(text, self.words)


class LocalCheckSpecialCharactersFilter(LocalFilter):
    """Drop texts of marks and symbols.

    special_characters_max_cutoff: share of what is no letter, digit or space, 0 to 1; default 0.3, elsewhere 0.4."""

    def __init__(
        self,
        filter_column: str,
        text_language: str = CHINESE,
        special_characters_max_cutoff: float | None = None,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.most = _or(special_characters_max_cutoff, 0.3 if self.is_chinese else 0.4)

    def figure(self, text: str) -> float:
        """Share of special characters."""
        return figures.special_characters(text)


class LocalCheckEachSentenceIsLongEnoughFilter(LocalFilter):
    """Drop texts of fragments.

    short_sentence_length: characters of a sentence that is too short, default 5. short_sentence_max_cutoff: share
    of such sentences, 0 to 1, default 0.6."""

    short: ClassVar[int] = 5

    def __init__(
        self,
        filter_column: str,
        text_language: str = CHINESE,
        short_sentence_max_cutoff: float = 0.6,
        short_sentence_length: int = short,
    ) -> None:
        super().__init__(filter_column, text_language)
        self.most, self.length = short_sentence_max_cutoff, short_sentence_length

    def figure(self, text: str) -> float:
        """Share of short sentences; 0 for a text without any."""
        sentences = [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]
        return sum(len(part) <= self.length for part in sentences) / max(1, len(sentences))


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _phrases(words: Collection[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words_of(word.lower())) for word in words)
