"""The server killed at many moments of imports: afterwards exactly the rows of the files, once, and nothing left over.

`make soak-import` runs it and prints what it did; SOAK_KILLS and SOAK_SEED change how often and where."""

from __future__ import annotations

import io
import os
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.dataset.upload import download
from qianfan.resources import Data
from qianfan.resources.console.consts import DataExportDestinationType
from tests import importing
from tests.importing import Killings

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]
KILLS = int(os.environ.get("SOAK_KILLS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "7"))
ROWS, SIZE = 100_000, 400
MANY, WIDE = 1_000_000, 470
AT_MOST = 3  # kills of one import
EXPORTS = 10


def test_imports_of_a_hundred_thousand_rows_survive_kills_at_any_moment(tmp_path: Path) -> None:
    """Each import is killed up to three times; content, counts and the files in the store are compared."""
    killings = Killings(tmp_path / "data", random.Random(SEED))
    path = importing.write(tmp_path / "rows.jsonl", ROWS, SIZE)
    expected = importing.hash_of_content(path)
    begun = time.monotonic()
    killings.untouched(path)
    imports = 1
    while killings.hit.total() < KILLS:
        killings.through(path, AT_MOST, lambda dataset: check(killings, dataset, ROWS, expected))
        imports += 1
    print(
        f"\n{imports} imports of {ROWS} rows, {killings.hit.total()} kills of the server: "
        f"{', '.join(f'{moment} {count}' for moment, count in killings.hit.most_common())}; "
        f"an untouched one takes {killings.took:.1f} s; seed {SEED}, {time.monotonic() - begun:.0f} s"
    )


def test_an_import_of_a_million_rows_survives_a_kill(tmp_path: Path) -> None:
    """Killed once while it reads; the rows are there once."""
    killings = Killings(tmp_path / "data", random.Random(SEED), took=4.0)
    path = importing.write(tmp_path / "rows.jsonl", MANY, WIDE)
    expected = importing.hash_of_content(path)
    killings.through(path, 1, lambda dataset: check(killings, dataset, MANY, expected), ("any time",))
    assert killings.hit.total() == 1
    print(f"\n{MANY} rows, {path.stat().st_size / 1e6:.0f} MB, killed once")


def test_an_export_that_is_killed_again_and_again_is_made_once(tmp_path: Path) -> None:
    """Each is killed at a moment of its own; there is one record for each export, and no file besides."""
    killings = Killings(tmp_path / "data", random.Random(SEED))
    path = importing.write(tmp_path / "rows.jsonl", ROWS, SIZE)
    dataset = killings.untouched(path)
    killed = 0
    for number in range(1, EXPORTS + 1):
        with embedded.start(killings.data) as platform:
            Data.create_dataset_export_task(dataset, DataExportDestinationType.PlatformBos)
            time.sleep(killings.draw.uniform(0, 1.0))
            killed += importing.look(dataset)["exportStatus"] == 1
            platform.process.kill()
            platform.process.wait()
        with embedded.start(killings.data):
            end = time.monotonic() + 60
            while (info := importing.look(dataset))["exportStatus"] == 1:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert (info["exportStatus"], info["exportRecordCount"]) == (2, number)
            newest = Data.get_dataset_export_records(dataset)["result"][-1]
            with zipfile.ZipFile(io.BytesIO(download(newest["downloadUrl"]))) as archive:
                assert archive.testzip() is None
                assert archive.read("data.jsonl").count(b"\n") == newest["recordNum"] == ROWS
            assert len(contents(killings)) == 1 + number
            assert importing.leftovers(killings.data) == []
    print(f"\n{EXPORTS} exports of {ROWS} rows, {killed} killed while they ran")
    assert killed


def check(killings: Killings, dataset: str, rows: int, expected: str) -> None:
    """The dataset has the rows, once; the store has the upload and one content for each dataset; then it is deleted."""
    info = importing.look(dataset)
    assert info["entityCount"] == info["importRecordCount"] == info["annotatedEntityCount"] == rows
    kept = contents(killings)
    assert {page["sha256"] for page in kept} == {expected}
    assert importing.leftovers(killings.data) == []
    Data.delete_dataset(dataset)
    end = time.monotonic() + 30
    while len(contents(killings)) >= len(kept):
        assert time.monotonic() < end, "the content of a deleted dataset is freed"
        time.sleep(0.05)


def contents(killings: Killings) -> list[dict[str, Any]]:
    """What the store has besides uploads."""
    return [page for page in importing.pages(killings.data).values() if page["owner"] == 0]
