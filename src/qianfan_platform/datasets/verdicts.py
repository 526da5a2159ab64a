"""What an import says of its lines, in the words of the interface. Its report is `reading.Report` as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qianfan.contract.enums import DataImportError

from .tables import Dataset

FIRST: Final = 5  # problems of each code that the info of a dataset has
QUARANTINE: Final = "quarantine"
_WORDS: Final = {
    DataImportError.TooLarge: "a file or a text is too large",
    DataImportError.JsonMissing: "the JSON of a picture is missing",
    DataImportError.BadFormat: "a file is not of a format that is read",
    DataImportError.Quota: "there is no space left",
    DataImportError.Mismatch: "records do not fit the template",
    DataImportError.Archive: "an archive cannot be unpacked",
    DataImportError.Empty: "texts are empty",
    DataImportError.Columns: "a file has too many columns",
    DataImportError.Rows: "the dataset would have too many records",
    DataImportError.Encoding: "text is neither UTF-8 nor GB18030",
    DataImportError.Network: "a file could not be fetched, or the platform failed",
    DataImportError.Missing: "there is no such file",
}


def failure(code: int, what: str, advice: str = "", source: str = "") -> dict[str, Any]:
    """The report of an import that failed before its lines were read."""
    problem = {
        "code": int(code),
        "source": source,
        "line": 0,
        "column": None,
        "field": "",
        "what": what,
        "fix": advice,
        "text": f"{what}: {advice}" if advice else what,
        "raw": "",
    }
    return {
        "refused": what,
        "bad": 0,
        "taken": 0,
        "codes": {str(int(code)): {"count": 1, "problems": [problem]}},
    }


def error_info(dataset: Dataset) -> list[dict[str, Any]] | None:
    """importErrorInfo: an object for each errCode, the most frequent first; None when no line was refused."""
    codes: Mapping[str, Any] = (dataset.import_report or {}).get("codes") or {}
    told = [
        {
            "code": int(code),
            "errCode": int(code),
            "count": found["count"],
            "what": f"{words(int(code))}: {found['problems'][0]['text']}",
            "first": [problem["text"] for problem in found["problems"][:FIRST]],
        }
        for code, found in codes.items()
    ]
    return sorted(told, key=lambda one: -one["count"]) or None


def words(code: int) -> str:
    """What an errCode means."""
    try:
        return _WORDS[DataImportError(code)]
    except (ValueError, KeyError):
        return "see the records"


def progress(dataset: Dataset) -> dict[str, Any]:
    """Of progressDetail: how many records were read, by which mappings and encodings, what was left out, and why."""
    report: Mapping[str, Any] = dataset.import_report or {}
    if not report:
        return {}
    told: dict[str, Any] = {"rows": report.get("taken", 0), "bad": report.get("bad", 0)}
    if report.get("mappings"):
        told["mappings"] = list(report["mappings"].values())
    if report.get("notes"):
        told["notes"] = [{"what": what, "count": count} for what, count in report["notes"].items()]
    if report.get("encodings"):
        told["encodings"] = report["encodings"]
    detail: dict[str, Any] = {"import": told}
    if report.get("refused"):
        detail["reason"] = report["refused"]
    return detail


def content(dataset: Dataset, code: int | None) -> list[dict[str, Any]]:
    """The list of importErrorDetail: the first hundred refused lines of a code, or of every code."""
    codes: Mapping[str, Any] = (dataset.import_report or {}).get("codes") or {}
    listed = [
        problem
        for each, found in codes.items()
        if code is None or int(each) == code
        for problem in found["problems"]
    ]
    return [
        {
            "sequence": number,
            "sampleFileName": problem["source"],
            "sampleName": problem["source"],
            "textLocation": _place(problem),
            "textContent": problem["raw"],
            "code": problem["code"],
            "line": problem["line"],
            "column": problem["column"],
            "field": problem["field"],
            "what": problem["what"],
            "fix": problem["fix"],
        }
        for number, problem in enumerate(listed, 1)
    ]


def quarantine(dataset: Dataset) -> str | None:
    """The file of all refused lines with their reasons, JSON objects; None when none was refused."""
    found: str | None = (dataset.import_report or {}).get(QUARANTINE)
    return found


def _place(problem: Mapping[str, Any]) -> str:
    place = f"line {problem['line']}"
    if problem["column"] is not None:
        place += f", column {problem['column']}"
    return f"{place}, field {problem['field']}" if problem["field"] else place
