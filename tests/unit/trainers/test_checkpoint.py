from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from safetensors.torch import load_file

from qianfan_platform.trainers.child import checkpoint
from qianfan_platform.trainers.child.checkpoint import Progress
from qianfan_platform.trainers.child.model import Trainee, use
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper, TrainSpec


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> TrainSpec:
    (tmp_path / "rows").write_text("[]")
    return TrainSpec(tiny_model, tmp_path / "rows", tmp_path, method="ALL", dtype="bfloat16")


def trainee_of(spec: TrainSpec) -> Trainee:
    use(spec)
    return Trainee(spec, longest=16)


def some_updates(trainee: Trainee) -> None:
    for _ in range(2):
        for weight in trainee.weights.values():
            weight.grad = torch.randn(weight.shape)
        trainee.update(1e-2)


def test_a_restored_trainee_is_the_saved_one(spec: TrainSpec, tmp_path: Path) -> None:
    """Weights, their bfloat16 copies, the optimiser, random state and place come back bit for bit."""
    first = trainee_of(spec)
    some_updates(first)
    who = checkpoint.identity(spec)
    place = checkpoint.save(tmp_path / "checkpoints", first, Progress(step=2, epoch=1, position=1), who)
    next_random = torch.rand(3)
    second = trainee_of(spec)
    progress, warnings = checkpoint.restore(place, second, who)
    assert (progress.step, progress.epoch, progress.position, warnings) == (2, 1, 1, [])
    assert torch.equal(torch.rand(3), next_random)
    for trainee in (first, second):  # from here on both must move alike
        torch.manual_seed(3)
        some_updates(trainee)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert all(torch.equal(first.shadows[name], second.shadows[name]) for name in first.shadows)


def test_a_torn_or_altered_checkpoint_is_passed_over(spec: TrainSpec, tmp_path: Path) -> None:
    """Only a checkpoint whose every byte is there is used; else the one before it."""
    trainee = trainee_of(spec)
    folder = tmp_path / "checkpoints"
    some_updates(trainee)
    for step in (2, 4):
        checkpoint.save(folder, trainee, Progress(step=step), {})
    assert checkpoint.newest(folder) == folder / "4"
    assert checkpoint.newest(folder, not_after=3) == folder / "2"
    weights = folder / "4" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert checkpoint.newest(folder) == folder / "2"
    (folder / "2" / "random.safetensors").unlink()
    assert checkpoint.newest(folder) is None


def test_the_newest_two_are_kept(spec: TrainSpec, tmp_path: Path) -> None:
    """Old checkpoints go, and what a dead process left half-written goes too."""
    trainee = trainee_of(spec)
    folder = tmp_path / "checkpoints"
    (folder / ".part-9-1").mkdir(parents=True)
    for step in (1, 2, 10):
        checkpoint.save(folder, trainee, Progress(step=step), {})
    assert sorted(place.name for place in folder.iterdir()) == ["10", "2"]


def test_a_torn_checkpoint_pushes_out_no_whole_one(spec: TrainSpec, tmp_path: Path) -> None:
    """A run that went on from before it counts it no more: the one that is written now is the newest."""
    trainee = trainee_of(replace(spec, checkpoints_kept=1))
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, trainee, Progress(step=6), {})
    (folder / "6" / "manifest.json").unlink()
    checkpoint.save(folder, trainee, Progress(step=5), {})
    assert [place.name for place in folder.iterdir()] == ["5"]
    assert checkpoint.newest(folder) == folder / "5"


def test_a_checkpoint_of_other_data_is_refused_by_name(spec: TrainSpec, tmp_path: Path) -> None:
    """Going on from another run says which setting is not the same."""
    trainee = trainee_of(spec)
    place = checkpoint.save(tmp_path / "checkpoints", trainee, Progress(step=1), checkpoint.identity(spec))
    spec.rows.write_text("[1]")
    other = TrainSpec(**{**vars(spec), "hyper": Hyper(learning_rate=1.0)})
    with pytest.raises(Refused, match=r"other rows, hyper\.learning_rate"):
        checkpoint.restore(place, trainee, checkpoint.identity(other))


def test_tensors_are_written_as_safetensors(tmp_path: Path) -> None:
    """Any reader of safetensors reads them: dtypes, shapes, empty tensors, scalars."""
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).bfloat16(),
        "c": torch.arange(6, dtype=torch.uint8).view(2, 3).t(),
        "d": torch.zeros(0),
        "e": torch.tensor(2.5),
    }
    checkpoint.write_tensors(tmp_path / "t.safetensors", tensors)
    read = load_file(tmp_path / "t.safetensors")
    assert list(read) == list(tensors)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A full disk costs the new checkpoint, never the old one."""

    def write(into: Path) -> None:
        checkpoint.write_file(into / "a", b"new")
        raise OSError(28, "No space left on device")

    checkpoint.write_folder(tmp_path / "1", lambda into: checkpoint.write_file(into / "a", b"old"))
    with pytest.raises(OSError, match="No space"):
        checkpoint.write_folder(tmp_path / "1", write)
    assert (tmp_path / "1" / "a").read_bytes() == b"old"
    assert checkpoint.whole(tmp_path / "1")
    assert json.loads((tmp_path / "1" / "manifest.json").read_bytes()).keys() == {"a"}
    assert [place.name for place in tmp_path.iterdir()] == ["1"]
