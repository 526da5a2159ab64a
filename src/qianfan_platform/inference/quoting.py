"""Text of others inside a prompt: quoted, so that it can give no orders and end no turn."""

from __future__ import annotations

import re
from typing import Final

# Marks by which chat templates tell turns apart. In quoted text they must be text.
_CONTROL: Final = re.compile(
    r"<(\|[^<>|\n]{0,40}\||/?s|unk|pad|bos|eos|(?:start|end)_of_turn|/?think|/?tool_call|<SYS>|</SYS>|</?SYS>)>|"
    r"\[(/?INST|/?SYSTEM_PROMPT|TOOL_CALLS|/?AVAILABLE_TOOLS|/?TOOL_RESULTS)\]",
    re.IGNORECASE,
)


def neutral(text: str) -> str:
    """Quoted text in which no chat template finds a mark of its own."""
    return _CONTROL.sub(lambda found: f"‹{found[1]}›" if found[1] else f"({found[2]})", text)
