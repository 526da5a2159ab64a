"""Killed on purpose: the server in the middle of an import. Afterwards there are exactly the rows of the file, once."""

from __future__ import annotations

import random
from pathlib import Path

from qianfan import embedded
from tests import importing
from tests.importing import Killings

ROWS = 4_000


def test_an_import_survives_kills_of_the_server(tmp_path: Path) -> None:
    """Kill -9 while it reads, and when it has just kept the content; nothing is lost, doubled or left over."""
    data = tmp_path / "data"
    killings = Killings(data, random.Random(5))
    path = importing.write(tmp_path / "rows.jsonl", ROWS, 2_000)
    with embedded.start(data) as platform:
        dataset = importing.new_dataset()
        killings.start(dataset, path)
        killed = killings.kill(platform, dataset, "reading")
    assert killed
    with embedded.start(data) as platform:
        assert killings.kill(platform, dataset, "kept")
    with embedded.start(data):
        info = importing.finished(dataset)
    assert info["entityCount"] == info["importRecordCount"] == info["annotatedEntityCount"] == ROWS
    kept = importing.pages(data)
    assert sorted(page["sha256"] for page in kept.values() if page["owner"] == 0) == [
        importing.hash_of_content(path)
    ]
    assert len(kept) == 2, "the upload and the content"
    assert importing.leftovers(data) == []
