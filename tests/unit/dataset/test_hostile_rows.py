"""Hostile inputs 13 to 18: bytes and rows, by the functions that both sides read them with.

row 13, lines without end, other encodings, half characters · row 14, depth, numbers, doubled members ·
row 15, members in masses · row 16, formulas, quotes, columns · row 17, mixed types · row 18, roles.
Nothing is lost in silence: each line is a row, blank, or told. tests/contract/test_hostile_data.py has the table."""

from __future__ import annotations

import csv
import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qianfan.contract.enums import DataTemplateType
from qianfan.contract.members import repeated
from qianfan.dataset import mapping
from qianfan.dataset.encodings import as_utf8
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.formats import READERS, WRITERS, FormatError, open_rows, read_csv, read_json, read_jsonl
from qianfan.dataset.schemas import Problem, check_row

MIB = 1024 * 1024
SEVERAL = DataTemplateType.NonSortedConversation
Told = list[tuple[Problem, bytes]]


def read(format: str, *chunks: bytes) -> tuple[list[tuple[int, Any]], Told]:
    """Rows and what was told of others."""
    told: Told = []
    rows = READERS[format](chunks, "x", on_bad=lambda problem, raw: told.append((problem, raw)))
    return list(rows), told


def from_file(path: Path, raw: bytes, **more: Any) -> tuple[list[tuple[int, Any]], Told]:
    path.write_bytes(raw)
    told: Told = []
    return list(open_rows(path, **more, on_bad=lambda problem, raw: told.append((problem, raw)))), told


def named(told: Told, line: int, what: str) -> None:
    """One problem, with its line, what it is and how to mend it."""
    [(problem, raw)] = told
    assert (problem.line, len(raw) <= 64 * 1024) == (line, True)
    assert what in problem.what
    assert problem.fix


# ── row 13 ───────────────────────────────────────────────────────────────────────────────────────


def test_row_13_a_line_of_2_gib_is_told_and_the_lines_around_it_are_read() -> None:
    """The bytes pass by; memory stays in the size of the longest line that is taken."""

    def pieces() -> Iterator[bytes]:
        yield b"1\n2\n"
        block = b"x" * MIB
        for _ in range(2048):
            yield block
        yield b"\n4\n5"

    tracemalloc.start()
    try:
        told: Told = []
        rows = list(read_jsonl(pieces(), on_bad=lambda problem, raw: told.append((problem, raw))))
        assert tracemalloc.get_traced_memory()[1] < 200 * MIB
    finally:
        tracemalloc.stop()
    assert rows == [(1, 1), (2, 2), (4, 4), (5, 5)]
    named(told, 3, "longer than 64 MiB")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_row_13_the_last_line_counts_without_its_end(end: bytes, mark: bytes) -> None:
    """With a byte order mark or without, with any end or none."""
    assert read("jsonl", mark + b'{"a":1}\n"b"' + end) == ([(1, {"a": 1}), (2, "b")], [])
    assert read("txt", mark + b"one\r\ntwo" + end) == ([(1, "one"), (2, "two")], [])
    assert read("csv", mark + b"a,b\n1,2" + end) == ([(2, {"a": "1", "b": "2"})], [])


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk", "utf-8-sig", "utf-8"]
)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_row_13_other_encodings_are_read_or_told(encoding: str, piece: int, tmp_path: Path) -> None:
    """With its mark each is read; UTF-16 without one is told line by line, never taken for text."""
    texts = ["你好，世界。今天的天气很好", "第二行：请写一首诗", "English"]
    raw = "\n".join(texts).encode(encoding)
    chunks = [raw[at : at + piece] for at in range(0, len(raw), piece)]
    if encoding in ("utf-16-le", "utf-16-be"):
        rows, told = read("txt", *as_utf8(chunks))
        assert told
        assert not any(text in texts[:2] for _, text in rows)
        return
    rows, told = read("txt", *as_utf8(chunks))
    assert ([text for _, text in rows], told) == (texts, [])
    if piece == 1:
        assert from_file(tmp_path / "x.txt", raw)[0] == rows


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"a":"\\ud83d"}', "not valid JSON"), (b'{"a":"\xed\xa0\xbd"}', "not UTF-8"), (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":"\0"}', "not valid JSON"), (b"\0\0\0\0", "not valid JSON"), (b'{"a":1}{"b":2}', "not valid JSON"),
        (b'{"a":1},', "not valid JSON"), (b"{'a':1}", "not valid JSON"), (b'{"a":"x\ty"}', "not valid JSON"), (b"\x1f\x8b\x08", "not"),
    ],
)  # fmt: skip
def test_row_13_a_line_that_is_no_json_is_told_and_the_others_are_read(line: bytes, what: str) -> None:
    """Half characters, NUL, two records on a line, a packed file: the verdict is of that line alone."""
    rows, told = read("jsonl", b'"before"\n' + line + b'\n"after"\n')
    assert rows == [(1, "before"), (3, "after")]
    named(told, 2, what)
    assert told[0][1] == line


