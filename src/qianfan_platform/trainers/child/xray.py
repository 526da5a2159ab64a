"""python -m qianfan_platform.trainers.child.xray SPEC SAMPLE

One sample as the trainer reads it, by the code that reads it for training, without torch. SPEC: a TrainSpec as
JSON in a file, or - for stdin. SAMPLE: its line, from 1. Prints one line of JSON:

{sample, mode, what, why, limit, policy, tokens, trained_tokens,
 sequences: [{name, rendered, tokens: [{id, text, trained, special}], trained: [{start, end, text}]}]}

`what` is as in the ledger, or "refused" where the policy refuses the run for it; what was dropped or refused is
shown as it would have been read. `rendered` is the chat template's text, `trained` the runs of learned tokens.
`special` are control tokens: the name of one in somebody's text is not.
{"failed": reason} when it cannot be told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import readers, starting
from qianfan_platform.trainers.child.encoder import Encoder
from qianfan_platform.trainers.child.readers import Reader, Reading, TooLong
from qianfan_platform.trainers.child.rows import Message, read
from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Pair, Unusable
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec

LONGEST_CHARACTER = 4  # tokens that one character may be cut into
UNCUT = 1 << 40  # tokens
LEFT_OUT = ("dropped", "refused")


def look(spec: TrainSpec, sample: int) -> dict[str, Any]:
    """The X-ray of a sample. Raises Refused."""
    row = next((row for number, row in read(spec.rows) if number == sample), None)
    if row is None:
        raise Refused(f"the data has no sample {sample}")
    encoder = starting.encoder_of(spec)
    reader = readers.of(spec.mode, encoder, spec.hyper)
    limit = starting.limit_of(spec)
    what, why, reading = outcome(reader, row, limit)
    return {
        "sample": sample,
        "mode": spec.mode,
        "what": what,
        "why": why,
        "limit": limit,
        "policy": spec.hyper.too_long,
        "tokens": sum(one.tokens for one in reading.samples),
        "trained_tokens": sum(one.trained for one in reading.samples) if what not in LEFT_OUT else 0,
        "sequences": sequences(encoder, reading),
    }


def outcome(reader: Reader, row: Any, limit: int) -> tuple[str, str, Reading]:
    """(what, why, the reading to be shown) of a row."""
    try:
        reading = reader.read(row, limit)
        return reading.what, reading.why, reading
    except TooLong as long:
        return "refused", f"too long: {long.tokens} tokens, at most {limit}", reader.read(row, UNCUT)
    except Unusable as reason:
        try:
            return "dropped", str(reason), reader.read(row, UNCUT)
        except Unusable:
            return "dropped", str(reason), Reading([])


def sequences(encoder: Encoder, reading: Reading) -> list[dict[str, Any]]:
    found = []
    for number, (sample, sources) in enumerate(zip(reading.samples, reading.made_of, strict=True), 1):
        names = ("chosen", "rejected") if isinstance(sample, Pair) else (f"part {number}",)
        for name, one, source in zip(names, sample.sequences, sources, strict=True):
            whole = "sample" if len(reading.samples) == 1 and not isinstance(sample, Pair) else name
            found.append({"name": whole, **sequence(encoder, one, source)})
    return found


def sequence(encoder: Encoder, one: Encoded, source: list[Message] | None) -> dict[str, Any]:
    texts = texts_of(encoder, one.ids)
    learned = [at > 0 and label != IGNORED for at, label in enumerate(one.labels)]
    tokens = [
        {"id": number, "text": text, "trained": trained, "special": number in encoder.special}
        for number, text, trained in zip(one.ids, texts, learned, strict=True)
    ]
    read = "".join(texts)
    whole = read if source is None else encoder.render(source, prompt=False)
    rendered = whole if whole.startswith(read) else read  # the system text may stand only in what is asked
    return {"rendered": rendered, "tokens": tokens, "trained": runs(texts, learned)}


def texts_of(encoder: Encoder, ids: list[int]) -> list[str]:
    """The text of each token. Of several tokens that make one character the last one has it."""
    texts = []
    before: list[int] = []
    pending: list[int] = []
    for number in ids:
        pending.append(number)
        text = encoder.decode([*before, *pending])[len(encoder.decode(before)) :]
        if text.endswith("\ufffd") and len(pending) < LONGEST_CHARACTER:
            texts.append("")
            continue
        texts.append(text)
        before, pending = [number], []
    if pending:
        texts[-1] = encoder.decode(pending)
    return texts


def runs(texts: list[str], learned: list[bool]) -> list[dict[str, Any]]:
    """The runs of learned tokens: [start, end) of their places, and their text."""
    found: list[dict[str, Any]] = []
    for at, (text, trained) in enumerate(zip(texts, learned, strict=True)):
        if not trained:
            continue
        if found and found[-1]["end"] == at:
            found[-1]["end"] += 1
            found[-1]["text"] += text
        else:
            found.append({"start": at, "end": at + 1, "text": text})
    return found


def main(spec: str, sample: str) -> int:
    """0 when the X-ray was printed."""
    sys.modules["torch"] = None  # type: ignore[assignment]  # nothing here needs it, and it takes seconds to load
    try:
        plain = json.loads(sys.stdin.read() if spec == "-" else Path(spec).read_bytes())
        print(json.dumps(look(TrainSpec.from_json(plain), int(sample)), ensure_ascii=True))
    except Exception as error:
        reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        print(json.dumps({"failed": reason}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
