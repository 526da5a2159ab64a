"""One side of the training benchmark, in a process of its own: it trains when told to and says what it spent.

python benchmarks/training_sides.py SIDE SETTINGS

SETTINGS is JSON: {base, rows, work, mode, method, dtype, device, threads, batch, steps, turns}. The model, the
samples and the order of the batches are the same for all; those of others are in training_peers.py. Each line
on stdin is a turn of `steps` steps; the answer is {"spent", "losses"}: seconds of a step (of the processor's, on
a GPU of the clock's) and the loss of each step. After the last one, when stdin ends, {"peak_mib"}."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

EPOCHS = 1000  # never reached
RATE = {"SFT": 2e-3, "DPO": 5e-5}
SEED = 7
LONGEST = 1024  # tokens
BETA = 0.1


class Turns:
    """Blocks the training between two turns, and times what is between."""

    def __init__(self, steps: int, gpu: bool) -> None:
        self.steps, self.gpu = steps, gpu
        self.losses: list[float | None] = []
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        self.say({"ready": True})

    def say(self, answer: dict[str, Any]) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def now(self) -> float:
        if not self.gpu:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def wait(self) -> None:
        """Until the next turn; ends the process where there is none."""
        if not sys.stdin.readline():
            self.say({"peak_mib": peak_mib(self.gpu)})
            os._exit(0)
        self.begun = self.now()

    def step(self, loss: float | None) -> None:
        """One step is done."""
        self.losses.append(loss)
        if len(self.losses) == self.steps:
            spent = (self.now() - self.begun) / self.steps
            self.say({"spent": spent, "losses": self.losses})
            self.losses = []
            self.wait()


def peak_mib(gpu: bool) -> float:
    """The most memory that this process held, or its part of the GPU."""
    if gpu:
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- ours -----------------------------------------------------------------------------------------------


def ours(given: dict[str, Any], turns: Turns) -> None:
    """The trainer's own run, from its ledger to its steps; only its pipes are not there."""
    from qianfan_platform.trainers.child.loop import Run

    class Events:
        def send(self, kind: str, **facts: Any) -> None:
            if kind == "step":
                turns.step(facts["loss"])

        def log(self, text: str, level: str = "info") -> None: ...

        def warn(self, text: str) -> None: ...

    class Orders:
        def check(self) -> None: ...

        def begin(self) -> None:
            turns.wait()

    study(given.get("study", ""))
    run: Any = Run(spec_of(given), Events(), Orders())  # type: ignore[arg-type]
    run.do()


def spec_of(given: dict[str, Any]) -> Any:
    from qianfan_platform.trainers.protocol import Hyper, TrainSpec

    return TrainSpec(
        Path(given["base"]),
        Path(given["rows"]),
        Path(given["work"]),
        mode=given["mode"],
        method=given["method"],
        hyper=Hyper(
            epochs=EPOCHS,
            batch_size=given["batch"],
            learning_rate=RATE[given["mode"]],
            max_seq_len=LONGEST,
            warmup_ratio=0,
            scheduler="constant",
            beta=BETA,
        ),
        held_out=0.0,
        seed=SEED,
        threads=given["threads"],
        dtype=given["dtype"],
        device=given["device"],
        checkpoint_seconds=1e9,
    )


def study(what: str) -> None:
    """Another setting than the trainer's own, to see what it is worth."""
    import torch

    from qianfan_platform.trainers.child import attention, low_rank, model

    if what == "fused attention":
        attention.SHORT = 0
    elif what == "no packing":
        model.Trainee.try_packing = lambda *_: False  # type: ignore[method-assign]
    elif what == "one micro-batch":
        model.AT_ONCE = {"cpu": 1 << 30}
    elif what == "PEFT's layers":
        low_rank.fuse = lambda model: 0
    elif what == "loss over logits":
        usual = torch.nn.functional.cross_entropy
        model.Trainee.losses = lambda self, batch: usual(  # type: ignore[method-assign]
            self.logits(batch), batch.targets, reduction="none"
        )
    elif what:
        raise SystemExit(f"no setting is called {what}")


# -- a bare loop ----------------------------------------------------------------------------------------


def bare(given: dict[str, Any], turns: Turns) -> None:
    """What one writes first: PEFT's model, padded batches with a mask, the loss over answers with the whole
    vocabulary at learned places only, AdamW in float32."""
    import torch

    causal, model = model_of(given)
    changing = [p for p in model.parameters() if p.requires_grad]
    masters = [p if p.dtype == torch.float32 else p.detach().float().requires_grad_() for p in changing]
    adam = torch.optim.AdamW(masters, lr=RATE[given["mode"]], weight_decay=0.0, fused=True)
    model.train()
    loss_of = Answers(causal, given) if given["mode"] == "SFT" else Preferences(causal, given)
    turns.wait()
    for chosen in in_order(given):
        loss = loss_of(chosen)
        loss.backward()
        for changed, master in zip(changing, masters, strict=True):
            if changed is not master:
                master.grad, changed.grad = changed.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        with torch.no_grad():
            for changed, master in zip(changing, masters, strict=True):
                if changed is not master:
                    changed.copy_(master)
        turns.step(float(loss.detach()))


