"""Pictures made and read by real models of a few thousand random weights, in their child process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import pictures

from qianfan_platform.engines.pictures.engine import PicturesEngine
from qianfan_platform.engines.pictures.folder import check
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Tool,
)
from qianfan_platform.engines.start import missing

CAT = ImageWish("a cat", size=(64, 64), steps=2, seed=7)
LONG = replace(CAT, size=(256, 256), steps=900)  # a minute of work, to be left


@pytest.fixture(scope="module")
def both(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PicturesEngine, ...]]:
    """An engine that makes images, and one that is asked about them; they load side by side."""
    folder = pictures.made(tmp_path_factory)
    uses = {"painter": "text2image", "looker": "image2text"}
    specs = [EngineSpec("pictures", folder / name, options={"kinds": (use,)}) for name, use in uses.items()]

    async def started() -> list[PicturesEngine]:
        return await asyncio.gather(*(PicturesEngine.start(spec) for spec in specs))

    async def closed() -> None:
        await asyncio.gather(*(engine.close() for engine in engines))

    engines = run(started())
    yield tuple(engines)
    run(closed())


@pytest.fixture(scope="module")
def painter(both: tuple[PicturesEngine, ...]) -> PicturesEngine:
    return both[0]


@pytest.fixture(scope="module")
def looker(both: tuple[PicturesEngine, ...]) -> PicturesEngine:
    return both[1]


def png(colour: bytes, side: int = 32) -> str:
    """A `data:` URL of an image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + colour * side) * side))
    raw = b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(raw).decode()


def asked(*urls: str, text: str = "what is it?") -> list[dict[str, Any]]:
    """One question about images."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]


RED, BLUE = png(b"\xff\0\0"), png(b"\0\0\xff")


async def all_of(engine: PicturesEngine, messages: Any, sampling: Sampling) -> list[Delta]:
    async with aclosing(engine.generate(messages, sampling)) as deltas:
        return [delta async for delta in deltas]


@pictures.here
def test_the_same_seed_makes_the_same_picture(painter: PicturesEngine, run: Any) -> None:
    """Byte for byte; another seed, prompt or guidance makes another."""
    first, again, other, dog, free = (
        run(painter.paint(wish))[0]
        for wish in (
            CAT,
            CAT,
            replace(CAT, seed=8),
            replace(CAT, prompt="a dog"),
            replace(CAT, guidance=1.0, negative_prompt="dull"),
        )
    )
    assert first == again
    assert len({first, other, dog, free}) == 4


@pictures.here
def test_a_picture_has_the_size_that_was_wished(painter: PicturesEngine, run: Any) -> None:
    """It is a PNG file with that head; the n-th of several is that of the seed plus n."""
    wide = run(painter.paint(replace(CAT, size=(96, 64), count=2)))
    assert [one[:8] for one in wide] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert [struct.unpack(">II", one[16:24]) for one in wide] == [(96, 64)] * 2
    assert run(painter.paint(replace(CAT, size=(96, 64), seed=8))) == wide[1:]


@pictures.here
def test_a_style_is_said_in_the_prompt(painter: PicturesEngine, run: Any) -> None:
    """Base is no style."""
    anime = run(painter.paint(replace(CAT, style="Anime")))
    assert anime == run(painter.paint(replace(CAT, prompt="a cat, Anime style")))
    assert run(painter.paint(replace(CAT, style="Base"))) == run(painter.paint(CAT))


@pictures.here
def test_a_sampler_changes_the_picture(painter: PicturesEngine, run: Any) -> None:
    """Of the documented ones every second makes a picture of its own here; the model's own stays as it was."""
    wish = replace(CAT, steps=4)
    own = run(painter.paint(wish))[0]
    names = ("Euler", "Euler a", "DPM++ 2M Karras", "DPM++ SDE", "DPM2 a", "Heun", "DDIM", "DPM++ 2M SDE")
    made = {name: run(painter.paint(replace(wish, sampler=name)))[0] for name in names}
    assert len({own, *made.values()}) == len(names) + 1
    assert run(painter.paint(wish))[0] == own


