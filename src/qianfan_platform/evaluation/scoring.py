"""Scores by rule: every answer against its reference, and what they come to for a version."""

from __future__ import annotations

import statistics as plain
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from qianfan.contract.evaluation import NOT_SCORED
from qianfan.evaluation import metrics
from qianfan.evaluation.statistics import bootstrap, quantile
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.inference import operations as inference
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering

from .questions import Question
from .tables import EvalAnswer

EMBEDDER: Final = "Embedding-V1"
MOST_EMBEDDED: Final = 1_000  # characters of a text that are looked at for similarity
RESAMPLES: Final = 500  # enough for two digits of an interval


def score(
    answer: str, reference: str, modes: Collection[str], stop_words: Collection[str] = ()
) -> dict[str, float]:
    """The scores of one answer, 0 to 1. Without a reference, only what needs none."""
    found = {"jsonValid": metrics.json_valid(answer)}
    if not reference:
        return found
    if "accuracy" in modes:
        found |= metrics.agreement(answer, reference, words=metrics.has_words(), stop_words=stop_words)
    if "similarity" in modes:
        found |= metrics.overlap(answer, reference, stop_words=stop_words)
    return found


def embedder(platform: Platform) -> Answering | None:
    """Who makes vectors here; None when nobody does."""
    return serving.preset(platform, EMBEDDER, "embeddings")


async def similarities(
    platform: Platform, caller: Caller, answering: Answering, pairs: Sequence[tuple[str, str]]
) -> list[float]:
    """Cosine of the vectors of each (answer, reference), 0 to 1; below 0 counts as 0. Raises Fault."""
    limit = min(MOST_EMBEDDED, answering.max_chars or MOST_EMBEDDED)
    texts = list(dict.fromkeys(text[:limit] for pair in pairs for text in pair if text.strip()))
    if not texts:
        return [0.0] * len(pairs)
    vectors = await inference.embed(platform, caller, answering, texts)
    rows = dict(zip(texts, vectors.rows, strict=True))
    return [
        max(0.0, metrics.cosine(rows[left[:limit]], rows[right[:limit]]))
        if left.strip() and right.strip()
        else 0.0
        for left, right in pairs
    ]


def stop_words(path: Path) -> frozenset[str]:
    """A word a line."""
    return frozenset(
        line.strip().lower() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    )


def effect(
    answers: Sequence[EvalAnswer], asked: dict[tuple[int, int], Question], judged: tuple[int, int] | None
) -> dict[str, Any]:
    """effectMetric of a version. An answer that was not given counts 0 in every score.

    judged: the lowest and highest score of the judge, None when there was none."""
    scored = [row.scores for row in answers if row.scores is not None]
    found: dict[str, Any] = {name: round(value, 6) for name, value in metrics.mean(scored).items()}
    intervals = {}
    for name in metrics.SCORES:
        values = [row[name] for row in scored if name in row]
        if values:
            interval = bootstrap(values, resamples=RESAMPLES)
            intervals[name] = [round(interval.low, 6), round(interval.high, 6)]
    if intervals:
        found["confidenceInterval"] = intervals
    if "bleu4" in found:
        pairs = [
            (metrics.tokens(row.content), metrics.tokens(asked[row.line, row.turn].reference))
            for row in answers
            if asked[row.line, row.turn].reference
        ]
        found["bleu4Corpus"] = round(metrics.corpus_bleu(pairs), 6)
    if judged is not None:
        found |= _judged(answers, judged)
    return found | _cost(answers)


def _judged(answers: Sequence[EvalAnswer], judged: tuple[int, int]) -> dict[str, Any]:
    low, high = judged
    spread = {str(score): 0 for score in (NOT_SCORED, *range(low, high + 1))}
    given: list[float] = []
    for row in answers:
        value = NOT_SCORED if row.judge_score is None else row.judge_score
        spread[str(round(value))] = spread.get(str(round(value)), 0) + 1
        if value != NOT_SCORED:
            given.append(value)
    return {
        "avgJudgeScore": round(plain.fmean(given), 6) if given else NOT_SCORED,
        "stdJudgeScore": round(plain.pstdev(given), 6) if given else 0.0,
        "medianJudgeScore": plain.median(given) if given else NOT_SCORED,
        "scoreDistribution": spread,
    }


def _cost(answers: Sequence[EvalAnswer]) -> dict[str, Any]:
    """What the answers took: seconds and tokens."""
    given = [row for row in answers if not row.error]
    times = sorted(row.latency_s for row in given)
    firsts = sorted(row.first_token_s for row in given if row.first_token_s is not None)
    found: dict[str, Any] = {
        "answered": len(given),
        "notAnswered": len(answers) - len(given),
        "promptTokens": sum(row.prompt_tokens for row in given),
        "completionTokens": sum(row.completion_tokens for row in given),
    }
    if times:
        found["avgLatency"] = round(plain.fmean(times), 4)
        found["p50Latency"], found["p95Latency"] = (
            round(quantile(times, 0.5), 4),
            round(quantile(times, 0.95), 4),
        )
    if firsts:
        found["avgFirstTokenLatency"] = round(plain.fmean(firsts), 4)
    return found
