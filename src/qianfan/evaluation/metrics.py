"""How near an answer is to its reference. Pure functions over texts, used by both sides; all scores are 0 to 1.

Chinese is cut into characters; with `words=True` into words, by jieba, which must be installed for that.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Final

ORDER: Final = 4  # of the longest n-grams in BLEU
MAX_LCS: Final = 4_000  # tokens of a text that ROUGE-L reads; its work grows with the product of both lengths
SCORES: Final = (
    "exactMatch", "accuracy", "f1Score", "bleu4", "rouge_1", "rouge_2", "rouge_l", "similarity",
)  # fmt: skip  # of an answer against its reference, in the order in which they are shown

_CJK: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\U00020000-\U0002ebef"
_TOKEN: Final = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+|[^\w\s]")
_CHINESE: Final = re.compile(rf"[{_CJK}]+")
_FENCED: Final = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\s*\Z", re.DOTALL | re.IGNORECASE)


def tokens(text: str, *, words: bool = False, stop_words: Collection[str] = ()) -> list[str]:
    """Tokens in lower case: each Chinese character, each run of letters and digits, each punctuation mark.

    words: Chinese by word; raises ImportError without jieba. stop_words: tokens that are left out."""
    folded = unicodedata.normalize("NFKC", text).lower()
    if words:
        cut = _cutter()
        folded = _CHINESE.sub(lambda found: " " + " ".join(cut(found[0])) + " ", folded)
        found = [piece for part in folded.split() for piece in _pieces(part)]
    else:
        found = _TOKEN.findall(folded)
    return [token for token in found if token not in stop_words] if stop_words else found


def _pieces(part: str) -> list[str]:
    return [part] if _CHINESE.fullmatch(part) else _TOKEN.findall(part)


@cache
def _cutter() -> Callable[[str], list[str]]:
    try:
        import jieba
    except ImportError:
        raise ImportError("Chinese by word needs jieba: pip install jieba") from None
    jieba.setLogLevel(60)
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut


def has_words() -> bool:
    """Whether Chinese can be cut into words here."""
    try:
        _cutter()
    except ImportError:
        return False
    return True


def counted(text: str) -> list[str]:
    """The tokens of a text that ROUGE counts: all but punctuation."""
    return _content(tokens(text))


def _content(found: Sequence[str]) -> list[str]:
    """Without punctuation."""
    return [token for token in found if token[0].isalnum() or token[0] == "_"]


def exact_match(answer: str, reference: str) -> float:
    """1 when both are the same text, apart from space at the ends."""
    return float(answer.strip() == reference.strip())


def accuracy(answer: str, reference: str) -> float:
    """1 when both say the same: case, width, space and punctuation do not count."""
    left, right = _content(tokens(answer)), _content(tokens(reference))
    if not left and not right:  # nothing but punctuation
        return exact_match(answer, reference)
    return float(left == right)


def f1(answer: str, reference: str, *, words: bool = False, stop_words: Collection[str] = ()) -> float:
    """F1 of the tokens that both have, each as often as the one that has it less often; SQuAD's measure."""
    left = Counter(_content(tokens(answer, words=words, stop_words=stop_words)))
    right = Counter(_content(tokens(reference, words=words, stop_words=stop_words)))
    return _f(sum((left & right).values()), left.total(), right.total())


def _f(common: int, left: int, right: int) -> float:
    if not left or not right:
        return float(left == right)
    return 2 * common / (left + right)


