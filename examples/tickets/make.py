"""Write the example data: support tickets of a made-up shop, and the JSON that routes each of them.

    python examples/tickets/make.py

The held-out part uses wordings that the training part never shows. Same seed, same files."""

from __future__ import annotations

import json
import random
from pathlib import Path

PRODUCTS = ["Lantern", "Kettle", "Heater", "Router", "Blender", "Speaker", "Camera", "Printer"]

# intent → wordings; the last three of each are only in the held-out part
WORDINGS = {
    "refund": [
        "I want my money back for the {p}.",
        "Please refund the {p} I bought last week.",
        "The {p} is not for me, how do I get a refund?",
        "I sent the {p} back ten days ago and still wait for my money.",
        "Can you pay me back for the {p}?",
        "I returned the {p}, when will I see the refund?",
        "You owe me the price of one {p}.",
        "I would like to return the {p} and get my money back.",
        "Refund for the {p}, please.",
        "The {p} went back to you, my card shows no refund.",
        "Give me my money back, the {p} is not what I ordered.",
        "I changed my mind about the {p} and want a refund.",
        "I am still waiting to be refunded for the {p}.",
        "Could I have a refund for my {p}?",
        "The refund for the {p} has not arrived.",
    ],
    "delivery": [
        "Where is my {p}?",
        "The {p} was due on Monday and has not come.",
        "My parcel with the {p} is lost.",
        "When will the {p} be delivered?",
        "The courier never showed up with my {p}.",
        "Tracking says my {p} has been in the depot for a week.",
        "I ordered a {p} and nothing has arrived.",
        "The {p} was left at the wrong house.",
        "Has my {p} been shipped yet?",
        "I am waiting for the delivery of a {p}.",
        "The parcel came, but the {p} was not in it.",
        "Please tell me the delivery date of my {p}.",
        "My {p} has not been delivered yet.",
        "Any news on the parcel with the {p}?",
        "The {p} I ordered still has not arrived.",
    ],
    "defect": [
        "The {p} does not turn on.",
        "My {p} broke after two days.",
        "There is smoke coming out of the {p}.",
        "The {p} makes a loud noise and then stops.",
        "A part of the {p} is cracked.",
        "The {p} stopped working this morning.",
        "My new {p} is faulty.",
        "The {p} switches itself off all the time.",
        "The button on the {p} is stuck.",
        "The {p} is broken.",
        "Something rattles inside the {p} and it will not start.",
        "The {p} works for a minute and dies.",
        "My {p} has stopped working.",
        "The {p} arrived broken.",
        "The {p} will not turn on any more.",
    ],
    "howto": [
        "How do I set up the {p}?",
        "Where do I find the manual of the {p}?",
        "How do I clean the {p}?",
        "Can the {p} be used outdoors?",
        "What does the blinking light on the {p} mean?",
        "How do I reset my {p}?",
        "Which cable does the {p} need?",
        "How can I connect the {p} to my phone?",
        "What is the right setting for the {p}?",
        "How do I change the language of the {p}?",
        "Is there a video that shows how to use the {p}?",
        "How often should I descale or dust the {p}?",
        "How do I use the {p}?",
        "How can I set the clock of the {p}?",
        "Where do I find the serial number of the {p}?",
    ],
    "invoice": [
        "Please send me the invoice for the {p}.",
        "The invoice for the {p} has the wrong address.",
        "I need a receipt for the {p} for my taxes.",
        "There is no invoice in the box of the {p}.",
        "You charged me twice for the {p}.",
        "The price on the bill of the {p} is wrong.",
        "Can I get the invoice of the {p} as a PDF?",
        "My company needs a bill for the {p}.",
        "The tax on the invoice of the {p} is missing.",
        "Please correct the name on the receipt of the {p}.",
        "I lost the receipt of my {p}, can you send it again?",
        "The bill for the {p} shows two items, I bought one.",
        "I never got an invoice for the {p}.",
        "Could you send the bill for the {p} to my office?",
        "The name on the invoice for the {p} is wrong.",
    ],
    "cancel": [
        "Please cancel my order of the {p}.",
        "I do not want the {p} any more, stop the order.",
        "Can I still cancel the {p}?",
        "I ordered the {p} by mistake, cancel it.",
        "Cancel the {p}, I found it cheaper.",
        "Take the {p} off my order.",
        "I ordered two {p}s, please cancel one.",
        "Stop the order of the {p} before it ships.",
        "How do I cancel the {p} I ordered today?",
        "Please do not send the {p}, I cancel.",
        "I wish to cancel the {p} from this morning.",
        "Withdraw my order for the {p}.",
        "I want to cancel my {p}.",
        "Cancel my order for one {p}, please.",
        "Please stop my order of the {p}.",
    ],
}
HELD_OUT_WORDINGS = 3

URGENT = ["This is urgent!", "I need an answer today.", "Please hurry.", "As soon as possible, please.", "It cannot wait.", "Right now!"]  # fmt: skip
CALM = ["", "", "Thank you.", "No hurry.", "Kind regards.", "Whenever you have time.", "Hello,"]

SEED = 20
TRAIN, HELD_OUT = 200, 40


def ticket(random_: random.Random, intent: str, wording: str) -> list[dict[str, object]]:
    """One conversation in the non-sorted annotated format."""
    product = random_.choice(PRODUCTS)
    urgent = random_.random() < 0.4
    mood = random_.choice(URGENT if urgent else CALM)
    text = wording.format(p=product)
    text = f"{mood} {text}" if mood == "Hello," else f"{text} {mood}".strip()
    answer = json.dumps({"intent": intent, "product": product, "urgent": urgent})
    return [{"prompt": f"Ticket: {text}", "response": [[answer]]}]


def rows(random_: random.Random, count: int, held_out: bool) -> list[list[dict[str, object]]]:
    """`count` different tickets, as many of each intent as of any other."""
    made: dict[str, list[dict[str, object]]] = {}
    intents = list(WORDINGS)
    while len(made) < count:
        intent = intents[len(made) % len(intents)]
        split = len(WORDINGS[intent]) - HELD_OUT_WORDINGS
        wording = random_.choice(WORDINGS[intent][split:] if held_out else WORDINGS[intent][:split])
        row = ticket(random_, intent, wording)
        made.setdefault(str(row[0]["prompt"]), row)
    return list(made.values())


def main() -> None:
    """Write train.jsonl and heldout.jsonl beside this file."""
    random_ = random.Random(SEED)
    here = Path(__file__).parent
    for name, count, held_out in (("train", TRAIN, False), ("heldout", HELD_OUT, True)):
        lines = [json.dumps(row) + "\n" for row in rows(random_, count, held_out)]
        (here / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}.jsonl: {len(lines)} conversations")


if __name__ == "__main__":
    main()
