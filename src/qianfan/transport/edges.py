"""The two edges: they do what an exchange asks for. All there is of I/O and of waiting is here."""

from __future__ import annotations

import time
from typing import Any, TypeVar

from qianfan.errors import QianfanError

from .call import Exchange, Send, Sleep
from .client import HttpClient

T = TypeVar("T")


def run(exchange: Exchange[T], client: HttpClient) -> T:
    """Carry an exchange through in the caller's thread."""
    value: Any = None
    try:
        effect = next(exchange)
        while True:
            try:
                if isinstance(effect, Send):
                    value = client.send(effect.request)
                elif isinstance(effect, Sleep):
                    time.sleep(effect.seconds)
                    value = None
                else:
                    value = effect.work()
            except QianfanError as error:
                effect = exchange.throw(error)
            else:
                effect = exchange.send(value)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        exchange.close()


async def arun(exchange: Exchange[T], client: HttpClient) -> T:
    """Carry an exchange through on the caller's event loop."""
    import asyncio  # half of what importing this SDK would cost, and only needed here

    value: Any = None
    try:
        effect = next(exchange)
        while True:
            try:
                if isinstance(effect, Send):
                    value = await client.asend(effect.request)
                elif isinstance(effect, Sleep):
                    await asyncio.sleep(effect.seconds)
                    value = None
                else:
                    value = await asyncio.to_thread(effect.work)
            except QianfanError as error:
                effect = exchange.throw(error)
            else:
                effect = exchange.send(value)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        exchange.close()
