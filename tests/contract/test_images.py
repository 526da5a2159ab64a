"""Images made and read on this machine, by the SDK and both interfaces, with models of random weights."""

from __future__ import annotations

import base64
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import qianfan
from qianfan import embedded
from qianfan.embedded import Embedded
from tests import pictures
from tests.contract.echoing import Raw
from tests.processes import family

pytestmark = pictures.here

CATALOGUE = """\
[models.painter]
engine = "pictures"
source = "path:{folder}/painter"
kinds = ["text2image"]
[models.captioner]
engine = "pictures"
source = "path:{folder}/captioner"
kinds = ["image2text"]
[models.pickled]
engine = "pictures"
source = "path:pickled"
kinds = ["text2image"]
[stand_ins]
chat = "echo"
completions = "echo"
training = "tiny"
text2image = "painter"
image2text = "captioner"
"""
HI = [{"role": "user", "content": "hi"}]
SMALL = {"size": "768x768", "steps": 10, "seed": 7}


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A platform whose images are made and read by engines of its own."""
    folder = pictures.made(tmp_path_factory)
    data = tmp_path_factory.mktemp("drawing")
    shutil.copytree(folder / "painter", data / "pickled")
    (data / "pickled" / "unet" / "pytorch_model.bin").write_bytes(b"")
    catalogue = data / "catalogue.toml"
    catalogue.write_text(CATALOGUE.format(folder=folder), encoding="utf-8")
    with (
        embedded.start(data / "platform", use=False, catalogue=catalogue) as running,
        embedded.configured(running.environment),
    ):
        yield running


def test_the_sdk_gets_the_picture_that_was_described(drawing: Embedded) -> None:
    """A PNG file of the size; the same seed gives it once more, also from a process that had to be started again."""
    draws = qianfan.Text2Image()
    answer = draws.do(prompt="a cat", with_decode="base64", n=2, **SMALL)
    first, second = (row["image"] for row in answer["data"])
    assert struct.unpack(">II", first[16:24]) == (768, 768)
    assert first != second
    painters = family("engines.pictures.server", drawing.process.pid)
    assert len(painters) == 1
    painters[0].kill()
    psutil.wait_procs(painters, timeout=10)
    again = draws.do(prompt="a cat", model="Stable-Diffusion-XL", with_decode="base64", **SMALL)
    assert again["data"][0]["image"] == first


def test_the_v2_interface_makes_pictures_too(drawing: Embedded) -> None:
    """What the model cannot do is refused in the words of the interface."""
    raw = Raw(drawing)
    body = {"model": "painter", "prompt": "a cat", **SMALL}
    made = raw.v2("images/generations", body).json
    assert base64.b64decode(made["data"][0]["b64_json"])[:4] == b"\x89PNG"
    refused = raw.v1("text2image/painter", {"prompt": "a cat", **SMALL, "sampler_index": "Nothing"}).json
    assert refused["error_code"] == 336202


def test_the_sdk_hears_what_is_seen(drawing: Embedded) -> None:
    """With tokens counted, whole and streamed. Without an image there is nothing to say."""
    image = base64.b64encode(drawing_of_two_colours()).decode()
    looks = qianfan.Image2Text(endpoint="captioner")
    whole = looks.do(prompt="what is it?", image=image, max_output_tokens=6)
    assert whole["result"]
    assert whole["usage"]["completion_tokens"] == 6
    pieces = looks.do(prompt="what is it?", image=image, max_output_tokens=6, stream=True)
    assert "".join(piece["result"] for piece in pieces) == whole["result"]
    blind = Raw(drawing).v2("chat/completions", {"model": "captioner", "messages": HI})
    assert (blind.status, "send one with the question" in blind.json["error"]["message"]) == (400, True)


def test_a_folder_with_a_pickle_is_served_to_nobody(drawing: Embedded) -> None:
    """The error names the file."""
    body = Raw(drawing).v1("text2image/pickled", {"prompt": "a cat", **SMALL}).json
    assert "pytorch_model.bin could run code" in body["error_msg"]
    assert str(Path(drawing.data).parent) not in body["error_msg"]


def drawing_of_two_colours() -> bytes:
    """A BMP file of 32 by 32 pixels, the upper half red."""
    rows = (b"\xff\0\0" * 32) * 16 + (b"\0\0\xff" * 32) * 16
    head = struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + head + rows
