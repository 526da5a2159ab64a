"""Reading what is imported, in a process of its own: every line is taken, or refused by name.

python -m qianfan_platform.datasets.reading SPEC   (SPEC: JSON of the members of `Spec`)

Tells {"done", "of"} (bytes) and "rows" now and then. What came of it is in the file `report` (`verdicts.py` says what
that holds); refused lines are in the file `refused`, a JSON object each, with the reason and the raw line.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from qianfan.contract.enums import DataImportError, DataTemplateType
from qianfan.dataset import formats, mapping, schemas
from qianfan.dataset.encodings import as_utf8
from qianfan.dataset.formats import FormatError
from qianfan.dataset.lines import SHOWN
from qianfan.dataset.parquet import read_parquet
from qianfan.dataset.schemas import Problem

from . import pictures, telling
from .members import Member, Unreadable, format_of, suffix_format, unpacked

PIECE: Final = 1 << 20  # bytes read at once
TOLD_EVERY_S: Final = 0.25
LISTED: Final = 100  # problems of each code in the report; the file `refused` has all
LOOKED_AT: Final = 300  # characters of a refused line in the report
MOST_REFUSED: Final = 1 << 28  # bytes of the file of refused lines
MOST_ROWS: Final = 10_000_000
MOST_COLUMNS: Final = 1000
LARGEST_DOCUMENT: Final = 1 << 27  # bytes of a JSON file that is one document
LARGEST_TEXT: Final = 1 << 26  # bytes of a text that is a record
MOST_NOTES: Final = 20
_AGAIN: Final = "import fewer at once, or into several datasets"


@dataclass
class Spec:
    """inputs: [name, path] each. rows: where the content goes, `before` at its start. bad_share: 0–1."""

    inputs: list[list[str]]
    template: int
    rows: str
    refused: str
    report: str
    scratch: str
    pack: str
    pack_id: str
    before: str | None = None
    count_before: int = 0
    bad_share: float = 0.0
    annotated: bool = False


@dataclass
class Report:
    """What came of it. codes: {errCode: [how many, the first problems]}. mappings: [{name, explained, count}]."""

    taken: int = 0
    bad: int = 0
    annotated: int = 0
    characters: int = 0
    labels: int = 0
    size: int = 0
    files: int = 0
    refused: str = ""  # why all of it is; "" when it was taken
    refused_bytes: int = 0  # in the file of refused lines
    refused_cut: bool = False
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    mappings: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    encodings: dict[str, list[str]] = field(default_factory=dict)


class Reading:
    """One import."""

    def __init__(self, spec: Spec, told: Any = telling.tell) -> None:
        self.spec = spec
        self.template = DataTemplateType(spec.template)
        self.report = Report()
        self._told = told
        self._notes: Counter[str] = Counter()
        self._mapped: Counter[str] = Counter()
        self._done = self._of = 0
        self._next = 0.0
        self._refused: BinaryIO

    def run(self) -> Report:
        """Read everything, write the content and the file of refused lines. Raises OSError, and ImportError without pyarrow."""
        with (
            Path(self.spec.rows).open("wb", buffering=PIECE) as out,
            Path(self.spec.refused).open("wb", buffering=PIECE) as self._refused,
        ):
            try:
                if self.spec.before is not None:
                    with Path(self.spec.before).open("rb") as before:
                        shutil.copyfileobj(before, out, PIECE)
                self._take(out)
            except Unreadable as unreadable:
                self._refuse(unreadable.problem, b"")
                self.report.refused = str(unreadable)
            self.report.refused = self.report.refused or self._verdict()
            self.report.size = out.tell()
        report = self.report
        report.notes = dict(self._notes)
        for name, count in self._mapped.items():
            explained = list(mapping.BY_NAME[name].explained)
            report.mappings[name] = {"name": name, "explained": explained, "count": count}
        return report

    def _verdict(self) -> str:
        report = self.report
        lines = report.bad + report.taken
        if report.bad and report.bad > self.spec.bad_share * lines:
            first = "\n".join(self._firsts())
            allowed = f"; a share of {self.spec.bad_share:g} is allowed" if self.spec.bad_share else ""
            return f"{report.bad} of {lines} records are refused{allowed}:\n{first}"
        if not report.taken:
            self._refuse(
                Problem(
                    1,
                    "the import holds no record",
                    "give a file with at least one record",
                    code=DataImportError.Empty.value,
                ),
                b"",
            )
            return "the import holds no record"
        return ""

    def _take(self, out: BinaryIO) -> None:
        members = list(unpacked(self.spec.inputs, Path(self.spec.scratch), self._note))
        self.report.files = len(members)
        self._of = sum(member.path.stat().st_size for member in members) or 1
        if self.template is DataTemplateType.Text2Image:
            self._take_pictures(members, out)
            return
        for member in members:
            taken, bad = self.report.taken, self.report.bad
            for line, row in self._records(member):
                self._take_row(row, line, member, out)
            if self.report.bad - bad and self.report.taken == taken:
                self._all_bad(member)
            self._tell()

    def _all_bad(self, member: Member) -> None:
        """A file without one good record was not what it claims to be, unless it is one record."""
        if (
            member.packed
            and self.template is DataTemplateType.GenericText
            and suffix_format(member.name) == "txt"
        ):
            return
        if not self.report.refused:
            first = "\n".join(self._firsts(member.name))
            self.report.refused = f"no record of {member.name} could be taken:\n{first}"

    def _firsts(self, source: str | None = None) -> list[str]:
        """The first three refused lines, as they came."""
        listed = [p for code in self.report.codes.values() for p in code["problems"]]
        listed = [p for p in listed if source in (None, p["source"])]
        return [p["text"] for p in sorted(listed, key=lambda p: p["number"])[:3]]

    # ── one record ───────────────────────────────────────────────────────────────────────────────

    def _take_row(self, row: Any, line: int, member: Member, out: BinaryIO) -> None:
        given = row
        if (found := mapping.of(row)) is not None:
            try:
                row = found.to_row(row, self.template, line=line, source=member.name, note=self._note)
            except FormatError as unfit:
                self._refuse(unfit.problem, _raw(given))
                return
            self._mapped[found.name] += 1
        problem = schemas.check_row(row, self.template, line, member.name)
        if problem is not None:
            self._refuse(problem, _raw(given))
            return
        self._write(row, schemas.is_annotated(row), out)

    def _write(self, row: Any, annotated: bool, out: BinaryIO) -> None:
        report = self.report
        report.taken += 1
        report.annotated += annotated
        if not annotated and self.spec.annotated:
            self._note("the import was announced as annotated, and these records are not")
        if report.taken + self.spec.count_before > MOST_ROWS:
            what = f"the dataset would have more than {MOST_ROWS} records"
            raise Unreadable(Problem(report.taken, what, _AGAIN, code=DataImportError.Rows.value))
        text = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        report.characters += len(text) - 1 if text.isascii() else len(text.decode()) - 1
        out.write(text)

    def _take_pictures(self, members: list[Member], out: BinaryIO) -> None:
        given = [(member.name, member.path) for member in members]
        sizes = {Path(member.name).name: member.path.stat().st_size for member in members}
        for row in pictures.records(
            given, Path(self.spec.pack), on_bad=lambda problem: self._refuse(problem, b"")
        ):
            self._write({**row, "pack": self.spec.pack_id}, pictures.is_annotated(row), out)
            self.report.labels += len(pictures.labels_of(row))
            self._count(sizes.get(row["image"], 0))

    def _note(self, what: str) -> None:
        if what in self._notes or len(self._notes) < MOST_NOTES:
            self._notes[what] += 1

    def _refuse(self, problem: Problem, raw: bytes) -> None:
        """Name a refused line in the report, and keep it with its reason."""
        self.report.bad += 1
        text = raw.decode("utf-8", "backslashreplace")
        told = {
            "code": int(problem.code),
            "source": problem.source,
            "line": problem.line,
            "column": problem.column,
            "field": problem.field,
            "what": problem.what,
            "fix": problem.fix,
        }
        listed = self.report.codes.setdefault(str(int(problem.code)), {"count": 0, "problems": []})
        listed["count"] += 1
        if len(listed["problems"]) < LISTED:
            listed["problems"].append(
                {**told, "number": self.report.bad, "text": str(problem), "raw": text[:LOOKED_AT]}
            )
        if self.report.refused_bytes < MOST_REFUSED:
            kept = orjson.dumps({**told, "cut": len(raw) >= SHOWN, "raw": text})
            self.report.refused_bytes += self._refused.write(kept + b"\n")
        else:
            self.report.refused_cut = True

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def _records(self, member: Member) -> Iterator[tuple[int, Any]]:
        """(line, record) of one file."""
        format = format_of(member, self.template, self._note)
        texts = self.template is DataTemplateType.GenericText
        if texts and member.packed and format == "txt":
            yield from self._one_text(member)
            return
        if format == "parquet":
            try:
                rows: Iterable[tuple[int, Any]] = read_parquet(member.path, member.name)
                yield from self._of_columns(self._counted(rows, member), member)
            except FormatError as broken:
                raise Unreadable(broken.problem) from None
            return
        if format == "json":
            if member.path.stat().st_size > LARGEST_DOCUMENT:
                what = f"the file is one JSON document of more than {LARGEST_DOCUMENT >> 20} MiB"
                fix = "write a record on each line, and name it .jsonl: that has no such limit"
                code = DataImportError.TooLarge.value
                raise Unreadable(Problem(1, what, fix, source=member.name, code=code))
            yield from self._document(member)
            return
        rows = formats.READERS[format](self._pieces(member), member.name, on_bad=self._refuse)
        yield from self._of_columns(rows, member) if format == "csv" else rows

    def _document(self, member: Member) -> Iterator[tuple[int, Any]]:
        try:
            yield from formats.read_json(self._pieces(member), member.name)
        except FormatError as broken:
            problem = broken.problem
            code = DataImportError.BadFormat.value
            raise Unreadable(
                Problem(
                    problem.line, problem.what, problem.fix, problem.field, problem.column, member.name, code
                )
            ) from None

    def _of_columns(self, rows: Iterable[tuple[int, Any]], member: Member) -> Iterator[tuple[int, Any]]:
        """Rows of a table: the one column of texts is the text; a cell that holds a list as JSON is that list."""
        for line, row in rows:
            if isinstance(row, dict):
                if len(row) > MOST_COLUMNS:
                    what = f"the file has {len(row)} columns"
                    fix = f"keep those that are wanted, at most {MOST_COLUMNS}"
                    code = DataImportError.Columns.value
                    raise Unreadable(Problem(line, what, fix, source=member.name, code=code))
                if len(row) == 1 and self.template is DataTemplateType.GenericText:
                    row = next(iter(row.values()))
                    self._note("the one column is the text")
                else:
                    row = {name: _cell(value) for name, value in row.items() if value is not None}
            yield line, row

    def _one_text(self, member: Member) -> Iterator[tuple[int, Any]]:
        if member.path.stat().st_size > LARGEST_TEXT:
            what, fix = f"the text is longer than {LARGEST_TEXT >> 20} MiB", "split it into several files"
            code = DataImportError.TooLarge.value
            self._refuse(Problem(1, what, fix, source=member.name, code=code), b"")
            return
        raw = b"".join(self._pieces(member))
        try:
            text = raw.decode()
        except UnicodeDecodeError as bad:
            line = raw.count(b"\n", 0, bad.start) + 1
            begin = raw.rfind(b"\n", 0, bad.start) + 1
            column = len(raw[begin : bad.start].decode(errors="replace")) + 1
            code = DataImportError.Encoding.value
            problem = Problem(
                line,
                "the text is neither UTF-8 nor GB18030",
                "save it as UTF-8",
                "",
                column,
                member.name,
                code,
            )
            self._refuse(problem, raw[:SHOWN])
            return
        yield 1, text.strip()

    def _pieces(self, member: Member) -> Iterator[bytes]:
        def told(encoding: str) -> None:
            names = self.report.encodings.setdefault(encoding, [])
            if len(names) < LISTED:
                names.append(member.name)

        with member.path.open("rb") as file:
            for piece in as_utf8(iter(lambda: file.read(PIECE), b""), told):
                self._count(len(piece))
                yield piece

    def _counted(self, rows: Iterable[tuple[int, Any]], member: Member) -> Iterator[tuple[int, Any]]:
        """Rows of a file that cannot be counted in bytes read."""
        yield from rows
        self._count(member.path.stat().st_size)

    def _count(self, size: int) -> None:
        self._done += size
        if time.monotonic() >= self._next:
            self._tell()

    def _tell(self) -> None:
        self._next = time.monotonic() + TOLD_EVERY_S
        self._told(
            {
                "done": min(self._done, self._of),
                "of": self._of,
                "rows": self.report.taken,
                "bad": self.report.bad,
            }
        )


def _raw(given: Any) -> bytes:
    """A record as it was, nearly; what has no JSON is told as text."""
    try:
        return orjson.dumps(given, default=str)[:SHOWN]
    except TypeError:  # deeper than JSON is written
        try:
            return repr(given)[:SHOWN].encode("utf-8", "backslashreplace")
        except RecursionError:
            return b"(nests too deep to be shown)"


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def read(spec: Spec, told: Any) -> Report:
    """Read everything, and write the content, the refused lines and the report. Raises OSError, and ImportError without pyarrow."""
    report = Reading(spec, told).run()
    Path(spec.report).write_bytes(orjson.dumps(asdict(report)))
    return report


def main(given: str) -> int:
    """0 when the report is written; 1 with {"failed": reason, "code": errCode}."""
    telling.end_with_the_starter()
    os.nice(5)  # the server's answers come first
    try:
        report = read(Spec(**orjson.loads(given)), telling.tell)
    except ImportError as missing:
        telling.tell(
            {"failed": f"this server cannot read Parquet: {missing}", "code": DataImportError.BadFormat}
        )
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = DataImportError.Quota if full else DataImportError.Network
        why = "the disk of the platform is full" if full else str(error.strerror or error)
        telling.tell({"failed": why, "code": code})
        return 1
    telling.tell({"finished": {"taken": report.taken, "bad": report.bad}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