def test_row_13_nul_in_a_text_is_kept_as_it_was_written() -> None:
    """Escaped it is JSON; it comes out again as it came in."""
    rows, told = read("jsonl", b'{"a":"x\\u0000y"}\n')
    assert (rows, told) == ([(1, {"a": "x\0y"})], [])
    assert read("jsonl", *WRITERS["jsonl"](row for _, row in rows)) == (rows, [])


# ── rows 14 and 15 ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 100_000, b"1e999", b"-1e999", b"NaN", b"Infinity",
        b'{"a":NaN}', b"9" * 100_000, b'{"a":' + b"1" * 100_000 + b"}", b"0x10", b"01", b"1.", b'"' + b"\\u" * 1000 + b'"',
    ],
    ids=lambda line: line[:8].decode(),
)  # fmt: skip
def test_row_14_what_no_json_is_or_nobody_can_hold_is_told(line: bytes) -> None:
    """Depth, numbers beyond all bounds, words that are no numbers: as a line, as a document, and fast."""
    started = time.process_time()
    rows, told = read("jsonl", b"1\n" + line + b"\n3\n")
    assert rows == [(1, 1), (3, 3)]
    named(told, 2, "not valid JSON")
    with pytest.raises(FormatError, match="fix:"):
        list(read_json([line]))
    assert time.process_time() - started < 1


@pytest.mark.parametrize("depth", [50, 400, 900, 1000, 1020])
@pytest.mark.parametrize(
    "place", ["prompt", "response", "instruction", "messages", "conversations", "text", "other"]
)
def test_row_14_a_row_as_deep_as_json_may_be_is_judged(depth: int, place: str) -> None:
    """Deep, but JSON: checked, mapped and shown without running out of stack."""
    deep: Any = orjson.loads(b"[" * depth + b"]" * depth)
    for row in (
        {place: deep},
        [{place: deep}],
        [{"prompt": "x", place: deep}],
        {"output": deep, "prompt": "x", place: deep},
    ):
        assert check_row(row, SEVERAL, 1) is not None
        found = mapping.of(row)
        if found is not None:
            notes: list[str] = []
            try:
                found.to_row(row, SEVERAL, note=notes.append)
            except FormatError as refused:
                assert refused.problem.fix  # noqa: PT017
            else:
                assert notes


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'{"a":1,"a":2}', "a"), (b'[{"prompt" : "x", "prompt" :"y"}]', "prompt"), (b'[{"a":{"b":1,"c":2,"b":3}}]', "b"),
        (b'{"\\u0061":1,"a":2}', "a"), (b'{"a:":1,"b":":","a:":2}', "a:"), (b'{"a":1,"b":{"a":1},"b":2}', "b"), (b'{"":1,"":1}', ""),
        (b'[[[{"a":"\\u003a","a":1}]]]', "a"), (b'{"a":[{"x":1},{"x":1,"x":1}]}', "x"),
    ],
)  # fmt: skip
def test_row_14_a_member_that_is_there_twice_is_told(line: bytes, name: str) -> None:
    """Parsers keep the last in silence; here the line is refused and the member named."""
    rows, told = read("jsonl", b"1\n" + line + b"\n")
    assert rows == [(1, 1)]
    named(told, 2, f"the member {name!r} twice")
    with pytest.raises(FormatError, match="twice"):
        list(read_json([line]))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=6)
    | st.sampled_from([":", "a:b", '":', "\\u003a"])
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ":", '"', "a:"]), inner, max_size=3), max_leaves=8)  # fmt: skip


