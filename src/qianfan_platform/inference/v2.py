"""The V2 routes of inference, in the shape of the OpenAI interface."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from qianfan.contract import errors, routes
from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.times import unix
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.catalogue.catalogue import Kind, Served
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering
from qianfan_platform.web import hot
from qianfan_platform.web.envelopes import Refused
from qianfan_platform.web.hot import Exchange, HotRoute, Json, Reply

from . import conversations, members, operations, wishes
from .door import Door
from .frames import DONE, V2, listed
from .members import Body


class V2Routes:
    """Chat, embeddings, rerank, images and the list of models under `/v2`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def routes(self) -> list[HotRoute]:
        route = self._door.route
        models = routes.V2_MODELS.path
        return [
            route(routes.V2_CHAT.path, "openai", self.chat),
            route(routes.V2_EMBEDDINGS.path, "openai", self.embeddings),
            route(routes.V2_RERANKERS.path, "openai", self.rerankers),
            route(routes.V2_IMAGES.path, "openai", self.images),
            route(models, "openai", self.models, "GET", "HEAD"),
            route(f"{models}/{{model:path}}", "openai", self.model, "GET", "HEAD"),
        ]

    async def chat(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "chat")
        prompt = conversations.of_v2(body)
        if prompt.sees:
            self._must_see(answering)
        self._door.tell_ignored(exchange, body)
        options = body.get("stream_options")
        form = V2(
            body["model"],
            with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
            one_call=body.get("parallel_tool_calls") is False,
        )
        if members.flag(body, "stream"):
            await self._door.stream(exchange, caller, answering, prompt, form, "openai", tail=DONE)
            return None
        return await self._door.whole(exchange, caller, answering, prompt, form)

    def _must_see(self, answering: Answering) -> None:
        entry = self._door.platform.fleet.entry_of(answering.want)
        if "image2text" not in entry.kinds:
            members.refuse(
                f"{entry.name} reads no images",
                "ask a model whose kinds in the catalogue hold image2text; see docs/guides/catalogue.md",
            )

    async def embeddings(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "embeddings")
        coding = body.get("encoding_format") or "float"
        if coding not in ("float", "base64"):
            members.refuse("encoding_format must be float or base64")
        dimensions = members.whole(body, "dimensions", 1, 1_000_000)
        texts = wishes.texts_of_v2(body)
        work = operations.embed(self._door.platform, caller, answering, texts, exchange.add)
        vectors = await hot.unless_left(exchange, work)
        size = len(vectors.rows[0])
        if dimensions not in (None, size):
            members.refuse(f"dimensions must be {size}: this model makes no other vectors", "leave it out")
        written = _base64 if coding == "base64" else list
        rows = [
            {"object": "embedding", "embedding": written(row), "index": place}
            for place, row in enumerate(vectors.rows)
        ]
        return Json(listed("list", rows, vectors.tokens, model=body["model"]))

    async def rerankers(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "reranker")
        query, documents, top = wishes.ranking(body)
        work = operations.rerank(self._door.platform, caller, answering, query, documents, exchange.add)
        scores = await hot.unless_left(exchange, work)
        rows = wishes.ranked(documents, scores.values, top)
        return Json(listed("reranker_list", rows, scores.tokens, name="results", model=body["model"]))

    async def images(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "text2image")
        if body.get("response_format") not in (None, "b64_json"):
            members.refuse("response_format must be b64_json", "this platform keeps no images to link to")
        wish = wishes.image(body, guidance="guidance", sampler="sampler")
        work = operations.paint(self._door.platform, caller, answering, wish, exchange.add)
        images = await hot.unless_left(exchange, work)
        rows = [
            {"index": place, "b64_json": base64.b64encode(image).decode()}
            for place, image in enumerate(images)
        ]
        return Json(listed("image", rows, conversations.estimate(wish.prompt), model=body["model"]))

    async def models(self, exchange: Exchange, caller: Caller) -> Reply:
        """Every name that answers; a stand-in says so. The account's own services come last."""
        return Json({"object": "list", "data": list((await self._rows(caller)).values())})

    async def model(self, exchange: Exchange, caller: Caller) -> Reply:
        """One model or service, by its name or endpoint."""
        name = exchange.param
        row = (await self._rows(caller)).get(name)
        if row is None:
            served = self._door.platform.catalogue.serves(name)
            if served is None:
                fault = serving.nobody_serves(name)
                raise Refused(fault.row, fault.text, status=404)
            row = {**_preset_row(served), "id": name}
        return Json(row)

    async def _rows(self, caller: Caller) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for served in self._door.platform.catalogue.names():
            rows.setdefault(served.name, _preset_row(served))
        async with self._door.platform.store.reading() as tx:
            for service in await serving.list_services(tx, caller.owner):
                if service.status == ServiceStatus.Done:
                    made = unix(service.created_at) or 0
                    rows.setdefault(service.uri, _row(service.uri, made, "account", service.api_type))
        return rows

    async def _asked(self, exchange: Exchange, caller: Caller, kind: Kind) -> tuple[Answering, Body]:
        """Who answers for the model that the body names, and what they are asked."""
        body = await hot.read_object(exchange)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Fault(errors.UNSUPPORTED_METHOD, "model is empty", "name a model of GET /v2/models")
        return await self._door.find(exchange, caller, model, kind), body


def _row(name: str, created: int, owner: str, kind: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "kind": kind}


def _preset_row(served: Served) -> dict[str, Any]:
    return {
        **_row(served.name, 0, "platform", served.kind),
        "served_by": served.entry.name,
        "stand_in": served.stand_in,
        "note": served.note,
    }


def _base64(row: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as the `openai` client reads them."""
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
