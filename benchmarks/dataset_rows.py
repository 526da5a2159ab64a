"""A file of conversations for `dataset.py`: the same bytes for the same number of rows, wherever it is made."""

from __future__ import annotations

import random
from pathlib import Path

import orjson

VERSION = 1  # of the recipe; a new one is a new file
WORDS = [
    "the",
    "river",
    "model",
    "question",
    "answer",
    "train",
    "data",
    "because",
    "water",
    "light",
    "system",
    "number",
    "paper",
    "north",
    "city",
    "week",
    "hand",
    "字",
    "数据",
    "模型",
    "训练",
    "问题",
    "回答",
    "天气",
    "城市",
    "河流",
    "语言",
    "文本",
    "时间",
    "学习",
    "工作",
    "世界",
]


def path_of(folder: Path, rows: int) -> Path:
    """The file with that many rows; it is made at the first time (1,000,000 rows: 540 MB, 20 seconds)."""
    path = folder / f"conversations-{VERSION}-{rows}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".part")
        with waiting.open("wb") as file:
            write(file, rows)
        waiting.rename(path)
    return path


def write(file: object, rows: int) -> None:
    """One turn a row, two in every eighth; one row in twenty comes a second time; one answer in thirty is very short."""
    dice = random.Random(5)
    texts = [" ".join(dice.choices(WORDS, k=dice.randint(26, 66))) for _ in range(20_000)]
    recent: list[bytes] = []
    for number in range(rows):
        if recent and dice.random() < 0.05:
            line = dice.choice(recent)
        else:
            turns = []
            for _ in range(dice.choice((1, 1, 1, 1, 1, 1, 1, 2))):
                answer = dice.choice(texts) if dice.random() > 1 / 30 else "ok"
                turns.append({"prompt": f" {dice.choice(texts)[:120]}  {number}", "response": [[answer]]})
            line = orjson.dumps(turns) + b"\n"
            recent = [*recent[-999:], line] if number % 100 == 0 else recent
        file.write(line)  # type: ignore[attr-defined]
