"""Plugin calls: hot routes, no transaction. A plugin's endpoint, EBPlugin, EBPluginV2."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from qianfan.contract import routes
from qianfan.contract.routes import INFERENCE_PREFIX
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.inference import members
from qianfan_platform.inference.door import Authenticate, Door
from qianfan_platform.platform import Platform
from qianfan_platform.web import hot
from qianfan_platform.web.hot import Exchange, HotRoute, Json, Reply

from . import questions
from .asking import Asking, Question
from .shapes import MessagesShape, PluginShape

Shape = PluginShape | MessagesShape


def hot_routes(platform: Platform, authenticate: Authenticate) -> list[HotRoute]:
    """The routes, ready to go before those of the console."""
    door = Door(platform, authenticate)
    calls = _Calls(door)
    path = f"{INFERENCE_PREFIX}/plugin/{{endpoint}}"
    return [
        door.route(path, "inference", calls.plugin),
        door.route(f"{path}/", "inference", calls.plugin),
        door.route(routes.EB_PLUGIN.path, "inference", partial(calls.messages, named=False)),
        door.route(routes.EB_PLUGIN_V2.path, "inference", partial(calls.messages, named=True)),
    ]


class _Calls:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def plugin(self, exchange: Exchange, caller: Caller) -> Reply:
        """A plugin application, or `assistant`."""
        body = await hot.read_object(exchange)
        verbose = members.flag(body, "verbose")
        endpoint, admitted = exchange.param, exchange.add
        asked = questions.of_plugin(self._door.platform, caller, endpoint, body, admitted)
        question = await hot.unless_left(exchange, asked)
        return await self._answer(
            exchange, caller, body, question, PluginShape(question.query, verbose=verbose)
        )

    async def messages(self, exchange: Exchange, caller: Caller, *, named: bool) -> Reply:
        """EBPlugin, and EBPluginV2, whose streams name their events."""
        body = await hot.read_object(exchange)
        question = await questions.of_messages(self._door.platform, caller, body)
        shape = MessagesShape(question.query, body["plugins"], named=named)
        return await self._answer(exchange, caller, body, question, shape)

    async def _answer(
        self, exchange: Exchange, caller: Caller, body: dict[str, Any], question: Question, shape: Shape
    ) -> Reply:
        find = partial(self._door.find, exchange, caller, kind="chat")
        asking = Asking(self._door.platform, find, caller, question, exchange.add)
        if members.flag(body, "stream"):
            await hot.stream(exchange, _frames(asking, shape), "inference")
            return None
        await hot.unless_left(exchange, _gathered(asking, shape))
        return Json(shape.whole())


async def _frames(asking: Asking, shape: Shape) -> AsyncGenerator[bytes]:
    began = not isinstance(shape, MessagesShape)
    async with aclosing(asking.events()) as events:
        async for event in events:
            if not began and isinstance(shape, MessagesShape):
                began = True  # not before the first event: until then an error is plain JSON
                for frame in shape.begin():
                    yield frame
            for frame in shape.frames(event):
                yield frame


async def _gathered(asking: Asking, shape: Shape) -> None:
    async with aclosing(asking.events()) as events:
        async for event in events:
            shape.take(event)
