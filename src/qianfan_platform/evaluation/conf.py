"""How an evaluation is to be scored: evalStandardConf, checked and completed."""

from __future__ import annotations

from itertools import permutations
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import (
    DEFAULT_MAX_SCORE,
    DEFAULT_METRIC,
    MODES,
    MOST_DIMENSIONS,
    SATISFACTION,
    EvalConf,
)
from qianfan_platform.datasets.operations import local_file
from qianfan_platform.datasets.tables import Dataset

EXPORTED: Final = ("prompt", "prediction", "completion", "metrics")
SCORE_MODES: Final = ("similarity", "accuracy")
JUDGE: Final = "ERNIE-Bot-4"  # the model that judges when none is named
MANUAL_SCORES: Final = (0, 2)  # lowest and highest that people give


def checked(given: EvalConf, dataset: Dataset) -> dict[str, Any]:
    """The configuration as it is kept and shown. Raises Fault naming what is wrong.

    Only members that are known are kept: keys of an app never are."""
    modes = modes_of(given["evalMode"])
    conf: dict[str, Any] = {"evalMode": ",".join(modes)}
    if "rule" in modes:
        conf |= _rule(given, dataset)
    if "model" in modes:
        conf |= _judge(given)
    if "manual" in modes:
        conf["evaluationDimension"] = _dimensions(given.get("evaluationDimension", []))
    return conf


def modes_of(text: str) -> list[str]:
    """The modes that a text joins by commas, in its order. Raises Fault."""
    modes = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        what = f"{unknown[0][:40]!r} is no mode" if unknown else "it names no mode"
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[evalStandardConf.evalMode] invalid: {what}",
            f"join some of {', '.join(MODES)} by commas",
        )
    return modes


def joined_modes() -> list[str]:
    """Every text that may stand for modes in a configuration that was checked."""
    return [",".join(some) for size in (1, 2, 3) for some in permutations(MODES, size)]


def _rule(given: EvalConf, dataset: Dataset) -> dict[str, Any]:
    modes = list(dict.fromkeys(given.get("scoreModes", [])))
    unknown = [mode for mode in modes if mode not in SCORE_MODES]
    if unknown or not modes:
        what = f"{unknown[0][:40]!r} is none" if unknown else "at least one is needed"
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[evalStandardConf.scoreModes] invalid: {what}",
            f"use {' and '.join(SCORE_MODES)}",
        )
    if not dataset.annotated_count:
        raise Fault(
            errors.BAD_DATASET,
            f"dataset {dataset.id} ({dataset.name}) has no answers to compare with",
            "rules need an annotated dataset; a judge or people do not",
        )
    kept: dict[str, Any] = {"scoreModes": modes}
    path = given.get("stopWordsPath")
    if path:
        if local_file(path) is None:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[evalStandardConf.stopWordsPath] invalid: {path[:100]!r} is not on this platform",
                "upload a text with one word a line to /v2/files, and give the path it answers (bos:/local/…)",
            )
        kept["stopWordsPath"] = path
    return kept


def _judge(given: EvalConf) -> dict[str, Any]:
    prompt = given.get("prompt", {})
    content = prompt.get("templateContent", "")
    if content and "{prediction}" not in content:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[evalStandardConf.prompt.templateContent] invalid: it has no {prediction}",
            "put {src}, {tgt} and {prediction} where question, reference and answer are to stand",
        )
    low, high = prompt.get("minScore", 0), prompt.get("maxScore", DEFAULT_MAX_SCORE)
    if low >= high:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[evalStandardConf.prompt.minScore] invalid: {low} is not below maxScore, {high}",
        )
    kept: dict[str, Any] = {
        "apiName": given.get("apiName") or JUDGE,
        "prompt": {
            "templateName": prompt.get("templateName", ""),
            "templateContent": content,
            "metric": prompt.get("metric") or DEFAULT_METRIC,
            "steps": prompt.get("steps", ""),
            "minScore": low,
            "maxScore": high,
        },
    }
    if "appId" in given:
        kept["appId"] = given["appId"]
    return kept


def _dimensions(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Satisfaction first, at most four, each with the range of its scores."""
    named = [row for row in given if isinstance(row.get("dimension"), str) and row["dimension"].strip()]
    if not any(row["dimension"] == SATISFACTION for row in named):
        named.insert(0, {"dimension": SATISFACTION})
    named.sort(key=lambda row: row["dimension"] != SATISFACTION)
    low, high = MANUAL_SCORES
    return [
        {
            "dimension": row["dimension"][:100],
            "description": str(row.get("description") or "")[:500],
            "minScore": low,
            "maxScore": high,
        }
        for row in named[:MOST_DIMENSIONS]
    ]
