"""Our training loop against a bare one: CPU seconds per step, in interleaved pairs, on the same rows.

python benchmarks/training.py [--base FOLDER] [--pairs 3] [--steps 8] [--dtype bfloat16] [--threads 1]

The bare loop is what one writes first: PEFT's model, padded batches with a mask, loss over answers with the
whole vocabulary at learned places only, AdamW. Without --base the built-in tiny model is trained; a folder
made by `trainers.child.convert` gives figures of a real one. Below 1.00 ours is faster."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

PRODUCTS = [
    "Ember",
    "Quill",
    "Harbor",
    "Falcon",
    "Nimbus",
    "Orchid",
    "Pioneer",
    "Saffron",
    "Tundra",
    "Vortex",
    "Willow",
    "Zephyr",
]
ASKED = {
    "refund": "I want my money back for the {}",
    "delivery": "Where is my {}? It has not arrived yet",
    "broken": "My {} stopped working",
    "cancel": "Cancel my order of the {}",
    "invoice": "Send me the invoice for the {}",
}


def tickets(count: int = 200) -> list[list[dict[str, Any]]]:
    """Short support tickets and the JSON that sorts them."""
    draw = random.Random(3)
    rows = []
    for _ in range(count):
        intent, product, urgent = draw.choice(list(ASKED)), draw.choice(PRODUCTS), draw.random() < 0.5
        text = "Ticket: " + ASKED[intent].format(product) + (". This is urgent!" if urgent else ".")
        answer = json.dumps({"intent": intent, "product": product, "urgent": urgent})
        rows.append([{"prompt": text, "response": [[answer]]}])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    from qianfan_platform.trainers.run import environment

    inner = environment(os.environ, given.threads)
    if any(os.environ.get(name) != value for name, value in inner.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **inner})  # as the child has it
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        compare(given, Path(folder))


def compare(given: argparse.Namespace, folder: Path) -> None:
    """Run the pairs and print both columns and their ratio."""
    import torch
    from transformers import AutoModelForCausalLM

    from qianfan_platform.catalogue import tiny
    from qianfan_platform.trainers.child import model
    from qianfan_platform.trainers.child.batches import batches, collate, micro_batches
    from qianfan_platform.trainers.child.ledger import open_ledger
    from qianfan_platform.trainers.child.rows import Encoder
    from qianfan_platform.trainers.protocol import Hyper, TrainSpec

    base = given.base or folder / "tiny"
    if given.base is None:
        tiny.build(base)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in tickets()))
    spec = TrainSpec(base, rows, folder, hyper=Hyper(), threads=given.threads, dtype=given.dtype)
    ledger = open_ledger(rows, Encoder(model.tokenizer_of(base)), spec.hyper, 0.0, spec.seed, 512)
    torch.set_num_threads(given.threads)

    other = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, given.dtype))
    torch.manual_seed(spec.seed)
    bare_model: Any = model.with_adapter(other, spec.hyper)
    bare_model.train()
    changing = [p for p in bare_model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(changing, lr=2e-3)

    def bare(chosen: list[Any]) -> float:
        width = max(len(s.ids) for s in chosen)
        ids = torch.tensor([s.ids + [0] * (width - len(s.ids)) for s in chosen])
        mask = torch.tensor([[1] * len(s.ids) + [0] * (width - len(s.ids)) for s in chosen])
        labels = torch.tensor([s.labels + [-100] * (width - len(s.ids)) for s in chosen])[:, 1:]
        hidden = other.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        learned = labels != -100
        logits = other.get_output_embeddings()(hidden[:, :-1][learned]).float()
        loss = torch.nn.functional.cross_entropy(logits, labels[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(changing, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        return float(loss.detach())

    trainee = model.Trainee(spec, max(len(s.ids) for s in ledger.train))
    trainee.try_plain_head(ledger.train[0])

    def ours(chosen: list[Any]) -> float:
        trained = sum(s.trained for s in chosen)
        groups = micro_batches(chosen, trainee.at_once)
        loss = sum(trainee.backward(collate(g, trainee.pad, "cpu"), trained) for g in groups)
        trainee.update(2e-3)
        return loss / trained

    plan = [[ledger.train[i] for i in b] for b in batches(len(ledger.train), 8, spec.seed, 0)]
    tokens = sum(len(s.ids) for b in plan[: given.steps] for s in b)
    model_name = given.base.name if given.base else "tiny"
    print(
        f"{model_name}, {given.dtype}, {given.threads} thread(s), {given.steps} steps a turn, {tokens} tokens"
    )
    print("turn       bare s/step    ours s/step    ratio   (CPU seconds)")
    ratios: list[float] = []
    for turn in range(given.pairs + 1):
        spent: dict[str, float] = {}
        sides = [("bare", bare), ("ours", ours)]
        for name, step in sides if turn % 2 else reversed(sides):
            # In turns that change places; deterministic kernels are ours alone.
            model.use(spec) if name == "ours" else torch.use_deterministic_algorithms(False)
            begun = time.process_time()
            for chosen in plan[: given.steps]:
                step(chosen)
            spent[name] = (time.process_time() - begun) / given.steps
        ratio = spent["ours"] / spent["bare"]
        if turn:  # the first one warms up
            ratios.append(ratio)
        print(f"{turn or 'warm-up':<10} {spent['bare']:<14.3f} {spent['ours']:<14.3f} {ratio:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
