"""What was answered, as the rows of the result dataset and as the files of an export."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.evaluation import CSV_HEADER, NOT_SCORED
from qianfan.dataset.cells import cell

from . import questions
from .questions import Question
from .tables import EvalAnswer, EvalUnit

METRICS: Final = ("bleu4", "rouge_1", "rouge_2", "rouge_l")
Answers = Mapping[tuple[int, int, int], EvalAnswer]  # by number of the unit, line and turn


def dataset_rows(
    content: Path, units: Sequence[EvalUnit], answers: Answers
) -> Iterator[list[dict[str, Any]]]:
    """The rows of the dataset that was asked, each turn with `model_response`: one entry for each unit, in order."""
    for line, row in enumerate(questions.rows(content)):
        yield [
            {
                **({"system": turn["system"]} if turn.get("system") else {}),
                "prompt": turn["prompt"],
                "response": turn.get("response") or [],
                "model_response": [_response(unit, answers.get((unit.id, line, place))) for unit in units],
            }
            for place, turn in enumerate(row)
        ]


def _response(unit: EvalUnit, answer: EvalAnswer | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "content": answer.content if answer else "",
        "modelName": unit.model_name,
        "modelVersion": unit.model_version,
        "modelVersionId": unit.version_id,
    }
    if answer is None:
        return {**shown, "error": unit.message or "it was not asked"}
    if answer.error:
        return {**shown, "error": answer.error}
    shown["latency"] = answer.latency_s
    shown["usage"] = {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
    if answer.finish_reason:
        shown["finishReason"] = answer.finish_reason
    return shown


def write_dataset(rows: Iterator[list[dict[str, Any]]], into: Path) -> dict[str, int]:
    """Write the rows as JSONL; returns the counts of the dataset."""
    counts = {"entity_count": 0, "annotated_count": 0, "character_count": 0}
    with into.open("wb") as out:
        for row in rows:
            text = orjson.dumps(row)
            out.write(text + b"\n")
            counts["entity_count"] += 1
            counts["annotated_count"] += all(turn["response"] for turn in row)
            counts["character_count"] += len(text.decode())
    return {**counts, "size_bytes": into.stat().st_size}


def write_export(
    listed: Sequence[tuple[EvalUnit, EvalAnswer, Question]],
    content: Collection[str],
    table: Path,
    packed: Path,
) -> None:
    """Write the results as CSV into `table`, and as data.jsonl in a zip into `packed`."""
    keep = [
        True, True, "prompt" in content, "prediction" in content, "completion" in content,
        *([("metrics" in content)] * 6),
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text)  # its line end has both marks, so that a carriage return in a text is quoted
    writer.writerow([name for name, kept in zip(CSV_HEADER, keep, strict=True) if kept])
    lines: list[bytes] = []
    for unit, answer, question in listed:
        scores = answer.scores or {}
        cells = [
            unit.model_name,
            unit.model_version,
            question.prompt,
            answer.content,
            question.reference,
            *(_percent(scores.get(name)) for name in METRICS),
            "" if answer.judge_score is None else f"{answer.judge_score:g}",
            answer.judge_reason,
        ]
        # Questions and answers may begin like a formula; a spreadsheet must not run them.
        writer.writerow([cell(value) for value, kept in zip(cells, keep, strict=True) if kept])
        lines.append(orjson.dumps(_object(unit, answer, question, content), option=orjson.OPT_APPEND_NEWLINE))
    table.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.jsonl", b"".join(lines))


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}%"


def _object(
    unit: EvalUnit, answer: EvalAnswer, question: Question, content: Collection[str]
) -> dict[str, Any]:
    shown = listed(unit, answer, question)
    hidden: dict[str, tuple[str, ...]] = {
        "prompt": ("prompt",),
        "prediction": ("prediction",),
        "completion": ("completion",),
    }
    hidden["metrics"] = (*METRICS, "judgeScore", "judgeReason", "metrics")
    gone = {name for part, names in hidden.items() if part not in content for name in names}
    return {name: value for name, value in shown.items() if name not in gone}


def listed(unit: EvalUnit, answer: EvalAnswer, question: Question) -> dict[str, Any]:
    """One result as the list and the export show it."""
    scores = answer.scores or {}
    return {
        "id": answer.id,
        "evalUnitId": unit.id,
        "modelName": unit.model_name,
        "modelVersion": unit.model_version,
        "modelVersionId": unit.version_id,
        "line": answer.line,
        "turn": answer.turn,
        "prompt": question.prompt,
        "prediction": answer.content,
        "completion": question.reference,
        "error": answer.error,
        **{name: scores.get(name) for name in METRICS},
        "judgeScore": NOT_SCORED if answer.judge_score is None else answer.judge_score,
        "judgeReason": answer.judge_reason,
        "metrics": scores,
        "manual": answer.manual,
        "latency": answer.latency_s,
        "firstTokenLatency": answer.first_token_s,
        "promptTokens": answer.prompt_tokens,
        "completionTokens": answer.completion_tokens,
    }
