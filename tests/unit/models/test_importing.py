"""Imports from a hub, by a platform of the test's own: fetched, checked, packed, asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.hub import COMMIT, hub

from qianfan.contract.errors import Fault
from qianfan_platform.app import running
from qianfan_platform.catalogue import tiny
from qianfan_platform.engines.llamacpp.pack import model_to_gguf
from qianfan_platform.jobs import Job, Step
from qianfan_platform.models import importing, operations
from qianfan_platform.models.scratch import keep, scratch
from qianfan_platform.models.tables import ModelVersion
from qianfan_platform.platform import Platform, Settings

__all__ = ["hub"]  # a fixture
pytestmark = pytest.mark.anyio
OWNER = 1


@pytest.fixture
async def platform(hub: Any, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Platform]:
    """A platform whose only hub is the one on this machine."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[stand_ins]\nchat = "tiny"\ncompletions = "tiny"\ntraining = "tiny"\n')
    tiny.build(tmp_path / "tiny")
    async with running(Settings(tmp_path / "data", catalogue=catalogue)) as found:
        yield found.platform


async def imported(platform: Platform, **meta: Any) -> ModelVersion:
    """The version of an import, when it is made."""
    origin = await importing.origin_of(platform, OWNER, meta)  # type: ignore[arg-type]
    async with platform.store.transaction() as tx:
        model = await operations.create(tx, OWNER, "from a hub")
        ident = (await operations.add_imported(tx, model, origin)).id
    with anyio.fail_after(90):
        while True:
            async with platform.store.reading() as tx:
                row = await operations.version(tx, OWNER, ident)
            if row.status != "Creating":
                return row
            await anyio.sleep(0.05)


def blobs(platform: Platform) -> set[str]:
    return {path.stem for path in (platform.settings.data / "files").glob("*/file-*.json")}


def left_over(platform: Platform) -> list[Path]:
    """Folders of unfinished work."""
    return list(platform.settings.work.glob("model-*"))


async def test_a_commit_and_a_file_of_a_hub_become_models(
    platform: Platform, hub: Any, tmp_path: Path
) -> None:
    """A folder of safetensors, then one GGUF file by its hash; nothing is left in the work folder."""
    hub["files"].update({file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()})
    hub["files"]["modeling.py"] = b"print('code')"
    row = await imported(
        platform, source="hf:org/model"
    )  # by its name alone: at the commit that it is at now
    assert (row.status, row.reason) == ("Ready", "")
    assert (row.context, row.origin["architecture"]) == (1024, "llama")
    assert row.origin["source"] == f"hf:org/model@{COMMIT}"

    model_to_gguf(tmp_path / "tiny", tmp_path / "m.gguf", dtype="f32")
    content = hub["files"]["m.gguf"] = (tmp_path / "m.gguf").read_bytes()
    row = await imported(
        platform, source=f"hf:org/model@{COMMIT}#m.gguf", sha256=hashlib.sha256(content).hexdigest()
    )
    assert (row.status, row.reason) == ("Ready", "")
    assert blobs(platform) >= {row.package_file, row.weights_file}
    assert left_over(platform) == []


async def test_a_hub_that_lies_makes_no_model_and_leaves_no_file(
    platform: Platform, hub: Any, tmp_path: Path
) -> None:
    """What the commit says decides; and a head that lies is found where the hub vouches for it."""
    hub["files"].update({file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()})
    hub["changed"]["config.json"] = b"{}"
    row = await imported(platform, source=f"hf:org/model@{COMMIT}")
    assert row.status == "Fail"
    assert "config.json is not what the commit says" in row.reason
    hub["changed"].clear()
    hub["files"]["model.safetensors"] = b"\xff" * 500
    row = await imported(platform, source=f"hf:org/model@{COMMIT}")
    assert row.status == "Fail"
    assert "no safetensors file" in row.reason
    with anyio.fail_after(20):
        while blobs(platform) or left_over(platform):
            await anyio.sleep(0.05)


async def test_what_a_killed_run_kept_goes_when_the_next_one_keeps(
    platform: Platform, tmp_path: Path
) -> None:
    """A kill between keeping a folder and writing down that it is kept leaves a blob that no row names."""
    row = ModelVersion(public_id="amv-0123456789ab")
    for attempt in (1, 2):
        step = Step(platform.store, platform, Job(id=7, owner_id=OWNER, fence=attempt), lease_s=30)
        async with scratch(step, "pack") as folder:
            (folder / "model.gguf").write_bytes(b"weights")
            kept = await keep(step, row, folder, "package")
        assert blobs(platform) == {kept}
        assert left_over(platform) == []


async def test_a_template_or_a_tokenizer_that_attacks_makes_no_model(
    platform: Platform, hub: Any, tmp_path: Path
) -> None:
    """Hostile inputs 27 and 28, from end to end: the version fails with the reason, and the next one is made."""
    good = {file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()}
    tokenizer = json.loads(good["tokenizer.json"])
    slow = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    bombs: list[tuple[str, bytes, str]] = [
        ("chat_template.jinja", b"{{ lipsum.__globals__ }}", "it reaches for __globals__ in line 1"),
        ("chat_template.jinja", b"{% for i in range(10 ** 9) %}x{% endfor %}", "range of more than"),
        ("tokenizer.json", json.dumps({**tokenizer, "normalizer": slow}).encode(), "none of the known"),
    ]
    for name, content, why in bombs:
        hub["files"].clear()
        hub["files"].update({**good, name: content})
        row = await imported(platform, source=f"hf:org/model@{COMMIT}")
        assert (row.status, why in row.reason) == ("Fail", True), row.reason
    hub["files"].clear()
    hub["files"].update(good)
    assert (await imported(platform, source=f"hf:org/model@{COMMIT}")).status == "Ready"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "either files or source"),
    ({"source": "path:/etc"}, "is not taken here"),
    ({"source": "openai:http://127.0.0.1:1/v1"}, "is not taken here"),
    ({"source": "modelscope:org/model"}, "needs a GGUF file"),
    ({"source": "hf:org/model@main#m.gguf"}, "needs its sha256"),
    ({"source": "hf:org/model@x#../../m.gguf", "sha256": "0" * 64}, "outside"),
    ({"files": [{"name": "m.gguf", "path": "/etc/passwd"}]}, "does not exist"),
]


async def test_what_cannot_be_imported_is_refused_before_anything_is_fetched(platform: Platform) -> None:
    """Paths of the server, hosts of somebody's choice, files without a hash."""
    for meta, why in REFUSED:
        with pytest.raises(Fault, match=why):
            await importing.origin_of(platform, OWNER, meta)  # type: ignore[arg-type]
