"""One running engine with those who are in it, and how a pool of them stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qianfan_platform.engines.protocol import Adapter, Engine, EngineSpec
from qianfan_platform.serving.turns import Turns

if TYPE_CHECKING:
    from qianfan_platform.serving.pool import Pool


@dataclass(eq=False)
class Live:
    """A running engine, the requests that are in it or wait for it, and the places it has."""

    pool: Pool
    engine: Engine
    spec: EngineSpec
    turns: Turns
    adapters: Mapping[str, Adapter]
    since: float = field(default_factory=time.monotonic)
    held: int = 0
    taken: int = 0  # requests ever
    retired: bool = False  # gets no more requests
    ended: bool = False
    looked: asyncio.Task[None] | None = None
    doubted: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class Standing:
    """How a pool stands: engines that run, and that should; the words are "" when there is nothing to say."""

    running: int
    wanted: int
    asleep: bool = False
    problem: str = ""  # why there is none, and not for a moment only
    warning: str = ""  # why there are fewer than asked for
