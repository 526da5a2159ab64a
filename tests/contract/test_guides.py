"""The examples of the guides, run as written against `qianfan serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Scripts

GUIDES = sorted((Path(__file__).parent / "guides").glob("*.py"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs_as_written(guide: Path, scripts: Scripts, dataset_id: int) -> None:
    """Credentials and addresses come from the environment; the script is the guide's."""
    done = scripts.run(guide, GUIDE_DATASET=str(dataset_id))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