@given(TREES, st.booleans(), st.sampled_from([None, 1]))
def test_row_14_what_has_every_member_once_is_never_told(
    tree: Any, ascii_only: bool, indent: int | None
) -> None:
    """Whatever colons and escapes there are in texts and names, and however it is spaced."""
    raw = json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode()
    assert repeated(raw, orjson.loads(raw), orjson.dumps) is None


@given(TREES, TREES, st.sampled_from(["a", ":", "\\", "é", ""]))
def test_row_14_what_has_a_member_twice_is_always_told(first: Any, second: Any, name: str) -> None:
    """At any depth, with any values."""
    key = json.dumps(name)
    raw = f'[1, {{"x": {{{key}: {json.dumps(first)}, {key} : {json.dumps(second)}}}}}]'.encode()
    assert repeated(raw, orjson.loads(raw), orjson.dumps) == name


def test_row_15_a_million_members_take_bounded_time() -> None:
    """In a line, in a document, and as a row that is judged; names made to collide do no better."""
    many = b"{" + b",".join(b'"%d":1' % number for number in range(10**6)) + b"}"
    colliding = b"{" + b",".join(b'"%d":1' % ((2**61 - 1) * number) for number in range(1, 20_000)) + b"}"
    for raw, seconds in ((many, 8.0), (colliding, 1.0)):
        started = time.process_time()
        [(_, row)], told = read("jsonl", raw)
        assert not told
        problem = check_row([row], SEVERAL, 7)
        assert problem is not None
        assert len(str(problem)) < 1000
        assert time.process_time() - started < seconds