def ngrams(found: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` tokens occurs."""
    return Counter(tuple(found[start : start + n]) for start in range(len(found) - n + 1))


def bleu(answer: Sequence[str], reference: Sequence[str]) -> float:
    """BLEU-4 of one sentence given as tokens: effective order, exponential smoothing, as sacrebleu has it."""
    return _bleu(*_counts(answer, reference), len(answer), len(reference), effective=True)


def corpus_bleu(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """BLEU-4 over (answer, reference) pairs of tokens: counts are added up before they are compared."""
    matched, possible = [0] * ORDER, [0] * ORDER
    for answer, reference in pairs:
        for n, (right, all_) in enumerate(zip(*_counts(answer, reference), strict=True)):
            matched[n] += right
            possible[n] += all_
    return _bleu(
        matched, possible, sum(len(a) for a, _ in pairs), sum(len(r) for _, r in pairs), effective=False
    )


def _counts(answer: Sequence[str], reference: Sequence[str]) -> tuple[list[int], list[int]]:
    matched, possible = [], []
    for n in range(1, ORDER + 1):
        own = ngrams(answer, n)
        matched.append(sum((own & ngrams(reference, n)).values()))
        possible.append(own.total())
    return matched, possible


def _bleu(
    matched: Sequence[int], possible: Sequence[int], length: int, wanted: int, *, effective: bool
) -> float:
    if not length or not wanted or not matched[0]:
        return 0.0
    logs, smooth = [], 1.0
    for right, all_ in zip(matched, possible, strict=True):
        if not all_:
            if effective:
                break
            return 0.0
        if not right:
            smooth *= 2
        logs.append(math.log(right / all_ if right else 1 / (smooth * all_)))
    brevity = 1.0 if length >= wanted else math.exp(1 - wanted / length)
    return brevity * math.exp(sum(logs) / len(logs))


def rouge_n(answer: Sequence[str], reference: Sequence[str], n: int) -> float:
    """F-measure of the n-grams that both have."""
    left, right = ngrams(answer, n), ngrams(reference, n)
    if not left or not right:
        return 0.0
    return _f(sum((left & right).values()), left.total(), right.total())


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F-measure of the longest sequence of tokens that both have in the same order."""
    left, right = answer[:MAX_LCS], reference[:MAX_LCS]
    if not left or not right:
        return 0.0
    return _f(_longest_common(left, right), len(left), len(right))


def _longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit for each token of `left` (Hyyrö's algorithm)."""
    places: dict[str, int] = {}
    for place, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(left)) - 1
    row = every
    for token in right:
        here = row & places.get(token, 0)
        row = ((row + here) | (row - here)) & every
    return len(left) - row.bit_count()


def json_valid(answer: str) -> float:
    """1 when the answer is one JSON object or array, alone or in a Markdown fence."""
    fenced = _FENCED.match(answer.strip())
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return 0.0
    return float(isinstance(value, dict | list))


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Cosine of two vectors, -1 to 1; 0 when one of them has no length."""
    size = math.sqrt(sum(x * x for x in left) * sum(y * y for y in right))
    product = sum(x * y for x, y in zip(left, right, strict=True))
    return max(-1.0, min(1.0, product / size)) if size else 0.0


def overlap(
    answer: str, reference: str, *, words: bool = False, stop_words: Collection[str] = ()
) -> dict[str, float]:
    """BLEU-4 of the sentence and ROUGE-1, -2 and -L, as `bleu4`, `rouge_1`, `rouge_2`, `rouge_l`.

    BLEU counts punctuation, ROUGE does not."""
    left = tokens(answer, words=words, stop_words=stop_words)
    right = tokens(reference, words=words, stop_words=stop_words)
    bare_left, bare_right = _content(left), _content(right)
    return {
        "bleu4": bleu(left, right),
        "rouge_1": rouge_n(bare_left, bare_right, 1),
        "rouge_2": rouge_n(bare_left, bare_right, 2),
        "rouge_l": rouge_l(bare_left, bare_right),
    }


def agreement(
    answer: str, reference: str, *, words: bool = False, stop_words: Collection[str] = ()
) -> dict[str, float]:
    """`exactMatch`, `accuracy` and `f1Score`; with `words`, also `f1Words`."""
    scores = {
        "exactMatch": exact_match(answer, reference),
        "accuracy": accuracy(answer, reference),
        "f1Score": f1(answer, reference, stop_words=stop_words),
    }
    if words:
        scores["f1Words"] = f1(answer, reference, words=True, stop_words=stop_words)
    return scores


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every score over the rows that have it."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: math.fsum(values) / len(values) for name, values in sums.items()}
