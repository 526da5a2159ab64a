"""Rows to Parquet and back: rows of columns, conversations and texts; what does not fit is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qianfan.dataset import parquet
from qianfan.dataset.formats import FormatError, open_rows
from qianfan.dataset.parquet import read_parquet, write_parquet

pyarrow = pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        [[{"prompt": "p", "response": [["r"]]}], [{"system": "s", "prompt": "q", "response": [["r"]]}]],
        ["one text", "另一行"],
        [{"nested": {"list": [1, 2], "deep": {"x": "y"}}}],
    ],
)
def test_rows_are_the_same_after_a_round_trip(tmp_path: Path, rows: list[Any]) -> None:
    """Conversations and texts lie in the one column `_pack`."""
    path = tmp_path / "rows.parquet"
    assert write_parquet(path, rows) == len(rows)
    assert list(read_parquet(path)) == list(enumerate(rows, 1))
    assert list(open_rows(path)) == list(enumerate(rows, 1))


@pytest.mark.parametrize("count", [0, 1, 1024, 1025, 10_000, 10_001, 25_000])
def test_no_row_is_lost_where_batches_meet(tmp_path: Path, count: int) -> None:
    """As many rows come back as were written, each once."""
    path = tmp_path / "rows.parquet"
    write_parquet(path, ({"n": number} for number in range(count)))
    assert [row["n"] for _, row in read_parquet(path)] == list(range(count))


def test_a_row_that_does_not_fit_the_others_is_named(tmp_path: Path) -> None:
    """By its number, in the first rows and later."""
    path = tmp_path / "rows.parquet"
    with pytest.raises(FormatError, match="line 3: the row does not fit"):
        write_parquet(path, [{"a": 1}, {"a": 2}, {"a": "three"}])
    late = [*({"a": n} for n in range(parquet.FIRST + 5)), {"b": 1}]
    with pytest.raises(FormatError, match=f"line {parquet.FIRST + 6}: the row has other columns"):
        write_parquet(path, late)


def test_what_is_no_parquet_says_so(tmp_path: Path) -> None:
    """A file of another kind, and one that was cut short."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(FormatError, match="not readable Parquet"):
        list(read_parquet(path, "rows.parquet"))
    write_parquet(path, [{"a": n} for n in range(1000)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FormatError, match="not readable Parquet"):
        list(read_parquet(path))
    with pytest.raises(FileNotFoundError):
        list(read_parquet(tmp_path / "none.parquet"))


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path) -> None:
    """And importing the module does not need it."""
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from qianfan.dataset.parquet import read_parquet\n"
        "try: list(read_parquet('x'))\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'open-qianfan[dataset]'" in done.stdout
