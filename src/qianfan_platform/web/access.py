"""Request ids and the access log: one JSON line for each request, without secrets.

Lines are gathered and handed to the logger a few times a second, several in one record: writing each by itself
would cost more than answering the request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

import orjson

if TYPE_CHECKING:
    from qianfan_platform.web.exchange import Exchange

log = logging.getLogger("qianfan_platform.access")

ID_HEADERS: Final = frozenset({b"request_id", b"x-bce-request-id"})
GATHER_S: Final = 0.2
GATHERED: Final = 500  # lines of one record
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SHOWN_QUERY: Final = frozenset(
    {"Action", "after", "expireInSeconds", "grant_type"}
)  # the rest may be secret
_ids = random.Random()  # ids tell requests apart; nobody may do anything by knowing one


def harmless_id(value: bytes) -> str:
    """The value of a header as a request id, "" when it cannot be one."""
    text = value.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else ""


def fresh_id() -> str:
    """A request id of 24 hex characters."""
    return f"{_ids.getrandbits(96):024x}"


def masked_query(raw: bytes) -> str:
    """The query with every value hidden that is not known to be harmless."""
    if not raw:
        return ""
    if raw.startswith(b"access_token=") and b"&" not in raw:
        return "access_token=***"
    pairs = parse_qsl(raw[:4096].decode("latin-1"), keep_blank_values=True)
    return "&".join(
        f"{quote(name[:64])}={quote(value[:64]) if name in _SHOWN_QUERY else '***'}" for name, value in pairs
    )


class AccessLines:
    """The lines that are not handed on yet."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange) -> None:
        """Note one request that is over."""
        if not log.isEnabledFor(logging.INFO):
            return
        self._lines.append(_line(exchange))
        if self._timer is None:
            self._timer = exchange.line.loop.call_later(GATHER_S, self.flush)
        elif len(self._lines) >= GATHERED:
            self.flush()

    def flush(self) -> None:
        """Hand on all lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            log.info("%s", b"\n".join(lines).decode())


def _line(exchange: Exchange) -> bytes:
    return orjson.dumps(
        {
            "time": time.time(),  # unix seconds
            "request_id": exchange.request_id,
            "method": exchange.method,
            "path": exchange.path[:512],
            "query": masked_query(exchange.query),
            "route": exchange.route,
            "owner": exchange.owner,
            "app": exchange.app,
            "client": exchange.address,
            "status": exchange.status,  # 0: it never began to answer
            "ms": round((time.monotonic() - exchange.started) * 1000, 2),
        }
    )
