"""Who may read a file that was saved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qianfan.dataset import Dataset


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_private_file_stays_private(tmp_path: Path, name: str) -> None:
    """Saving over a file keeps its mode; a new one has what the umask leaves."""
    target = tmp_path / name
    before = os.umask(0o027)
    try:
        rows = Dataset.create_from_pyobj([{"a": "1"}])
        assert rows.save(data_file=target)
        assert target.stat().st_mode & 0o777 == 0o640
        target.chmod(0o600)
        assert rows.save(data_file=target)
        assert target.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