class Answers:
    """The mean loss of learned tokens."""

    def __init__(self, causal: Any, given: dict[str, Any]) -> None:
        self.causal, self.device = causal, given["device"]

    def __call__(self, samples: Sequence[Any]) -> Any:
        return self.losses(samples)[0].mean()

    def losses(self, sequences: Sequence[Any]) -> tuple[Any, Any]:
        """((n,) the loss of each learned token, (n,) the sequence that it is of)."""
        import torch

        width = max(len(s.ids) for s in sequences)
        short = [width - len(s.ids) for s in sequences]
        filled = list(zip(sequences, short, strict=True))
        ids = torch.tensor([s.ids + [0] * n for s, n in filled], device=self.device)
        mask = torch.tensor([[1] * len(s.ids) + [0] * n for s, n in filled], device=self.device)
        labels = torch.tensor([s.labels + [-100] * n for s, n in filled], device=self.device)[:, 1:]
        hidden = self.causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        learned = labels != -100
        logits = self.causal.get_output_embeddings()(hidden[:, :-1][learned]).float()
        losses = torch.nn.functional.cross_entropy(logits, labels[learned], reduction="none")
        return losses, learned.nonzero()[:, 0]


class Preferences(Answers):
    """Direct preference optimisation; the starting weights are asked once, before the first turn."""

    def __init__(self, causal: Any, given: dict[str, Any]) -> None:
        import torch

        super().__init__(causal, given)
        self.reference = {}
        batches = in_order(given)
        with torch.no_grad():
            for chosen in (next(batches) for _ in range(given["turns"] * given["steps"])):
                self.reference[id(chosen[0])] = self.answers(chosen)

    def answers(self, pairs: Sequence[Any]) -> Any:
        """(2, pairs): log-probabilities of the chosen and of the rejected ones."""
        import torch

        sequences = [p.chosen for p in pairs] + [p.rejected for p in pairs]
        losses, of = self.losses(sequences)
        sums = torch.zeros(len(sequences), device=self.device).index_add(0, of, -losses)
        return sums.view(2, len(pairs))

    def __call__(self, samples: Sequence[Any]) -> Any:
        import torch

        rewards = BETA * (self.answers(samples) - self.reference[id(samples[0])])
        return -torch.nn.functional.logsigmoid(rewards[0] - rewards[1]).mean()


def model_of(given: dict[str, Any]) -> tuple[Any, Any]:
    """(the base, what is trained): the same, or with a LoRA adapter in float32 at every linear layer but the
    output."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(given["threads"])
    causal = AutoModelForCausalLM.from_pretrained(given["base"], dtype=getattr(torch, given["dtype"]))
    causal.config.use_cache = False
    causal.to(given["device"])
    if given["method"] == "ALL":
        return causal, causal
    torch.manual_seed(SEED)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return causal, get_peft_model(causal, config)


def samples_of(given: dict[str, Any]) -> list[Any]:
    """The samples, made of the rows as our trainer makes them."""
    from qianfan_platform.trainers.child import readers, starting
    from qianfan_platform.trainers.child.rows import read

    spec = spec_of(given)
    reader = readers.of(spec.mode, starting.encoder_of(spec), spec.hyper)
    return [sample for _, row in read(spec.rows) for sample in reader.read(row, LONGEST).samples]


def in_order(given: dict[str, Any]) -> Iterator[list[Any]]:
    """The batches that our run takes, one after the other. Called again, it gives the very same samples."""
    from qianfan_platform.trainers.child.batches import batches

    samples = KEPT.setdefault(given["rows"], []) or samples_of(given)
    KEPT[given["rows"]] = samples
    for epoch in range(EPOCHS):
        for batch in batches(len(samples), given["batch"], SEED, epoch):
            yield [samples[i] for i in batch]


KEPT: dict[str, list[Any]] = {}


def main(side: str, given: dict[str, Any]) -> None:
    import training_peers

    sides = {"ours": ours, "bare": bare, **training_peers.SIDES}
    sides[side.partition(":")[0]](given, Turns(given["steps"], given["device"] != "cpu"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.modules["training_sides"] = sys.modules["__main__"]  # what the peers import is this module
    main(sys.argv[1], json.loads(sys.argv[2]))
