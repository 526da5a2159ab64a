"""Links that need no signature: the file id, a time limit, and a mark that only this server can make."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

LIFE_S: Final = 24 * 3600
_TIME: Final = re.compile(r"[0-9]{1,12}")  # more digits are no time, and some digits are no numbers


def make(key: bytes, file_id: str, *, now: float | None = None) -> str:
    """Query of a link to `file_id`, good for a day: `until=…&mark=…`."""
    until = int((time.time() if now is None else now) + LIFE_S)
    return f"until={until}&mark={_mark(key, file_id, until)}"


def holds(key: bytes, file_id: str, until: str, mark: str, *, now: float | None = None) -> bool:
    """True when the link was made here and its time is not over."""
    if not _TIME.fullmatch(until) or int(until) < (time.time() if now is None else now):
        return False
    return hmac.compare_digest(_mark(key, file_id, int(until)), mark)


def _mark(key: bytes, file_id: str, until: int) -> str:
    return hmac.new(key, f"{file_id}|{until}".encode(), hashlib.sha256).hexdigest()
