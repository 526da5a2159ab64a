"""The records that a model is shown: read once, drawn anew for each try by a seeded draw."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

MOST_RECORDS: Final = 20_000  # of a dataset that are remembered; of more, so many are drawn
MOST_SHOWN: Final = 2_000  # characters of a text that is shown: a text cut short would teach to stop there
WORDS: Final = 2  # that the new sample is to have
_COMMON: Final = 0.3  # a word of more records than this says nothing about one of them
_CJK: Final = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD: Final = re.compile(rf"[{_CJK}]{{2,}}|(?:(?![{_CJK}])[^\W\d_]){{4,}}")
_RUN: Final = 4  # characters of Chinese that are taken for a word at most


@dataclass(frozen=True)
class Seed:
    """The first question of a record. line: from 1. answer: "" when there is none."""

    line: int
    prompt: str
    answer: str = ""
    system: str = ""

    @property
    def can_be_shown(self) -> bool:
        return len(self.prompt) <= MOST_SHOWN and len(self.answer) <= MOST_SHOWN


@dataclass(frozen=True)
class Drawn:
    """What one try shows. hints: for each of `shown` words that it has. words: that the new one is to have."""

    shown: tuple[Seed, ...]
    hints: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    seed: int  # of the model's own draws


def read(path: Path, key: str) -> list[Seed]:
    """The records of a content in its order; of more than MOST_RECORDS a draw that `key` decides."""
    draw = random.Random(f"records {key}")
    found: list[Seed] = []
    for at, seed in enumerate(_seeds(path)):
        if len(found) < MOST_RECORDS:
            found.append(seed)
        elif (place := draw.randrange(at + 1)) < MOST_RECORDS:
            found[place] = seed
    return sorted(found, key=lambda seed: seed.line)


def _seeds(path: Path) -> Iterator[Seed]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row: Any = orjson.loads(line)
            turn = row[0] if isinstance(row, list) and row else {}
            prompt = str(turn.get("prompt") or "")
            if prompt.strip():
                yield Seed(number, prompt, _answer(turn), str(turn.get("system") or ""))


def _answer(turn: dict[str, Any]) -> str:
    candidates = turn.get("response") or []
    return str(candidates[0][0]) if candidates and candidates[0] else ""


class Pool:
    """The seeds of a task. key: decides every draw; the same key draws the same."""

    def __init__(self, seeds: Sequence[Seed], key: str) -> None:
        self.seeds = [seed for seed in seeds if seed.can_be_shown]
        self._key = key
        found = Counter(word for seed in self.seeds for word in set(_words(seed.prompt)))
        self._common = {word for word, count in found.items() if count > max(2, _COMMON * len(self.seeds))}
        chinese = sum(bool(re.search(f"[{_CJK}]", seed.prompt)) for seed in self.seeds)
        self.is_chinese = chinese * 2 > len(self.seeds)
        systems = {seed.system for seed in self.seeds}
        self.system = systems.pop() if len(systems) == 1 else ""  # new records have it as well
        self.longest_prompt = max((len(seed.prompt) for seed in self.seeds), default=0)
        self.longest_answer = max((len(seed.answer) for seed in self.seeds), default=0)

    def draw(self, number: int, few: int) -> Drawn:
        """What try `number` shows: `few` seeds, and words of two others if there are so many."""
        draw = random.Random(f"{self._key} {number}")
        taken = draw.sample(self.seeds, min(len(self.seeds), few + WORDS))
        shown, others = taken[:few], taken[few:] or taken
        hints = tuple(tuple(self._chosen(seed, draw, WORDS)) for seed in shown)
        words = list(dict.fromkeys(word for seed in others for word in self._chosen(seed, draw, 1)))
        return Drawn(tuple(shown), hints, tuple(words[:WORDS]), draw.randrange(1, 2**31))

    def _chosen(self, seed: Seed, draw: random.Random, count: int) -> list[str]:
        found = list(dict.fromkeys(_words(seed.prompt)))
        telling = [word for word in found if word not in self._common] or found
        return [_part(word, draw) for word in draw.sample(telling, min(count, len(telling)))]


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _part(word: str, draw: random.Random) -> str:
    """The word; of a run of Chinese, which has no spaces, a few characters."""
    if not "\u3400" <= word[0] <= "\u9fff" or len(word) <= _RUN:
        return word
    size = draw.randint(2, _RUN)
    start = draw.randrange(len(word) - size + 1)
    return word[start : start + size]
