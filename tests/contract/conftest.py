"""A platform for the whole test run: `qianfan serve` in a process of its own, with the tiny model for all names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from tests.contract.echoing import echoing, raw
from tests.contract.evaluating import asked, dataset_of_questions, echo_catalogue, echo_server, judged

__all__ = [
    "asked",
    "dataset_of_questions",
    "echo_catalogue",
    "echo_server",
    "echoing",
    "judged",
    "raw",
]  # fixtures, besides those below

CATALOGUE = """\
# Every documented name is the tiny model here: real training and serving in seconds.
[stand_ins]
chat = "tiny"
completions = "tiny"
training = "tiny"
"""


@pytest.fixture(scope="session")
def tiny_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "tiny.toml"
    path.write_text(CATALOGUE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, tiny_catalogue: Path) -> Iterator[Embedded]:
    """A running platform; this process's configuration stays as it is."""
    with embedded.start(tmp_path_factory.mktemp("platform"), use=False, catalogue=tiny_catalogue) as running:
        yield running


@dataclass(frozen=True)
class Scripts:
    """Runs scripts against the platform, with its credentials in their environment only."""

    platform: Embedded

    def environment(self, **extra: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("QIANFAN_")}
        kept = ("QIANFAN_HOME", "QIANFAN_CACHE_DIR")
        home = {name: value for name, value in os.environ.items() if name in kept}
        return {**inherited, **home, **self.platform.environment, **extra}

    def run(
        self, path: Path, *arguments: str, timeout: float = 240, stdin: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            env=self.environment(**extra),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="session")
def scripts(platform: Embedded) -> Scripts:
    return Scripts(platform)


@pytest.fixture
def configured(platform: Embedded) -> Iterator[Embedded]:
    """The platform, with this process's SDK pointed at it."""
    with embedded.configured(platform.environment):
        yield platform


def conversations(count: int, *, start: int = 0) -> list[list[dict[str, object]]]:
    """`count` short conversations in the annotated non-sorted format."""
    return [
        [{"prompt": f"question {number}", "response": [[f"answer {number}"]]}]
        for number in range(start, start + count)
    ]


def write_conversations(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in conversations(count)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def dataset_id(platform: Embedded, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A released dataset of 24 conversations on the platform."""
    from qianfan.dataset import Dataset
    from qianfan.resources.console.consts import DataTemplateType
    from qianfan.resources.console.data import Data

    file = write_conversations(tmp_path_factory.mktemp("data") / "rows.jsonl", 24)
    with embedded.configured(platform.environment):
        dataset = Dataset.load(data_file=str(file))
        assert dataset.save(
            replace_source=True,
            qianfan_dataset_create_args={
                "name": "guide set",
                "template_type": DataTemplateType.NonSortedConversation,
            },
        )
        ident = dataset.inner_data_source_cache.id
        assert dataset.inner_data_source_cache.release_dataset()
        return int(Data.get_dataset_info(ident)["result"]["versionInfo"]["datasetId"])
