"""Guessing of keys: too many failures from one address, or for one key, and no more are looked at for a while.

Who is known goes on: a token that held within the last minute, and a key that held from the same address, are
checked as ever, so that guessing cannot lock out the owner of a key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from qianfan.contract.errors import QPS_LIMIT
from qianfan_platform.accounts.limits import Bucket, LimitReached
from qianfan_platform.accounts.memory import Memory

log = logging.getLogger(__name__)

OF_ADDRESS: Final = 100  # failures at once, and as many a minute
OF_KEY: Final = 20
WINDOW_S: Final = 60.0
_KNOWN_S: Final = 24 * 3600.0
_KEPT: Final = 8192


class Attempts:
    """Counts failures. clock: seconds that never go back."""

    def __init__(
        self,
        *,
        of_address: int = OF_ADDRESS,
        of_key: int = OF_KEY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = {"address": of_address, "key": of_key}
        self._clock = clock
        self._left: dict[str, Memory[str, Bucket]] = {"address": Memory(_KEPT), "key": Memory(_KEPT)}
        self._known: Memory[tuple[str, str], bool] = Memory(_KEPT)
        self._any = False

    def check(self, address: str, key: str = "") -> None:
        """Raises LimitReached when this address, or this key from an address that never had it right, must wait."""
        if not self._any or self._known.get((address, key), self._clock()):
            return
        self._check("address", address)
        if key:
            try:
                self._check("key", key)
            except LimitReached:
                self._take("address", address)
                raise

    def failed(self, address: str, key: str = "") -> None:
        """A credential did not hold."""
        self._any = True
        self._take("address", address)
        if key:
            self._take("key", key)

    def held(self, address: str, key: str) -> None:
        """This key was right, from this address."""
        if self._any:
            self._known.put((address, key), True, self._clock() + _KNOWN_S)

    def _check(self, what: str, name: str) -> None:
        now = self._clock()
        bucket = self._left[what].get(name, now)
        if bucket is None:
            return
        wait = bucket.wait_s(1, now)
        if wait:
            shown = name if what == "address" else f"{name[:6]}***"
            raise LimitReached(
                QPS_LIMIT, f"{QPS_LIMIT.text}: too many failed authentications of {what} {shown}", wait
            )

    def _take(self, what: str, name: str) -> None:
        now = self._clock()
        bucket = self._left[what].get(name, now)
        if bucket is None:
            bucket = Bucket(self._most[what], WINDOW_S, now)
        left = bucket.look(now)
        if left >= 1:
            bucket.level -= 1
        if 1 <= left < 2:
            shown = name if what == "address" else f"{name[:6]}***"
            log.warning("too many failed authentications of %s %s; more are not looked at", what, shown)
        self._left[what].put(name, bucket, now + 3600)
