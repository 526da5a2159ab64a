"""A child process in which a stranger's chat template and tokenizer work once, with little time and memory.

    python -m qianfan_platform.engines.trial

It reads one JSON line from stdin, {"template": text, "tokenizer": path or null, "cpu_s": 5}, and prints {"at": what} before each
part and {"refused": reason or null} at the end. What takes more than that or `MEMORY` is ended by the system."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from qianfan_platform.engines.chat_template import TemplateRefused, template

CPU_S: Final = 5  # seconds of processor time; everything below takes well under one
WALL_S: Final = 60.0
MEMORY: Final = 4 * 1024**3  # bytes
NAMES: Final = {name: f"<{name}>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
TURN: Final = [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "5."}]
SYSTEM: Final = {"role": "system", "content": "Be brief."}
FUNCTION: Final = {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}  # fmt: skip
CONVERSATIONS: Final[list[list[dict[str, Any]]]] = [
    TURN[:1],
    [SYSTEM, *TURN, *TURN[:1]],
    TURN * 40,
    [{"role": "user", "content": "长文本 " * 5_000}],
]
TEXTS: Final = tuple(
    piece * (4_000 // len(piece)) + "!" for piece in ("a", " ", "1", "\n", "\r\n ", "ab ", "'s", "中", "e\u0301", "🙂", "A1_")
)  # fmt: skip


def refusal(text: str, tokenizer: Path | None, *, cpu_s: int = CPU_S) -> str | None:
    """Why this template, or the tokenizer of this file, is not taken; None when both work. Takes half a second."""
    asked = json.dumps({"template": text, "tokenizer": tokenizer and str(tokenizer), "cpu_s": cpu_s}).encode()
    command = [sys.executable, "-m", "qianfan_platform.engines.trial"]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=WALL_S, check=False)
        said, ended = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        said, ended = late.stdout or b"", -signal.SIGXCPU
    lines = [json.loads(line) for line in said.splitlines()]
    if lines and "refused" in lines[-1]:
        return None if lines[-1]["refused"] is None else str(lines[-1]["refused"])
    part = lines[-1]["at"] if lines else "trial"
    if ended not in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"its {part} crashes the process that tries it"
    return f"its {part} takes more than {cpu_s} s or {MEMORY >> 30} GiB for a few short texts"


def main() -> None:
    """The child."""
    asked = json.loads(sys.stdin.buffer.read())
    _bounded(asked["cpu_s"])
    refused = _template(asked["template"]) or (asked["tokenizer"] and _tokenizer(Path(asked["tokenizer"])))
    print(json.dumps({"refused": refused or None}), flush=True)


def _bounded(cpu_s: int) -> None:
    with suppress(ImportError):  # not on Windows, where the time on the wall remains
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _template(text: str) -> str | None:
    print(json.dumps({"at": "chat template"}), flush=True)
    for messages in CONVERSATIONS:
        for tools in (None, [{"type": "function", "function": FUNCTION}]):
            try:
                template(text).render(messages, add_generation_prompt=True, tools=tools, **NAMES)
            except TemplateRefused as why:
                return f"its chat template: {why}"
            except Exception:  # a template may refuse a conversation, in any way it likes
                continue
    return None


def _tokenizer(file: Path) -> str | None:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    print(json.dumps({"at": "tokenizer"}), flush=True)
    try:
        made = Tokenizer.from_file(str(file))
        for text in TEXTS:
            made.decode(made.encode(text).ids)
    except Exception as why:
        return f"its tokenizer does not work: {str(why)[:200]}"
    return None


if __name__ == "__main__":
    main()
