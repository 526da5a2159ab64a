"""A rate limit that many processes share, kept in Redis. Time is the Redis server's, so clocks do not matter."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Final

from qianfan.errors import InvalidArgumentError, LimiterUnreachable, need

from .limiter import LATE_S

TIMEOUT_S: Final = 5.0

# One step, so that no two callers get the same place. Times are microseconds; a double holds them exactly.
_RESERVE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free = tonumber(redis.call('GET', KEYS[1]) or 0)
local at = now
if free >= now - tonumber(ARGV[3]) then at = free end
local after = at + tonumber(ARGV[1]) * tonumber(ARGV[2])
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil(math.max(after - now, 0) / 1000) + 60000)
return string.format('%.0f', math.max(at - now, 0))
"""
_MOVE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[2] == '1' then free = math.max(free, now) end
local after = free + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil(math.max(after - now, 0) / 1000) + 60000)
return 1
"""


class SharedLimiter:
    """At most `rate` units a second of all who use `name` in one Redis; otherwise as `Limiter`.

    url: as in redis://:password@host:6379/0. Raises MissingExtra without the library `redis`; its calls raise
    LimiterUnreachable when Redis does not answer."""

    def __init__(self, url: str, name: str, rate: float) -> None:
        self._redis = _connected(url, os.getpid())
        self._where = url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")
        self._key = f"qianfan:rate:{name}"
        self._interval_us = 1e6 / rate
        self._late_us = min(LATE_S * 1e6, self._interval_us / 2)
        self._reserve = self._redis.register_script(_RESERVE)
        self._move = self._redis.register_script(_MOVE)

    def reserve(self, units: float = 1.0) -> float:
        """Seconds to wait before going on. Counts the units as used."""
        return float(self._run(self._reserve, units, self._interval_us, self._late_us)) / 1e6

    def correct(self, units: float) -> None:
        """Count so many units more, or fewer, for a place that was given."""
        self._run(self._move, units * self._interval_us, 0)

    def empty(self, units: float) -> None:
        """Let the next caller wait until so many units have come in again."""
        self._run(self._move, units * self._interval_us, 1)

    def _run(self, script: Any, *arguments: float) -> Any:
        from redis.exceptions import RedisError

        try:
            return script(keys=[self._key], args=arguments)
        except RedisError as error:
            raise LimiterUnreachable(
                f"the Redis at {self._where}, which holds the rate limits, cannot be used: {type(error).__name__}",
                cause=ConnectionError(type(error).__name__),
                advice="start it, set QIANFAN_REDIS_URL, or unset QIANFAN_REDIS_RATE_LIMITER",
                advice_zh="请启动 Redis，设置 QIANFAN_REDIS_URL，或取消 QIANFAN_REDIS_RATE_LIMITER",
            ) from None


@lru_cache(maxsize=16)
def _connected(url: str, process: int) -> Any:
    redis = need("redis", "to share rate limits among processes", "redis")
    try:
        return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError:
        raise InvalidArgumentError(
            "QIANFAN_REDIS_URL is not the address of a Redis",
            advice="write it as redis://:password@host:6379/0",
        ) from None