# ── row 16 ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(1)", "\t=1", "\r=1", "'=1", "''=1", "'", '=HYPERLINK("http://x","y")', "=1\n=2", "-"],
)  # fmt: skip
def test_row_16_a_formula_is_written_as_text_and_read_as_it_was(text: str) -> None:
    """No cell begins in a way that a spreadsheet runs, and nothing is changed by the way there and back."""
    raw = b"".join(WRITERS["csv"]([{"a": text, "=b": "x"}]))
    for line in csv.reader(io.StringIO(raw.decode(), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in line)
    assert read("csv", raw) == ([(2, {"a": text, "=b": "x"})], [])


@pytest.mark.parametrize(
    ("raw", "good", "line", "what"),
    [
        (b'a,b\n"x ""y"", z",1\n', [{"a": 'x "y", z', "b": "1"}], None, ""),
        (b'a,b\n"x\ny",1\n2,3\n', [{"a": "x\ny", "b": "1"}, {"a": "2", "b": "3"}], None, ""),
        (b'a,b\n"x"y,1\n2,3\n', [{"a": "2", "b": "3"}], 2, "expected after"), (b"a,b\n1\n2,3\n", [{"a": "2", "b": "3"}], 2, "fewer cells"),
        (b"a,b\n1,2,3\n2,3\n", [{"a": "2", "b": "3"}], 2, "more cells"), (b'a,b\n1,2\n"3,4\n5,6\n', [{"a": "1", "b": "2"}], 3, "unexpected end"),
        (b"a,a\n1,2\n", [], 1, "twice"), (b"a,b\n1,\xff\n2,3\n", [{"a": "2", "b": "3"}], 2, "not UTF-8"),
    ],
)  # fmt: skip
def test_row_16_quotes_are_read_and_broken_ones_told(
    raw: bytes, good: list[Any], line: int | None, what: str
) -> None:
    """The line of each problem is where its record begins."""
    rows, told = read("csv", raw)
    assert [row for _, row in rows] == good
    if line is None:
        assert not told
    else:
        named(told, line, what)


@pytest.mark.parametrize("columns", [10_001, 10**6])
def test_row_16_columns_without_number_are_refused_by_the_header(columns: int) -> None:
    """No row of them is made."""
    header = ",".join(map(str, range(columns))).encode()
    row = b"," * (columns - 1)
    started = time.process_time()
    rows, told = read("csv", header + b"\n" + (row + b"\n") * 3)
    assert rows == []
    named(told, 1, f"{columns} columns")
    assert time.process_time() - started < 2


def test_row_16_a_cell_without_end_is_told() -> None:
    """A quote that is never closed takes the rest of the file, and says how far."""
    rows, told = read("csv", b"a\n1\n" + b'"' + b"x\n" * 100_000)
    assert rows == [(2, {"a": "1"})]
    assert told[0][0].line == 3
    assert told[0][0].fix


# ── rows 17 and 18 ───────────────────────────────────────────────────────────────────────────────


def converted(foreign: Any, template: DataTemplateType = SEVERAL) -> tuple[Any, list[str]]:
    notes: list[str] = []
    found = mapping.of(foreign)
    assert found is not None
    return found.to_row(foreign, template, note=notes.append), notes


def test_row_17_content_as_text_or_as_parts_is_taken_and_reported() -> None:
    """One record of each, in one file: the same row, and the form that was changed is told."""
    plain = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}
    parts = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "yo"},
        ]
    }
    assert converted(plain) == ([{"prompt": "hi", "response": [["yo"]]}], [])
    row, notes = converted(parts)
    assert row == [{"prompt": "hi", "response": [["yo"]]}]
    assert notes


@pytest.mark.parametrize("value", [7, 1.5, True, None, {}, [], {"a": 1}, [1, "x"], [["x"]]], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda value: {"instruction": value, "output": "x"}, lambda value: {"prompt": value, "response": "x"}, lambda value: {"text": value},
        lambda value: {"messages": [{"role": "user", "content": value}, {"role": "assistant", "content": "x"}]},
        lambda value: {"conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": "x"}]},
        lambda value: {"messages": value}, lambda value: {"conversations": [value, value]}, lambda value: [{"prompt": value}],
        lambda value: {"prompt": "x", "response": value}, lambda value: {"instruction": "x", "output": "y", "history": [value]},
    ],
)  # fmt: skip
def test_row_17_other_types_are_taken_and_told_or_refused_by_place(
    make: Callable[[Any], Any], value: Any
) -> None:
    """Where a text should be: a row that fits with a note, or an error with line, field and fix."""
    foreign = make(value)
    found = mapping.of(foreign)
    if found is None:
        problem = check_row(foreign, SEVERAL, 3)
        assert problem is not None
        assert (problem.line, bool(problem.fix)) == (3, True)
        return
    notes: list[str] = []
    template = DataTemplateType.GenericText if found.name == "text" else SEVERAL
    try:
        row = found.to_row(foreign, template, line=3, source="x", note=notes.append)
    except FormatError as refused:
        problem = refused.problem
        assert (problem.line, problem.source, bool(problem.field), bool(problem.fix)) == (3, "x", True, True)
    else:
        assert notes or value in (None, [], [["x"]]), row
        assert check_row(row, template, 3) is None


def said(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} says"} for role in roles]}


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


