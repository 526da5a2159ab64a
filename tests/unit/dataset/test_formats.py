"""Reading and writing rows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.dataset import formats
from qianfan.dataset.formats import FormatError

ROWS = st.lists(
    st.dictionaries(st.text(), st.one_of(st.text(), st.integers(-(2**53), 2**53), st.none())), max_size=8
)


@given(ROWS, st.integers(1, 7))
def test_rows_written_are_the_rows_read_in_any_split(rows: list[dict[str, object]], size: int) -> None:
    """Reading what was written gives the rows back, however the bytes come."""
    raw = b"".join(formats.write_jsonl(rows))
    pieces = [raw[i : i + size] for i in range(0, len(raw), size)]
    assert [row for _, row in formats.read_jsonl(pieces)] == rows
    assert [row for _, row in formats.read_json([b"".join(formats.write_json(rows))])] == rows


def test_mark_blank_lines_and_crlf_are_passed_over() -> None:
    """Line numbers are those of the file."""
    raw = '\ufeff[1]\r\n\r\n  \n["é"]'.encode()
    assert list(formats.read_jsonl([raw])) == [(1, [1]), (4, ["é"])]


@pytest.mark.parametrize(
    ("raw", "line", "column", "words"),
    [
        (b'{"a": 1}\n{"a": }\n', 2, 7, "not valid JSON"),
        (b'{"a": 1}\n\n{"a": 1},\n', 3, 9, "comma"),
        (b'[\n{"a": 1}\n]', 1, 2, ".json"),
        ('{"a": 1}\n{"问": "'.encode() + b'\xc4\xe3"}\n', 2, 8, "UTF-8"),
        ("{}".encode("utf-16"), 1, 1, "UTF-8"),
        (b"{}\r{}", 1, 4, "line feed"),
    ],
)
def test_a_bad_line_is_named_with_line_column_and_fix(raw: bytes, line: int, column: int, words: str) -> None:
    """The error points at the character."""
    with pytest.raises(FormatError) as caught:
        list(formats.read_jsonl([raw], "data.jsonl"))
    found = caught.value.problem
    assert (found.line, found.column) == (line, column), found
    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_reading_holds_one_piece_at_a_time() -> None:
    """A file of 64 MiB is read within 4 MiB."""
    piece = b"".join(formats.write_jsonl([[{"prompt": "x" * 100, "response": [["y" * 100]]}]] * 4000))[
        : 1 << 20
    ]
    piece = piece[: piece.rindex(b"\n") + 1]

    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield piece

    tracemalloc.start()
    count = sum(1 for _ in formats.read_jsonl(pieces()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 64 * piece.count(b"\n")
    assert peak < 4 << 20


def test_a_line_without_end_is_refused() -> None:
    """A file that never ends its line cannot fill the memory."""
    piece = b"x" * (1 << 20)
    with pytest.raises(FormatError, match="longer than"):
        list(formats.read_jsonl(piece for _ in range(100)))


def test_csv_keeps_quoted_commas_and_line_breaks() -> None:
    """A cell may hold what separates cells; the mark at the start is no part of the first name."""
    raw = '\ufeffprompt,response\n"a, b","c\nd"\n'.encode()
    assert [row for _, row in formats.read_csv([raw])] == [{"prompt": "a, b", "response": "c\nd"}]
    with pytest.raises(FormatError, match="fewer cells"):
        list(formats.read_csv([b"a,b\n1\n"]))


def test_text_is_a_row_for_each_line_that_is_not_blank() -> None:
    """Blank lines go, line numbers stay."""
    assert list(formats.read_txt([b"a\r\n\n", "你好\n".encode()])) == [(1, "a"), (3, "你好")]
    assert b"".join(formats.write_txt(["a\nb", {"text": "c"}])) == b"a b\nc\n"


def test_what_a_format_cannot_hold_is_refused() -> None:
    """Conversations do not fit into csv, objects with structure not into txt."""
    with pytest.raises(FormatError, match="jsonl"):
        list(formats.write_csv([["a"]]))
    with pytest.raises(FormatError, match="jsonl"):
        list(formats.write_txt([["a"]]))
    with pytest.raises(FormatError, match="plain JSON"):
        list(formats.write_jsonl([object()]))


def test_csv_cells_that_are_no_texts_are_written_as_json() -> None:
    """Structure in a cell survives as JSON."""
    assert b"".join(formats.write_csv([{"a": [1], "b": None}])) == b"a,b\n[1],\n"


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("suffix", "raw", "good", "bad"),
    [
        (
            "jsonl",
            b'{"a": 1}\n{"a": }\n\n\xff\n[2]',
            [(1, {"a": 1}), (5, [2])],
            [(2, b'{"a": }'), (4, b"\xff")],
        ),
        ("txt", b"a\n\xff\n\nb", [(1, "a"), (4, "b")], [(2, b"\xff")]),
        (
            "csv",
            b'a,b\n1,2\n3\n"x\ny",2\n"oops" z,1\n5,"6',
            [(2, {"a": "1", "b": "2"}), (4, {"a": "x\ny", "b": "2"})],
            [(3, b"3\n"), (6, b'"oops" z,1\n'), (7, b'5,"6\n')],
        ),
        ("json", b"[1, ", [], [(1, b"[1, ")]),
    ],
)
def test_bad_lines_are_told_and_passed_over(
    size: int, suffix: str, raw: bytes, good: list[object], bad: list[object]
) -> None:
    """Each with its line and its bytes, in any split; the lines after them are read."""
    told: list[object] = []
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    rows = formats.READERS[suffix](
        pieces, "x", on_bad=lambda problem, line: told.append((problem.line, line))
    )
    assert list(rows) == good
    assert told == bad


def test_a_line_that_is_too_long_is_passed_over() -> None:
    """64 KiB of it are told, the lines around it are read, and its rest is not kept."""
    told: list[tuple[int, int]] = []

    def pieces() -> Iterator[bytes]:
        yield b"[1]\n["
        for _ in range(70):
            yield b" " * (1 << 20)
        yield b"]\n[2]\n"

    rows = formats.read_jsonl(pieces(), on_bad=lambda problem, raw: told.append((problem.line, len(raw))))
    assert list(rows) == [(1, [1]), (3, [2])]
    assert told == [(2, 64 << 10)]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"a,a\n1,2\n", "names 'a' twice"),
        (b",".join(b"c%d" % n for n in range(10_001)) + b"\n", "10001 columns"),
    ],
)
def test_a_header_that_would_lose_cells_is_refused(raw: bytes, words: str) -> None:
    """Two columns of one name are one in an object; ten thousand columns are no table of rows."""
    with pytest.raises(FormatError, match=words):
        list(formats.read_csv([raw]))


def test_any_file_is_opened_by_its_suffix(tmp_path: Path) -> None:
    """In any encoding; `told` hears how many bytes were read."""
    heard: list[int] = []
    path = tmp_path / "x.jsonl"
    path.write_text('["问"]\n', encoding="utf-16")
    assert list(formats.open_rows(path, told=heard.append)) == [(1, ["问"])]
    assert heard == [path.stat().st_size]
    assert list(formats.open_rows(path, "txt")) == [(1, '["问"]')]
    with pytest.raises(ValueError, match="'doc' are not read"):
        formats.open_rows(tmp_path / "x.doc")


@pytest.mark.parametrize(
    ("name", "format"), [("a.ndjson", "jsonl"), ("a.pq", "parquet"), ("A.JSONL", "jsonl")]
)
def test_other_names_of_a_format_are_known(name: str, format: str) -> None:
    """As the platform knows them."""
    assert formats.format_of(Path(name)) == format
