"""What the training benchmark learns from: short rows of one kind, of very different lengths, or pairs."""

from __future__ import annotations

import json
import random
from typing import Any

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
Rows = list[list[dict[str, Any]]]


def tickets(count: int = 200) -> Rows:
    """Short support tickets and the JSON that sorts them."""
    draw = random.Random(3)
    return [[ticket(draw)] for _ in range(count)]


def ticket(draw: random.Random) -> dict[str, Any]:
    intent, product, urgent = draw.choice(list(ASKED)), draw.choice(PRODUCTS), draw.random() < 0.5
    text = "Ticket: " + ASKED[intent].format(product) + (". This is urgent!" if urgent else ".")
    answer = json.dumps({"intent": intent, "product": product, "urgent": urgent})
    return {"prompt": text, "response": [[answer]]}


def mixed(count: int = 200) -> Rows:
    """Conversations of one to six tickets: most are short, some are six times as long."""
    draw = random.Random(5)
    turns = [1, 1, 1, 1, 2, 2, 3, 6]
    return [[ticket(draw) for _ in range(draw.choice(turns))] for _ in range(count)]


def pairs(count: int = 64) -> Rows:
    """Tickets with the right answer and that of another one, to prefer the first."""
    draw = random.Random(9)
    rows = []
    for _ in range(count):
        right, wrong = ticket(draw), ticket(draw)
        chosen, rejected = right["response"][0][0], wrong["response"][0][0]
        rows.append([{"prompt": right["prompt"], "chosen": chosen, "rejected": rejected}])
    return rows


KINDS = {"tickets": tickets, "mixed": mixed, "pairs": pairs}
