from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from qianfan_platform.trainers.child import attention, plan
from qianfan_platform.trainers.child.batches import batches, collate, micro_batches, packed
from qianfan_platform.trainers.child.memory import Memory
from qianfan_platform.trainers.child.model import Trainee, learning_rate, use
from qianfan_platform.trainers.child.objectives import Language
from qianfan_platform.trainers.child.samples import IGNORED, Encoded
from qianfan_platform.trainers.child.wire import Events, plain
from qianfan_platform.trainers.protocol import Hyper, TrainSpec


def samples(lengths: list[int]) -> list[Encoded]:
    draw = random.Random(1)
    ids = [[draw.randrange(256) for _ in range(length)] for length in lengths]
    return [Encoded(i, [IGNORED] * (len(i) // 2) + i[len(i) // 2 :]) for i in ids]


@pytest.fixture
def trainee(tiny_model: Path, tmp_path: Path) -> Trainee:
    spec = TrainSpec(tiny_model, tmp_path / "rows", tmp_path, method="ALL", dtype="float32")
    use(spec)
    return Trainee(spec, longest=64)


def test_an_epoch_has_every_sample_once_and_epochs_differ() -> None:
    """The order is drawn from the seed and the epoch, so a run can begin anywhere in it."""
    first, second = batches(10, 4, seed=7, epoch=0), batches(10, 4, seed=7, epoch=1)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(sample for batch in first for sample in batch) == list(range(10))
    assert first == batches(10, 4, seed=7, epoch=0)
    assert first != second


def test_micro_batches_hold_every_sample_within_the_bound() -> None:
    """Samples of like length go together; one that is too long goes alone."""
    whole = samples([10, 300, 20, 2000, 10, 290])
    groups = micro_batches(whole, limit=600)
    assert [[len(s.ids) for s in group] for group in groups] == [[10, 10, 20], [290, 300], [2000]]


def test_the_loss_is_the_models_own(trainee: Trainee) -> None:
    """Looking only at learned places, without a padding mask, changes nothing."""
    group = samples([30, 41])
    assert trainee.try_plain_head(group[0])
    ours = float(trainee.losses(trainee.batch(group)).detach().sum())
    theirs = 0.0
    for sample in group:
        out = trainee.causal(input_ids=torch.tensor([sample.ids]), labels=torch.tensor([sample.labels]))
        theirs += float(out.loss.detach()) * sample.trained
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_micro_batches_give_the_gradient_of_the_whole_batch(trainee: Trainee) -> None:
    """Cutting a batch to fit memory does not change what is learned."""
    whole = samples([12, 40, 25, 33])
    trained = sum(s.trained for s in whole)
    gradients = []
    for groups in ([whole], micro_batches(whole, limit=40)):
        for group in groups:
            trainee.backward(Language(), group, trained)
        gradients.append(torch.cat([w.grad.flatten() for w in trainee.weights.values()]))
        trainee.forget()
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_packed_samples_see_only_themselves(trainee: Trainee) -> None:
    """Several samples in one row, without padding, are learned as if each were alone, with the same gradient."""
    whole = samples([12, 60, 25, 300])
    assert collate(whole, 0, "cpu", may_pack=True).ids.shape == (1, 397)
    assert collate(samples([12, 13]), 0, "cpu", may_pack=True).ids.shape == (2, 13)
    alone = torch.cat([trainee.losses(collate([sample], trainee.pad, "cpu")) for sample in whole])
    alone.sum().backward()
    one_by_one = torch.cat([weight.grad.flatten() for weight in trainee.weights.values()])
    trainee.forget()
    assert trainee.try_packing(whole[:2])
    together = trainee.losses(packed(whole, "cpu"))
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    together.sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in trainee.weights.values()])
    assert torch.allclose(gradient, one_by_one, rtol=1e-3, atol=1e-4)


def test_a_model_with_a_window_keeps_its_own_attention(trainee: Trainee) -> None:
    """Packing knows the plain causal attention alone; a model that looks back less far is left as it is."""
    trainee.causal.config.sliding_window = 16
    before = trainee.causal.config._attn_implementation
    assert not trainee.try_packing(samples([12, 20]))
    assert not trainee.packs
    assert trainee.causal.config._attn_implementation == before


def test_a_device_without_a_kernel_for_packed_samples_pads_them(
    trainee: Trainee, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's kernel for various lengths is for GPUs; where it says no, the model keeps its own attention."""
    before = trainee.causal.config._attn_implementation

    def as_on_a_gpu(query, key, value, scale):
        return attention.various(query, key, value, scale, [query.shape[2]])

    with monkeypatch.context() as patch:
        patch.setattr(attention, "one", as_on_a_gpu)
        assert not trainee.try_packing(samples([12, 20]))
    assert trainee.causal.config._attn_implementation == before
    assert trainee.try_packing(samples([12, 20]))


def test_the_kernel_for_various_lengths_is_called_as_torch_defines_it() -> None:
    """Tensors without data go through torch's own shapes, forwards and backwards, with shared keys as well."""
    pytest.importorskip("torch.nn.attention.varlen")
    query, key = (
        torch.empty(1, heads, 50, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
        for heads in (9, 3)
    )
    out = attention.various(query, key, key, 0.125, [20, 30])
    assert out.shape == (1, 50, 9, 64)
    out.sum().backward()
    assert (query.grad.shape, key.grad.shape) == (query.shape, key.shape)
    assert attention.bounds((20, 30), torch.device("cpu")).tolist() == [0, 20, 50]


def test_a_gradient_that_repeats_is_told_and_forgotten(trainee: Trainee) -> None:
    """What is tried before a run leaves no gradient behind."""
    trainee.try_plain_head(samples([12])[0])
    assert trainee.try_packing(samples([12, 20]))
    assert trainee.repeats(packed(samples([12, 20]), "cpu"))
    assert all(parameter.grad is None for parameter in trainee.model.parameters())


def test_a_dry_run_leaves_the_run_as_it_was(trainee: Trainee) -> None:
    """The estimate costs time, but no weight and no random number."""

    class Never:
        def check(self) -> None: ...

    before = {name: weight.detach().clone() for name, weight in trainee.weights.items()}
    random_before = torch.get_rng_state()
    whole = samples([20, 30, 40])
    dry_run = plan.DryRun(trainee, Language(), Memory(trainee.spec), Never())  # type: ignore[arg-type]
    per_token, peak = dry_run.do(whole, lambda sample: 1)
    estimate = plan.estimate(trainee, whole, 1, per_token, peak)
    assert estimate["seconds"] > 0
    assert estimate["memory_mib"] > 0
    assert torch.equal(random_before, torch.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in trainee.weights.items())
    assert all(weight.grad is None for weight in trainee.weights.values())


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
def test_the_rate_warms_up_and_follows_its_schedule(scheduler) -> None:
    """From a fraction to the full rate, then down to nearly nothing, or level."""
    hyper = Hyper(learning_rate=1.0, warmup_ratio=0.1, scheduler=scheduler)
    rates = [learning_rate(hyper, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == 1.0 if scheduler == "constant" else 0 < rates[-1] < 0.02


def test_events_are_lines_of_json_without_nan() -> None:
    """What JSON cannot hold becomes null, at any depth."""
    import os

    read, write = os.pipe()
    Events(write).send("eval", loss=float("nan"), path=Path("a/b"), inner=[{"x": float("inf")}])
    os.close(write)
    with os.fdopen(read) as lines:
        assert lines.read() == '{"kind": "eval", "loss": null, "path": "a/b", "inner": [{"x": null}]}\n'
    assert plain({"a": (1, 2.5)}) == {"a": [1, 2.5]}