@pytest.mark.parametrize(
    ("foreign", "what", "field"),
    [
        (said("user", "user", "assistant"), "role user follows user", "messages[1]"), (said("assistant", "user"), "assistant comes first", "messages[0]"),
        (said("user", "assistant", "assistant"), "role assistant follows assistant", "messages[2]"),
        (said("user", "assistant", "system"), "system message is last", "messages[2]"), (said("user", "system", "assistant"), "system message is number 2", "messages[1]"),
        (said("system"), "system message is last", "messages"), (said("user", "assistant", "user"), "does not end with the assistant", "messages[2]"),
        (said("user", "tool"), "role tool without a call", "messages[1].role"), (said("user", "function", "assistant"), "without a call", "messages[1].role"),
        ({"messages": [{"role": "user", "content": "x"}, CALL, {"role": "tool", "content": "1", "tool_call_id": "1"}]}, "calls", "messages[1].tool_calls"),
        (said("user", "wizard"), "role 'wizard' is not known", "messages[1].role"), ({"messages": []}, "no list of messages", "messages"),
        ({"messages": [{"content": "x"}]}, "no", "messages[0]"), ({"messages": [{"role": ["user"], "content": "x"}]}, "role", "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]}, "empty", "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " \n"}]}, "empty", "messages[1].content"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "assistant comes first", "conversations[0]"),
        ({"conversations": [{"from": "human", "value": "x"}, {"from": "observation", "value": "1"}]}, "observation", "conversations[1]"),
        ({"instruction": "", "output": "x"}, "empty", "instruction"), ({"prompt": "x", "response": [[""]]}, "empty", "response"),
    ],
)  # fmt: skip
def test_row_18_roles_that_do_not_fit_are_named_with_their_place(foreign: Any, what: str, field: str) -> None:
    """Out of order, empty, a system text last, a tool without its call: line, place, reason and fix."""
    found = mapping.of(foreign)
    assert found is not None
    with pytest.raises(FormatError, match="line 12") as refused:
        found.to_row(foreign, SEVERAL, line=12, source="rows.jsonl")
    problem = refused.value.problem
    assert what in problem.what
    assert problem.field.startswith(field)
    assert problem.fix


# ── any bytes ────────────────────────────────────────────────────────────────────────────────────

BYTES = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\r\n", b"\r", b"\\", b"a", b"1", b" ", b'"a":1', b'{"a":1}', b'["x"]', b"\xff", b"\xe4\xbd",
         b"\xa0", "中文".encode(), "中文你好".encode("gbk"), b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"=", b"'", b'""', b"\\ud83d"]
    )
    | st.binary(max_size=4),
    max_size=30,
).map(b"".join)  # fmt: skip
FORMATS = st.sampled_from(sorted(READERS))


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [raw[start:end] for start, end in pairwise(at)]


def any_bytes(raw: bytes, format: str, cuts: list[int]) -> None:
    """Rows or problems; every line is one of these or blank; the split does not matter."""
    rows, told = read(format, raw)
    assert read(format, *pieces_of(raw, cuts)) == (rows, told)
    for problem, line in told:
        assert problem.what
        assert problem.fix
        assert isinstance(line, bytes)
    utf8 = b"".join(as_utf8([raw]))
    assert b"".join(as_utf8(pieces_of(raw, cuts))) == utf8
    read(format, utf8)
    if format in ("jsonl", "txt") and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        lines = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        filled = {number for number, line in enumerate(lines, 1) if not _blank(line, format)}
        assert {line for line, _ in rows} | {problem.line for problem, _ in told} == filled
        assert len(rows) + len(told) == len(filled)


def _blank(line: bytes, format: str) -> bool:
    if format == "jsonl":
        return not line or line.isspace()
    try:
        return not line.decode().strip()
    except UnicodeDecodeError:
        return False


@settings(max_examples=150, deadline=None)
@given(BYTES, FORMATS, st.lists(st.integers(0, 200), max_size=4))
@example(b"\xef\xbb\xbf", "jsonl", [1, 2])
@example(b'a\n"', "csv", [3])
def test_rows_13_to_16_any_bytes_in_any_pieces_are_rows_or_told(
    raw: bytes, format: str, cuts: list[int]
) -> None:
    """Never another error, never a line less."""
    any_bytes(raw, format, cuts)


