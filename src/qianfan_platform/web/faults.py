"""Faults on request: what a client must survive, for accounts that turned it on.

The header `X-Qianfan-Fault` of a request asks for faults, several joined by `;`:

    status=503     the answer is an error with this HTTP status
    error=336100   the answer is this platform error, in the shape of the route
    delay=2.5      seconds before anything is answered
    cut=3          the connection drops after so many events of a stream; a whole answer drops halfway
    garbage=2      this event of a stream (a whole answer: its body) is no JSON
    drip=0.2       seconds between small pieces of the answer
    times=1        only the first so many of alike requests; then one is answered well, and so on

An account that did not turn it on (`SetFaults`) is answered as if the header were not there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from qianfan.contract.errors import INVALID_PARAMETER, UNAVAILABLE, ErrorRow, Fault, row_of
from qianfan_platform.web.envelopes import Refused
from qianfan_platform.web.exchange import Exchange, Left

HEADER: Final = b"x-qianfan-fault"
MAX_DELAY_S: Final = 120.0
PIECE: Final = 32  # bytes
GARBAGE: Final = b'data: {"id":"as-\xff\xfe,,\n\n'
_REMEMBERED: Final = 1000


@dataclass(frozen=True)
class Plan:
    """What a header asks for."""

    status: int = 0
    error: int = 0
    delay_s: float = 0.0
    cut: int = -1
    garbage: int = 0
    drip_s: float = 0.0
    times: int = 0

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Raises Fault(INVALID_PARAMETER) naming the part that makes no sense."""
        found: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text[:256].split(";"))):
            name, _, value = part.partition("=")
            limits = _LIMITS.get(name.strip())
            try:
                number = float(value)
                if limits is None or not limits[0] <= number <= limits[1]:
                    raise ValueError
            except ValueError:
                known = ", ".join(f"{name} ({low:g} to {high:g})" for name, (low, high) in _LIMITS.items())
                raise Fault(
                    INVALID_PARAMETER, f"X-Qianfan-Fault: {part[:40]!r} is no fault", f"it knows {known}"
                ) from None
            found[name.strip()] = number
        return cls(
            status=int(found.get("status", 0)),
            error=int(found.get("error", 0)),
            delay_s=found.get("delay", 0.0),
            cut=int(found.get("cut", -1)),
            garbage=int(found.get("garbage", 0)),
            drip_s=found.get("drip", 0.0),
            times=int(found.get("times", 0)),
        )


_LIMITS: Final = {
    "status": (400, 599),
    "error": (1, 10**6),
    "delay": (0, MAX_DELAY_S),
    "cut": (0, 10**6),
    "garbage": (1, 10**6),
    "drip": (0, MAX_DELAY_S),
    "times": (1, 10**6),
}


class Counts:
    """How often each (account, header) was seen, for `times`."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}

    def applies(self, owner: int, text: str, times: int) -> bool:
        """Whether the fault is due this time."""
        if not times:
            return True
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()
        number = self._seen.get((owner, text), 0)
        self._seen[owner, text] = (number + 1) % (times + 1)
        return number < times


class Faulty:
    """The faults that one request asks for."""

    def __init__(self, text: str, counts: Counts) -> None:
        self._text, self._counts = text, counts
        self._plan = Plan()
        self._events = 0

    async def begin(self, exchange: Exchange, owner: int) -> None:
        """The caller is known, and may ask for faults. Raises the fault that is answered in place of an answer."""
        plan = Plan.parse(self._text)
        if not self._counts.applies(owner, self._text, plan.times):
            return
        self._plan, exchange.faulty = plan, self
        if plan.delay_s:
            await asyncio.sleep(plan.delay_s)
        if plan.error:
            row = row_of(plan.error) or ErrorRow(
                plan.error, "internal_error", 500, "APIError", "a fault that was asked for", "", ""
            )
            raise Fault(row)
        if plan.status:
            raise Refused(UNAVAILABLE, "a fault that was asked for", status=plan.status)

    async def send(self, exchange: Exchange, body: bytes, more: bool) -> None:
        """Write a piece of the answer, with the faults of the plan. Raises Left when the connection was dropped."""
        plan = self._plan
        whole = not more and not self._events
        if body and more:
            self._events += 1
        if plan.garbage and (whole or self._events == plan.garbage) and body:
            body = b"\xff" * len(body) if whole else GARBAGE
        if plan.cut >= 0 and (whole or self._events > plan.cut or not more):
            if whole and body:
                exchange.write(body[: len(body) // 2], more=True)
            exchange.line.cut(graceful=True)
            raise Left("the connection was dropped, as X-Qianfan-Fault asked")
        if not plan.drip_s or len(body) <= PIECE:
            exchange.write(body, more)
            return
        for start in range(0, len(body), PIECE):
            rest = more or start + PIECE < len(body)
            exchange.write(body[start : start + PIECE], rest)
            if rest:
                await asyncio.sleep(plan.drip_s)
