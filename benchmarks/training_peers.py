"""The trainers of others, as sides of the training benchmark: on the same samples, with the settings that are
quickest on a CPU. Each runs in an environment of its own (see training.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training_sides import BETA, LONGEST, RATE, SEED, Turns, in_order, model_of


def trl(given: dict[str, Any], turns: Turns) -> None:
    """TRL's trainers without gradient checkpointing. Their packing wants FlashAttention, which no CPU has."""
    tuned(given, turns, gradient_checkpointing=False)


def trl_as_it_comes(given: dict[str, Any], turns: Turns) -> None:
    """The same with the gradient checkpointing that is their default: less memory, more work."""
    tuned(given, turns, gradient_checkpointing=True)


def tuned(given: dict[str, Any], turns: Turns, **settings: Any) -> None:
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    class Tokenised(DPOTrainer):  # type: ignore[misc]
        """Of rows that are tokenised already."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    settings |= {"max_length": LONGEST, **arguments(given)}
    kind: Any = SFTTrainer
    options: Any = SFTConfig
    if given["mode"] == "DPO":  # as ours, it asks the starting weights once
        kind, options = Tokenised, DPOConfig
        settings |= {"beta": BETA, "precompute_ref_log_probs": True}
    _, model = model_of(given)
    kind(
        model=model,
        args=options(**settings),
        train_dataset=dataset_of(given),
        processing_class=tokenizer_of(given),
        callbacks=[pausing(turns)],
    ).train()


def transformers(given: dict[str, Any], turns: Turns) -> None:
    """Transformers' own Trainer with padded batches."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    _, model = model_of(given)
    Trainer(
        model=model,
        args=TrainingArguments(**arguments(given)),
        train_dataset=dataset_of(given),
        data_collator=DataCollatorForSeq2Seq(tokenizer_of(given)),
        callbacks=[pausing(turns)],
    ).train()


def llama_factory(given: dict[str, Any], turns: Turns) -> None:
    """LLaMA-Factory's own run from rows that are tokenised already.

    On a CPU it refuses to be told of bfloat16 and trains in whatever dtype the model was saved, so it gets one in
    the dtype of the other sides."""
    from llamafactory.train.tuner import run_exp

    rows = Path(given["work"]) / "tokens"
    dataset_of(given).save_to_disk(str(rows / "train"))
    (rows / "dataset_dict.json").write_text('{"splits": ["train"]}')
    settings = arguments(given)
    for name in ("train_sampling_strategy", "report_to"):
        settings.pop(name)
    run_exp(
        {
            "model_name_or_path": saved(given),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora" if given["method"] == "LoRA" else "full",
            "lora_rank": 16,
            "lora_alpha": 32,
            "lora_target": "all",
            "template": "empty",
            "dataset": "ours",  # a name it wants, and does not look for
            "tokenized_path": str(rows),
            "cutoff_len": LONGEST,
            "disable_shuffling": True,
            "disable_gradient_checkpointing": True,
            "report_to": "none",
            "seed": SEED,
            **settings,
        },
        callbacks=[pausing(turns)],
    )


def saved(given: dict[str, Any]) -> str:
    """A folder of the model in the dtype that is asked for."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = Path(given["work"]) / "base"
    AutoModelForCausalLM.from_pretrained(given["base"], dtype=getattr(torch, given["dtype"])).save_pretrained(
        folder
    )
    tokenizer_of(given).save_pretrained(folder)
    return str(folder)


def tokenizer_of(given: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given["base"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Of a Hugging Face trainer. Autocast (bf16=True) is five times slower on a CPU."""
    return {
        "output_dir": given["work"],
        "per_device_train_batch_size": given["batch"],
        "learning_rate": RATE[given["mode"]],
        "lr_scheduler_type": "constant",
        "max_steps": 10_000,
        "train_sampling_strategy": "sequential",
        "bf16": False,
        "use_cpu": given["device"] == "cpu",
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
    rows = [s for _ in range(given["turns"] * given["steps"] + 1) for s in next(order)]
    if given["mode"] == "SFT":
        names = ("input_ids", "labels", "attention_mask")
        columns = [(s.ids, s.labels, [1] * len(s.ids)) for s in rows]
    else:
        names = ("prompt_ids", "chosen_ids", "rejected_ids")
        columns = [split(pair) for pair in rows]
    return Dataset.from_dict({name: [c[at] for c in columns] for at, name in enumerate(names)})


def split(pair: Any) -> tuple[list[int], list[int], list[int]]:
    """(prompt, chosen answer, rejected answer) as ids."""
    begins = next(at for at, label in enumerate(pair.chosen.labels) if label != -100)
    for one in (pair.chosen, pair.rejected):
        assert one.labels[begins:] == one.ids[begins:], "the same tokens are learned on every side"
    return pair.chosen.ids[:begins], pair.chosen.ids[begins:], pair.rejected.ids[begins:]


def pausing(turns: Turns) -> Any:
    from transformers import TrainerCallback

    class Pause(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:  # once a step
                turns.step(float(logs["loss"]))

    return Pause()


SIDES = {
    "TRL": trl,
    "TRL as it comes": trl_as_it_comes,
    "Trainer": transformers,
    "LLaMA-Factory": llama_factory,
}
