"""What a run will cost, known before step 1: a timed dry run of the longest batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psutil
import torch

from qianfan_platform.trainers.child.batches import batches, collate, micro_batches, padded_tokens
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.rows import Encoded
from qianfan_platform.trainers.child.wire import Orders, Refused
from qianfan_platform.trainers.protocol import TrainSpec

FORWARD_SHARE = 0.4  # of a training step's time goes into an evaluation of the same samples


def dry_run(trainee: Trainee, train: Sequence[Encoded], held_out: int, orders: Orders) -> dict[str, Any]:
    """{seconds, memory_mib} that the whole run will take. Leaves weights and random state as they were.

    Memory is the peak of the process; on a GPU, of the device. Raises Refused when memory runs out."""
    spec = trainee.spec
    longest = sorted(train, key=lambda sample: -len(sample.ids))[: spec.hyper.batch_size]
    group = max(micro_batches(longest, trainee.at_once), key=lambda group: len(group) * len(group[-1].ids))
    random = torch.get_rng_state()
    try:
        for _ in range(2):  # the first prepares kernels and memory; the second is as all will be
            orders.check()
            begun = time.perf_counter()
            trainee.backward(collate(group, trainee.pad, spec.device), sum(s.trained for s in group))
            if spec.device.startswith("cuda"):
                torch.cuda.synchronize()
            taken = time.perf_counter() - begun
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise Refused(
            f"the longest batch ({len(group)} samples of {len(group[-1].ids)} tokens) does not fit into memory: "
            "lower max_seq_len, or train a smaller model"
        ) from error
    finally:
        trainee.forget()
        torch.set_rng_state(random)
    per_token = taken / (len(group) * len(group[-1].ids))
    samples, size = len(train), spec.hyper.batch_size
    work = sum(
        sum(padded_tokens([train[i] for i in batch], trainee.at_once))
        for epoch in range(min(3, spec.hyper.epochs))
        for batch in batches(samples, size, spec.seed, epoch)
    ) * (spec.hyper.epochs / min(3, spec.hyper.epochs))
    evaluations = (spec.hyper.epochs + 1) * held_out / samples * work / spec.hyper.epochs * FORWARD_SHARE
    # Adam holds two more numbers for each that changes.
    states = 8 * trainee.trainable / 2**20
    return {
        "seconds": round(max(0.1, per_token * (work + evaluations)), 1),
        "memory_mib": round(peak_mib(spec) + states),
    }


def memory_mib() -> float:
    """Memory that this process holds now."""
    return round(psutil.Process().memory_info().rss / 2**20)


def peak_mib(spec: TrainSpec) -> float:
    """The most memory so far: of the device, or of this process."""
    if spec.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
        import sys
    except ImportError:  # not on Windows
        return memory_mib()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