@pictures.here
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (replace(CAT, size=(60, 64)), "60x64; both must be multiples of 8"),
        (replace(CAT, sampler="Magic"), "'Magic'; it knows: Euler, Euler a, .*DDIM"),
    ],
)
def test_what_it_cannot_paint_is_refused(
    wish: ImageWish, said: str, painter: PicturesEngine, run: Any
) -> None:
    """With what can be asked for; the engine lives on."""
    with pytest.raises(RequestRefused, match=said):
        run(painter.paint(wish))
    run(painter.health())


@pictures.here
def test_leaving_stops_the_work(painter: PicturesEngine, run: Any) -> None:
    """At the next step: what comes after is served at once, though minutes of work were asked for."""

    async def leave() -> float:
        work = asyncio.create_task(painter.paint(LONG))
        await asyncio.sleep(0.3)
        assert painter.working
        await painter.health()  # at work is well
        work.cancel()
        await asyncio.wait([work])
        assert work.cancelled()
        began = time.monotonic()
        assert await painter.paint(CAT)
        return time.monotonic() - began

    assert run(leave()) < 5
    assert not painter.working


@pictures.here
def test_questions_at_once_wait_for_each_other(painter: PicturesEngine, run: Any) -> None:
    """Each gets its own picture; who leaves while waiting disturbs nobody."""

    async def several() -> list[Any]:
        tasks = [asyncio.create_task(painter.paint(replace(CAT, seed=seed))) for seed in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run(several())
    assert isinstance(found.pop(2), asyncio.CancelledError)
    assert len({one[0] for one in found}) == 4
    assert found[0] == run(painter.paint(replace(CAT, seed=0)))


@pictures.here
def test_a_painter_neither_answers_nor_embeds(painter: PicturesEngine, run: Any) -> None:
    """The errors say what to name instead."""
    with pytest.raises(RequestRefused, match='kind "image2text"'):
        run(all_of(painter, asked(RED), Sampling()))
    with pytest.raises(RequestRefused, match="does not embed"):
        run(painter.embed(["a"]))


@pictures.here
def test_a_silent_process_counts_as_hung_and_is_ended(painter: PicturesEngine, run: Any) -> None:
    """So that another can take its place. What waits behind it learns how it ended."""

    async def hang() -> None:
        work = asyncio.create_task(painter.paint(LONG))
        await asyncio.sleep(0.3)
        waits = asyncio.create_task(painter.paint(CAT))
        painter._idle_s = 0.5
        os.kill(painter.pid, signal.SIGSTOP)
        work.cancel()  # the drain must find it out, too
        with pytest.raises(EngineFailed, match="was ended by signal 9"):
            await waits
        assert not painter.alive()
        with pytest.raises(EngineFailed, match="was ended by signal 9"):
            await painter.health()

    run(hang())


@pictures.here
def test_a_picture_is_told_about(looker: PicturesEngine, run: Any) -> None:
    """The likeliest tokens, the same each time; another picture or question gets another answer. All is counted."""

    def said(*messages: Any, **sampling: Any) -> tuple[str, Delta]:
        *pieces, last = run(all_of(looker, *messages, Sampling(max_tokens=8, **sampling)))
        return "".join(piece.text for piece in pieces), last

    red, end = said(asked(RED))
    assert red
    assert (end.finish_reason, end.completion_tokens) == ("length", 8)
    assert end.prompt_tokens == len("user: what is it?assistant:") + 16  # an image is 16 tokens here
    assert said(asked(RED))[0] == red
    assert len({red, said(asked(BLUE))[0], said(asked(RED, text="who?"))[0]}) == 3
    two = said([*asked(RED), {"role": "assistant", "content": "a cat"}, *asked(BLUE)])[1]
    assert two.prompt_tokens is not None
    assert two.prompt_tokens > 2 * 16
    assert said([{"role": "user", "content": "hi"}])[0]  # it may be asked about nothing
    sampled = said(asked(RED), temperature=1.0, seed=3)[0]
    assert sampled == said(asked(RED), temperature=1.0, seed=3)[0] != red


@pictures.here
def test_an_answer_ends_before_a_stop_word(looker: PicturesEngine, run: Any) -> None:
    """Which is in no piece."""
    whole = "".join(one.text for one in run(all_of(looker, asked(RED), Sampling(max_tokens=30))))
    stop = whole[3:5]
    *pieces, end = run(all_of(looker, asked(RED), Sampling(max_tokens=30, stop=(stop,))))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert end.finish_reason == "stop"


@pictures.here
def test_what_it_cannot_read_is_refused(looker: PicturesEngine, run: Any) -> None:
    """Half an image, functions, too long a question."""
    for messages, sampling, said in (
        (asked(RED[:-40]), Sampling(), "the image cannot be read"),
        (asked(RED), Sampling(tools=(Tool("f"),)), "calls no functions"),
        (asked(RED), Sampling(presence_penalty=1.0), "takes no presence_penalty"),
    ):
        with pytest.raises(RequestRefused, match=said):
            run(all_of(looker, messages, sampling))
    with pytest.raises(PromptTooLong, match="at most"):
        run(all_of(looker, asked(RED, text="why? " * 500), Sampling()))
    with pytest.raises(RequestRefused, match="makes no images"):
        run(looker.paint(CAT))


@pictures.here
def test_a_killed_process_is_not_alive(looker: PicturesEngine, run: Any) -> None:
    """The error says how it ended; whoever watches can start another."""

    async def kill() -> None:
        os.kill(looker.pid, signal.SIGKILL)
        with pytest.raises(EngineFailed, match="was ended by signal 9"):
            await all_of(looker, asked(RED), Sampling())
        assert not looker.alive()

    run(kill())


def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    """As soon as its input closes, be it before anything is loaded."""
    command = [sys.executable, "-m", "qianfan_platform.engines.pictures.server"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"use": "text2image", "folder": "/", "context": 1, "threads": 1}\n')
    process.stdin.close()
    assert process.wait(20) == 0
    assert process.stdout.read() == b""
    process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the check takes for a pipeline."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"")
    assert check(tmp_path, "text2image") == tmp_path
    return tmp_path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt", "weights.PT", "pipeline.py", "x.pkl"])
def test_what_could_run_code_is_refused_before_anything_is_loaded(
    name: str, folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file, and where in the folder it is."""
    (folder / "unet" / name).write_bytes(b"")
    with pytest.raises(EngineFailed, match=f"unet.{name} could run code"):
        run(PicturesEngine.start(EngineSpec("pictures", folder, options={"kinds": ("text2image",)})))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ('{"unet": ["antigravity", "UNet"]}', "takes its unet from 'antigravity'"),
        ('{"unet": ["../evil", "UNet"]}', "takes its unet from '../evil'"),
        ('{"_class_name": ["mine", "Pipeline"]}', "is no class of diffusers"),
        ("[1", "cannot be read"),
    ],
)
def test_a_pipeline_names_no_modules_of_others(index: str, said: str, folder: Path) -> None:
    """They would be imported when it is loaded."""
    (folder / "model_index.json").write_text(index)
    with pytest.raises(EngineFailed, match=said):
        check(folder, "text2image")


@pictures.here
def test_a_pipeline_names_parts_of_diffusers(folder: Path) -> None:
    """Of its own, of Transformers, of one of its pipelines, or nobody's."""
    parts = {"_class_name": "A", "unet": ["diffusers", "B"], "text_encoder": ["transformers", "C"]}
    parts |= {"safety_checker": ["stable_diffusion", "D"], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps({**parts, "requires_safety_checker": False}))
    assert check(folder, "text2image") == folder


def test_a_folder_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    """The error says what is missing."""
    with pytest.raises(EngineFailed, match=r"holds no config\.json: it is not a model of Transformers"):
        check(folder, "image2text")
    shutil.rmtree(folder / "unet")
    with pytest.raises(EngineFailed, match=r"no file ends in \.safetensors"):
        check(folder, "text2image")
    with pytest.raises(EngineFailed, match="must be a folder"):
        check(folder / "none", "text2image")


def test_without_its_libraries_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra has its own name."""
    monkeypatch.setattr("qianfan_platform.engines.start.find_spec", lambda name: None)
    said = missing("pictures")
    assert said is not None
    assert "diffusers" in said
    assert "pip install 'open-qianfan[images]'" in said