@pytest.mark.soak
@settings(max_examples=4_000, deadline=None)
@given(BYTES, FORMATS, st.lists(st.integers(0, 200), max_size=9))
def test_rows_13_to_16_any_bytes_at_length(raw: bytes, format: str, cuts: list[int]) -> None:
    """The same, four thousand times."""
    any_bytes(raw, format, cuts)


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
LINE = TEXT.map(lambda text: " ".join(text.replace("\r", "").splitlines()).removeprefix("\ufeff")).filter(
    str.strip
)
ROWS: dict[str, st.SearchStrategy[list[Any]]] = {
    "jsonl": st.lists(TREES.filter(lambda row: row is not None), max_size=6),
    "json": st.lists(TREES, max_size=6),
    "csv": st.lists(st.fixed_dictionaries({"a": TEXT, "=b": TEXT, "c d": TEXT}), max_size=6),
    "txt": st.lists(LINE, max_size=6),
}


@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("format", sorted(ROWS))
@given(data=st.data(), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_what_is_written_is_read_as_it_was(format: str, data: st.DataObject, cuts: list[int]) -> None:
    """In every format, in any pieces."""
    rows = data.draw(ROWS[format])
    raw = b"".join(WRITERS[format](rows))
    found, told = read(format, *pieces_of(raw, cuts))
    assert ([row for _, row in found], told) == (rows, [])


@settings(max_examples=100, deadline=None)
@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["messages", "role", "content", "conversations", "from", "value", "prompt", "response", "instruction", "output", "history",
                     "system", "text", "type", "chosen", "rejected", "tools", "weight", "input", "preferred_output"]), inner, max_size=4), max_leaves=10),
    st.sampled_from([2000, 2001, 2002, 40100, 40200]))  # fmt: skip
def test_rows_17_and_18_any_record_is_a_row_or_a_problem_with_its_line(foreign: Any, template: int) -> None:
    """Whatever members of known formats are put together in whatever way."""
    problem = check_row(foreign, template, 5, "x")
    assert problem is None or (problem.line == 5 and problem.fix)
    found = mapping.of(foreign)
    if found is None:
        return
    try:
        row = found.to_row(foreign, template, line=5, source="x")
    except FormatError as refused:
        assert (refused.problem.line, refused.problem.source, bool(refused.problem.fix)) == (5, "x", True)  # noqa: PT017
    else:
        assert isinstance(row, str | list)


def test_a_reader_without_a_listener_stops_at_the_first_bad_line() -> None:
    """As documented: FormatError with the place."""
    with pytest.raises(FormatError, match="line 2"):
        list(read_jsonl([b"1\n{\n3"]))
    with pytest.raises(FormatError, match="line 2"):
        list(read_csv([b"a,b\n1\n"]))


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.jsonl", content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda raw: raw[:-30], "no zip"), (lambda raw: raw[:60] + b"\xff" * 20 + raw[80:], "cannot be read"), (lambda raw: b"PK\x03\x04", "no zip"),
        (lambda raw: raw.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"), "password"),
        (lambda raw: raw.replace(b"\x08\x00", b"\x63\x00"), "cannot be read"),
    ],
    ids=["cut", "torn", "empty", "encrypted", "method"],
)  # fmt: skip
def test_row_12_a_zip_of_this_machine_that_is_none_is_told(
    tmp_path: Path, damage: Callable[[bytes], bytes], what: str
) -> None:
    """By the dataset that was to be loaded from it, with the member."""
    path = tmp_path / "x.zip"
    path.write_bytes(damage(zipped(a=b'{"a": 1}\n' * 500, b=b"2\n")))
    with pytest.raises(FormatError, match=what) as refused:
        list(FileDataSource(path).read())
    assert refused.value.problem.fix
