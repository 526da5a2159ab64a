"""How much a text is like plain language: a language and its probability, and a perplexity.

Both come from something small that ships with the SDK: lists of frequent words, and pages of plain Chinese and
English of our own (`plain/`), of which character statistics are made at first use. They tell language from noise,
lists, code and keyboard mash; they do not judge style.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final

from .words import HAN, is_chinese

_SCRIPTS: Final = {
    "zh": re.compile(rf"[{HAN}]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\u1100-\u11ff\uac00-\ud7af]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "he": re.compile("[\u0590-\u05ff]"),
}
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]")  # without × and ÷
_LATIN_WORD: Final = re.compile("[a-z\u00c0-\u024f]+(?:'[a-z]+)?")
_LISTS: Final = {
    "en": "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so up said what "
    "its about than into them can only other time new some could these two may first then do any like my now over "
    "how your our me after most also very i please answer",
    "fr": "le la les de des du un une et est en que qui dans pour pas sur au aux avec ce cette il elle nous vous ils "
    "sont par plus mais ou où se sa son ses leur ne été être avoir fait comme tout si bien je on très peut ont",
    "de": "der die das und ist in den von zu mit sich des auf für nicht ein eine einen dem als auch es an werden aus er "
    "hat dass sie nach wird bei noch wie einem über einer um am sind war wir ich kann aber oder nur vor zur bis mehr",
    "es": "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque "
    "esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos ser es son fue tiene puede",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua "
    "ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo são",
    "it": "di e il la che è un in per una del sono con non da le si i dei al come gli alla più ma anche lo nel della ha "
    "questo se o ci su essere molto tutto loro quando dopo due fa stato può ancora cui io noi",
}
FREQUENT: Final = {language: frozenset(words.split()) for language, words in _LISTS.items()}
USUAL: Final = 0.35  # share of a plain text's words that stand in its language's list
LATIN_CHARACTERS: Final = 3  # counted as one of Chinese: a perplexity then means about the same in both


def language(text: str) -> tuple[str, float]:
    """(ISO 639-1 code, probability 0 to 1) of a text; ("", 0.0) for one without letters."""
    letters = sum(mark.isalpha() for mark in text)
    if not letters:
        return "", 0.0
    counts = {code: len(script.findall(text)) for code, script in _SCRIPTS.items()}
    if counts["ja"] and counts["zh"] + counts["ja"] > 0:  # kana: the Chinese characters are Japanese
        counts["ja"] += counts["zh"] if counts["ja"] * 10 > counts["zh"] else 0
    code = max(counts, key=lambda one: counts[one])
    latin = len(_LATIN.findall(text))
    if latin <= counts[code]:
        return code, min(1.0, counts[code] / letters)
    words = _LATIN_WORD.findall(text.lower())
    shares = {
        name: sum(word in frequent for word in words) / max(1, len(words))
        for name, frequent in FREQUENT.items()
    }
    best, other = sorted(shares, key=lambda one: shares[one], reverse=True)[:2]
    sure = min(1.0, shares[best] / USUAL)
    rivalled = shares[other] / shares[best] if shares[best] else 1.0
    return best, round(latin / letters * sure * (1 - 0.5 * rivalled), 4)


@dataclass
class _Statistics:
    """Counts of runs of one, two and three characters."""

    runs: tuple[Counter[str], Counter[str], Counter[str]] = field(
        default_factory=lambda: (Counter(), Counter(), Counter())
    )
    alphabet: int = 1  # characters that may come
    total: int = 0  # characters read

    def read(self, text: str) -> None:
        self.total += len(text)
        for length, counts in enumerate(self.runs, 1):
            counts.update(text[at : at + length] for at in range(len(text) - length + 1))

    def log_probability(self, before: str, mark: str) -> float:
        """Of a character after the two before it: what was seen of three, two and one, and of anything at all."""
        one, two, three = self.runs
        share = 0.05 / self.alphabet + 0.25 * one[mark] / max(1, self.total)
        if before:
            share += 0.3 * two[before[-1] + mark] / max(1, one[before[-1]])
        if len(before) > 1:
            share += 0.4 * three[before[-2:] + mark] / max(1, two[before[-2:]])
        return math.log(share)


ALPHABETS: Final = {"zh": 6000, "en": 96}


@cache
def _statistics(name: str) -> _Statistics:
    found = _Statistics(alphabet=ALPHABETS[name])
    found.read(
        _normal(resources.files(__package__).joinpath(f"plain/{name}.txt").read_text(encoding="utf-8"))
    )
    return found


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.lower())


def perplexity(text: str) -> float:
    """How surprising a text is, 1 or more: low for plain Chinese or English, thousands for noise; 0 for none at all.

    It is per Chinese character, or per three characters of another text."""
    text = _normal(text).strip()
    if not text:
        return 0.0
    chinese = is_chinese(text)
    statistics = _statistics("zh" if chinese else "en")
    total = sum(statistics.log_probability(text[max(0, at - 2) : at], mark) for at, mark in enumerate(text))
    power = 1 if chinese else LATIN_CHARACTERS
    return math.exp(min(700.0, -total / len(text) * power))
