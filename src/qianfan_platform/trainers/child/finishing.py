"""The trained model as it will be served: an adapter as it is, or whole weights, rounded as they are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from qianfan_platform.trainers.child import embeddings, starting
from qianfan_platform.trainers.child.batches import micro_batches
from qianfan_platform.trainers.child.encoder import Encoder
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.samples import Sample

LISTENED = 64  # samples at which the quietest token is sought


def learn_to_end(causal: Any, samples: Sequence[Sample], special: set[int]) -> None:
    """Let `causal` know the tokens that its answers are taught to end with.

    A base model may know the end of a text alone: who asks it elsewhere would wait for that one."""
    taught = {one.labels[-1] for sample in samples for one in sample.sequences} & special
    known = causal.generation_config.eos_token_id
    ends = known if isinstance(known, list) else [] if known is None else [known]
    if missing := sorted(taught - set(ends)):
        causal.generation_config.eos_token_id = [*ends, *missing]


class Final:
    """A trainee after its last step. `causal` gives the answers that serving must give."""

    def __init__(self, trainee: Trainee, encoder: Encoder) -> None:
        self.trainee, self.spec, self.encoder = trainee, trainee.spec, encoder
        self.kind = starting.kind(trainee.spec)
        self.causal = trainee.causal

    def finish(self, samples: Sequence[Sample], check: Callable[[], None]) -> None:
        """Make whole weights of what was trained apart. samples: to see what the model says."""
        self.trainee.model.eval()
        if self.spec.method == "P-tuning":
            token, _ = embeddings.quietest(self.listen(samples, check))
            embeddings.widened(self.causal, token)
        elif self.spec.method == "LoRA" and self.kind == "model":
            self.causal = self.trainee.model.merge_and_unload()

    @torch.no_grad()
    def listen(self, samples: Sequence[Sample], check: Callable[[], None]) -> Iterator[Tensor]:
        for group in micro_batches(samples[:LISTENED], self.trainee.at_once):
            check()
            yield self.trainee.logits(self.trainee.batch(group))
