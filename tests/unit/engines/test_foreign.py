"""Weights of strangers: what is true of itself is taken, everything else is refused with the reason."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qianfan_platform.engines.llamacpp import foreign
from qianfan_platform.engines.llamacpp.tensors import PackFailed


@pytest.fixture
def folder(tiny_hf: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_hf, tmp_path / "model"))


def head_of(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_head(path: Path, head: Any, data: bytes, length: int | None = None) -> None:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def test_a_folder_and_a_file_that_are_what_they_say_are_taken(folder: Path, tiny_gguf: Path) -> None:
    """Architecture, context and size are found without reading the weights."""
    found = foreign.checked(folder)
    assert (found.kind, found.architecture, found.context) == ("safetensors", "llama", 1024)
    assert 600_000 < found.parameters < 1_000_000
    packed = foreign.checked(tiny_gguf)
    assert (packed.kind, packed.architecture, packed.context) == ("gguf", "llama", 1024)
    assert packed.parameters == found.parameters


def spoil(change: Callable[[dict[str, Any], bytes], tuple[Any, bytes]]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        path = folder / "model.safetensors"
        head, data = change(*head_of(path))
        write_head(path, head, data)

    return work


def overlapping(head: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    head["model.layers.0.mlp.up_proj.weight"] |= {
        "data_offsets": head["model.layers.0.mlp.gate_proj.weight"]["data_offsets"]
    }
    return head, data


def reshaped(shape: list[int]) -> Callable[[dict[str, Any], bytes], tuple[Any, bytes]]:
    def change(head: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
        head["model.norm.weight"]["shape"] = shape
        return head, data

    return change


def typed(head: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    head["model.norm.weight"]["dtype"] = "PICKLE"
    return head, data


def doubled(head: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    text = json.dumps(head)
    again = json.dumps(head["model.norm.weight"])
    return (text[:-1] + f', "model.norm.weight": {again}}}').encode(), data


def configured(**changes: Any) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return work


def linked(folder: Path) -> None:
    (folder / "extra.json").symlink_to("/etc/passwd")


def without_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def indexed(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret"}}))


def coded(folder: Path) -> None:
    plain = json.loads((folder / "tokenizer_config.json").read_text())
    plain["auto_map"] = {"AutoTokenizer": ["tokenization_evil.Evil", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(plain))


def with_a_copy(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    head, data = head_of(folder / "consolidated.safetensors")
    write_head(
        folder / "consolidated.safetensors",
        {f"x.{n}": row for n, row in head.items() if n != "__metadata__"},
        data,
    )
    weights = {"model.norm.weight": "model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


SPOILT = {
    "code of its own": (
        configured(auto_map={"AutoModel": "modeling_evil.Evil"}),
        "config.json names code of its own",
    ),
    "a tokenizer of code": (coded, "tokenizer_config.json names code of its own"),
    "weights beside the weights": (with_a_copy, "consolidated.safetensors is none of the parts"),
    "overlap": (spoil(overlapping), "overlaps another one"),
    "absurd shape": (spoil(reshaped([2**40, 2**20])), "does not take"),
    "negative shape": (spoil(reshaped([-128, -1])), "cannot have the shape"),
    "many dimensions": (spoil(reshaped([1] * 20 + [128])), "cannot have the shape"),
    "unknown type": (spoil(typed), "unknown type PICKLE"),
    "a name twice": (spoil(doubled), "twice"),
    "cut short": (spoil(lambda head, data: (head, data[:-100])), "cut short"),
    "hidden bytes": (spoil(lambda head, data: (head, data + b"evil")), "belong to none"),
    "no JSON": (spoil(lambda head, data: (b"{" * 5000, data)), "no JSON"),
    "no object": (spoil(lambda head, data: ([1, 2], data)), "no JSON object"),
    "wrong vocabulary": (configured(vocab_size=9999), "the embeddings are"),
    "huge vocabulary": (configured(vocab_size=10**12), "no size of a model"),
    "a huge head": (configured(head_dim=10**12), "head_dim is 1000000000000, which is no size"),
    "another kind of model": (configured(model_type="evil"), "cannot be packed"),
    "a size that is a text": (configured(hidden_size="many"), "no size of a model"),
    "a link": (linked, "no plain file"),
    "no template": (without_template, "has no chat template"),
    "an index that names others": (indexed, "not among the files"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_folder_that_lies_is_refused(name: str, folder: Path) -> None:
    """Each lie is named, and no lie costs memory."""
    change, why = SPOILT[name]
    change(folder)
    with pytest.raises(PackFailed, match=why):
        foreign.checked(folder)


@pytest.mark.parametrize("length", [0, 1, 2**40, 2**63])
def test_a_head_that_lies_about_its_length_is_refused(folder: Path, length: int) -> None:
    """The length is compared with the file before anything is read."""
    head, data = head_of(folder / "model.safetensors")
    write_head(folder / "model.safetensors", head, data, length)
    with pytest.raises(PackFailed, match="its head would be"):
        foreign.checked(folder)


def test_a_pickle_under_the_name_of_weights_is_refused(folder: Path) -> None:
    """What counts is the content."""
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00." + b"\0" * 64)
    with pytest.raises(PackFailed, match="no safetensors file"):
        foreign.checked(folder)


@pytest.mark.parametrize(
    "name", ["a.bin", "model.PT", "setup.py", "../config.json", "/etc/config.json", ".hidden.json", "a\\b.json", "x.exe"]
)  # fmt: skip
def test_names_that_are_no_model_are_refused(name: str) -> None:
    """By name alone, before a byte is looked at."""
    assert foreign.refused(name)


def test_of_a_repository_only_the_model_is_wanted() -> None:
    """Papers and pickles beside the weights are left, and a repository of pickles is refused."""
    names = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "run.py"]
    assert foreign.wanted(names) == ["config.json", "model.safetensors", "tokenizer.json"]
    with pytest.raises(PackFailed, match="pickles"):
        foreign.wanted(["config.json", "pytorch_model.bin"])


def gguf_head(tensors: int, pairs: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (gguf_head(2**60, 1, b""), "claims"),
        (gguf_head(1, 2**60, b""), "claims"),
        (gguf_head(0, 1, struct.pack("<Q", 2**62)), "damaged"),
        (gguf_head(0, 1, text("k") + struct.pack("<IIQ", 9, 8, 2**50)), "damaged"),
        (gguf_head(0, 1, text("k") + struct.pack("<IIQ", 9, 9, 1)), "damaged"),
        (gguf_head(0, 0, b""), "no language model"),
        (gguf_head(1, 0, text("t") + struct.pack("<I4QIQ", 4, *[2**60] * 4, 0, 0)), "cannot have the shape"),
        (gguf_head(1, 0, text("t") + struct.pack("<I", 2**31)), "damaged"),
        (gguf_head(1, 0, text("t") + struct.pack("<IQIQ", 1, 32, 9999, 0)), "unknown type"),
        (gguf_head(1, 0, text("t") + struct.pack("<IQIQ", 1, 32, 0, 2**50)), "cut short"),
        (
            gguf_head(2, 0, b"".join(text(n) + struct.pack("<IQIQ", 1, 8, 0, at) for n, at in (("a", 0), ("b", 16))))
            + b"\0" * 200,
            "overlaps",
        ),
        (gguf_head(0, 1, text("split.count") + struct.pack("<IH", 2, 3)), "one of 3 parts"),
        (gguf_head(2, 0, 2 * (text("a") + struct.pack("<IQIQ", 1, 8, 0, 0))), "twice"),
    ],
)  # fmt: skip
def test_a_gguf_file_that_lies_is_refused(raw: bytes, why: str, tmp_path: Path) -> None:
    """Counts, lengths, shapes, types and places are compared with the file."""
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(PackFailed, match=why):
        foreign.checked(tmp_path / "m.gguf")


@given(at=st.integers(0, 3000), byte=st.integers(0, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_in_a_head_never_surprises(
    at: int, byte: int, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Either it is still a model, or the reason is ours."""
    spoilt = tmp_path_factory.mktemp("spoilt") / "m.gguf"
    raw = bytearray(tiny_gguf.read_bytes())
    raw[at] = byte
    spoilt.write_bytes(raw)
    with contextlib.suppress(PackFailed):
        foreign.checked(spoilt)
    spoilt.unlink()


def test_the_child_tells_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON, in both cases."""
    assert foreign.main(str(folder)) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "safetensors"
    (folder / "config.json").unlink()
    assert foreign.main(str(folder)) == 1
    assert "config.json" in json.loads(capsys.readouterr().out)["failed"]
