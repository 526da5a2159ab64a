"""One side of the training benchmark, in a process of its own: it trains when told to and says what it spent.

python benchmarks/training_sides.py SIDE SETTINGS

SETTINGS is JSON: {base, rows, work, dtype, threads, steps}. The model, the samples and the order of the batches
are the same for all. Each line on stdin is a turn of `steps` steps; the answer is {"cpu", "wall", "loss"} in
seconds, and after the last one, when stdin ends, {"peak_mib"}."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

EPOCHS = 1000  # never reached
RATE = 2e-3
SEED = 7
BATCH = 8
LONGEST = 1024  # tokens


class Turns:
    """Blocks the training between two turns, and times what is between."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no answer
        self.say({"ready": True})

    def say(self, answer: dict[str, Any]) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def wait(self) -> None:
        """Until the next turn; ends the process where there is none."""
        if not sys.stdin.readline():
            self.say({"peak_mib": peak_mib()})
            os._exit(0)
        self.begun = time.process_time(), time.perf_counter()

    def step(self, loss: float | None) -> None:
        """One step is done."""
        self.done += 1
        if self.done % self.steps == 0:
            cpu, wall = time.process_time() - self.begun[0], time.perf_counter() - self.begun[1]
            self.say({"cpu": cpu / self.steps, "wall": wall / self.steps, "loss": loss})
            self.wait()


def peak_mib() -> float:
    """The most memory that this process held."""
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
    from qianfan_platform.trainers.protocol import Hyper, TrainSpec

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
    spec = TrainSpec(
        Path(given["base"]),
        Path(given["rows"]),
        Path(given["work"]),
        hyper=Hyper(
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=RATE,
            max_seq_len=LONGEST,
            warmup_ratio=0,
            scheduler="constant",
        ),
        held_out=0.0,
        seed=SEED,
        threads=given["threads"],
        dtype=given["dtype"],
        checkpoint_seconds=1e9,
    )
    run: Any = Run(spec, Events(), Orders())  # type: ignore[arg-type]
    run.do()


def study(what: str) -> None:
    """Another setting than the trainer's own, to see what it is worth."""
    from qianfan_platform.trainers.child import attention, model

    if what == "fused attention":
        attention.SHORT = 0
    elif what == "no packing":
        model.Trainee.try_packing = lambda *_: False  # type: ignore[method-assign]
    elif what == "one micro-batch":
        model.AT_ONCE = {"cpu": 1 << 30}
    elif what:
        raise SystemExit(f"no setting is called {what}")


# -- a bare loop ----------------------------------------------------------------------------------------


def bare(given: dict[str, Any], turns: Turns) -> None:
    """What one writes first: PEFT's model, padded batches with a mask, the loss over answers with the whole
    vocabulary at learned places only, AdamW."""
    import torch

    causal, adapted = adapted_model(given)
    changing = [p for p in adapted.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(changing, lr=RATE)
    adapted.train()
    turns.wait()
    for chosen in in_order(given):
        width = max(len(s.ids) for s in chosen)
        ids = torch.tensor([s.ids + [0] * (width - len(s.ids)) for s in chosen])
        mask = torch.tensor([[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in chosen])
        labels = torch.tensor([s.labels + [-100] * (width - len(s.ids)) for s in chosen])[:, 1:]
        hidden = causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        learned = labels != -100
        logits = causal.get_output_embeddings()(hidden[:, :-1][learned]).float()
        loss = torch.nn.functional.cross_entropy(logits, labels[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(changing, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        turns.step(float(loss.detach()))


def adapted_model(given: dict[str, Any]) -> tuple[Any, Any]:
    """(the base, the same with a LoRA adapter in float32 at every linear layer but the output)."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(given["threads"])
    causal = AutoModelForCausalLM.from_pretrained(given["base"], dtype=getattr(torch, given["dtype"]))
    causal.config.use_cache = False
    torch.manual_seed(SEED)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return causal, get_peft_model(causal, config)


def samples_of(given: dict[str, Any]) -> list[Any]:
    """The samples, made of the rows as our trainer makes them."""
    from qianfan_platform.trainers.child import readers, starting
    from qianfan_platform.trainers.child.rows import read
    from qianfan_platform.trainers.protocol import Hyper, TrainSpec

    spec = TrainSpec(Path(given["base"]), Path(given["rows"]), Path(given["work"]))
    reader = readers.of("SFT", starting.encoder_of(spec), Hyper())
    return [sample for _, row in read(spec.rows) for sample in reader.read(row, LONGEST).samples]


def in_order(given: dict[str, Any]) -> Iterator[list[Any]]:
    """The batches that our run takes, one after the other."""
    from qianfan_platform.trainers.child.batches import batches

    samples = samples_of(given)
    for epoch in range(EPOCHS):
        for batch in batches(len(samples), BATCH, SEED, epoch):
            yield [samples[i] for i in batch]


# -- peers ----------------------------------------------------------------------------------------------


def trl(given: dict[str, Any], turns: Turns) -> None:
    """TRL's SFTTrainer on the same samples, with the settings that are quickest on a CPU."""
    sft(given, turns, checkpointing=False)


def trl_as_it_comes(given: dict[str, Any], turns: Turns) -> None:
    """TRL's SFTTrainer with the gradient checkpointing that is its default: less memory, more work."""
    sft(given, turns, checkpointing=True)


def sft(given: dict[str, Any], turns: Turns, *, checkpointing: bool) -> None:
    from trl import SFTConfig, SFTTrainer

    _, adapted = adapted_model(given)
    SFTTrainer(
        model=adapted,
        args=SFTConfig(gradient_checkpointing=checkpointing, max_length=LONGEST, **arguments(given)),
        train_dataset=dataset_of(given),
        processing_class=tokenizer_of(given),
        callbacks=[pausing(turns)],
    ).train()


def transformers(given: dict[str, Any], turns: Turns) -> None:
    """Transformers' own Trainer with padded batches, on which LLaMA-Factory is built, too."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    _, adapted = adapted_model(given)
    Trainer(
        model=adapted,
        args=TrainingArguments(**arguments(given)),
        train_dataset=dataset_of(given),
        data_collator=DataCollatorForSeq2Seq(tokenizer_of(given)),
        callbacks=[pausing(turns)],
    ).train()


def tokenizer_of(given: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Of a Hugging Face trainer. Autocast (bf16=True) is five times slower on a CPU."""
    return {
        "output_dir": given["work"],
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "max_steps": 10_000,
        "train_sampling_strategy": "sequential",
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def dataset_of(given: dict[str, Any]) -> Any:
    """Enough batches for every turn, in our order."""
    from datasets import Dataset

    order = in_order(given)
    rows = [s for _ in range(200) for s in next(order)]
    return Dataset.from_dict({"input_ids": [s.ids for s in rows], "labels": [s.labels for s in rows]})


def pausing(turns: Turns) -> Any:
    from transformers import TrainerCallback

    class Pause(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            losses = [row["loss"] for row in state.log_history if "loss" in row]
            turns.step(losses[-1] if losses else None)

    return Pause()


SIDES = {
    "ours": ours,
    "bare": bare,
    "TRL": trl,
    "TRL as it comes": trl_as_it_comes,
    "Trainer": transformers,
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    side, settings = sys.argv[1:]
    SIDES[side.partition(":")[0]](json.loads(settings), Turns(json.loads(settings)["steps"]))
