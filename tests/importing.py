"""An import that is killed again and again, for the tests of it: what is asked for, when it is killed, what must be left."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qianfan import embedded
from qianfan.dataset.upload import upload
from qianfan.embedded import Embedded
from qianfan.resources import Data
from qianfan.resources.console.consts import (
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
)
from tests.processes import family

READER = "datasets.reading"
MOMENTS = ("any time", "reading", "keeping", "kept")
LONGEST_S = 300.0


def rows(count: int, size: int = 0) -> Iterator[bytes]:
    """Lines of JSONL, each of at least `size` bytes; no two are alike."""
    for number in range(count):
        answer = f"answer {number} ".ljust(size, "x")
        yield json.dumps([{"prompt": f"question {number}", "response": [[answer]]}]).encode() + b"\n"


def write(path: Path, count: int, size: int = 0) -> Path:
    with path.open("wb") as file:
        file.writelines(rows(count, size))
    return path


def hash_of_content(*files: Path) -> str:
    """What the content must be that these files were imported into, one after another."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                digest.update(json.dumps(json.loads(line), separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def new_dataset(name: str = "killed") -> str:
    made = Data.create_bare_dataset(
        name, DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation
    )
    return str(made["result"]["datasetId"])


def look(dataset: str) -> dict[str, Any]:
    return dict(Data.get_dataset_info(dataset)["result"]["versionInfo"])


def finished(dataset: str) -> dict[str, Any]:
    """Wait for the end of an import, which must be a good one."""
    end = time.monotonic() + LONGEST_S
    while (info := look(dataset))["importStatus"] == 1:
        assert time.monotonic() < end, f"the import does not end: {info['importProgress']} %"
        time.sleep(0.02)
    assert info["importStatus"] == 2, info["importErrorInfo"]
    return info


@dataclass
class Killings:
    """Imports on one data folder, each killed at moments of its life until it has had its share."""

    data: Path
    draw: random.Random
    took: float = 1.0  # seconds of an untouched import
    hit: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, str] = field(default_factory=dict)  # local name → path on the platform
    before: set[str] = field(default_factory=set)  # what the store had when the newest import began

    def send(self, path: Path) -> str:
        """Upload a file once; its path on the platform."""
        if path.name not in self.uploads:
            self.uploads[path.name] = str(upload(path, path.name)["path"])
        return self.uploads[path.name]

    def start(self, dataset: str, path: Path) -> None:
        remote = self.send(path)
        self.before = set(pages(self.data))
        Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, remote)

    def untouched(self, path: Path) -> str:
        """An import that nobody kills, and how long it takes."""
        with embedded.start(self.data):
            dataset = new_dataset()
            self.send(path)
            begun = time.monotonic()
            self.start(dataset, path)
            finished(dataset)
            self.took = time.monotonic() - begun
        return dataset

    def kill(self, platform: Embedded, dataset: str, moment: str) -> str | None:
        """Kill the server at the moment; None when the import had ended before, and nobody was killed."""
        waiting = self.draw.uniform(0, self.took if moment == "any time" else 0.02)
        end = time.monotonic() + LONGEST_S
        asked = 0.0
        while not self.has_come(moment, platform):
            if (now := time.monotonic()) > asked + 0.2:  # seldom: moments are short
                if look(dataset)["importStatus"] != 1:
                    return None
                assert now < end, f"{moment} does not come"
                asked = now
        if moment != "kept":  # which is over at once
            time.sleep(waiting)
        readers = family(READER, platform.process.pid)
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait()
        end = time.monotonic() + 10
        while any(reader.is_running() and reader.status() != "zombie" for reader in readers):
            assert time.monotonic() < end, "a killed server leaves no reader behind"
            time.sleep(0.01)
        self.hit[moment] += 1
        return moment

    def has_come(self, moment: str, platform: Embedded) -> bool:
        match moment:
            case "reading":
                return bool(family(READER, platform.process.pid))
            case "keeping":
                return any((self.data / "files" / "incoming").glob("file-*"))
            case "kept":
                return bool(set(pages(self.data)) - self.before)
        return True

    def through(
        self, path: Path, kills: int, check: Callable[[str], None], moments: tuple[str, ...] = MOMENTS
    ) -> None:
        """An import that is killed up to `kills` times; `check` hears of the dataset when it has finished."""
        dataset = ""
        while True:
            with embedded.start(self.data) as platform:
                if not dataset:
                    dataset = new_dataset()
                    self.start(dataset, path)
                if kills and self.kill(platform, dataset, self.draw.choice(moments)):
                    kills -= 1
                    continue
                finished(dataset)
                check(dataset)
                return


def pages(data: Path) -> dict[str, dict[str, Any]]:
    """What the file store says it has, by id."""
    found = {}
    for page in (data / "files").glob("??/file-*.json"):
        try:
            found[page.stem] = json.loads(page.read_bytes())
        except FileNotFoundError:  # gone since it was listed
            continue
    return found


def leftovers(data: Path) -> list[str]:
    """What no page of the file store names, and scratch of imports."""
    store = data / "files"
    known = set(pages(data))
    blobs = [path for path in store.glob("??/file-*") if path.suffix != ".json"]
    left = [path for path in blobs if path.name not in known]
    left += (store / "incoming").iterdir()
    left += (data / "work").glob("import-*")
    left += (data / "work").glob("export-*")
    return [str(path.relative_to(data)) for path in left]
