"""The V2 routes of inference, in the shape of the OpenAI interface."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

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
from qianfan_platform.web.hot import Json

from . import conversations, members, operations, wishes
from .door import Door
from .frames import DONE, V2, listed
from .members import Body


class V2Routes:
    """Chat, embeddings, rerank, images and the list of models under `/v2`."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def routes(self) -> list[BaseRoute]:
        route = self._door.route
        models = routes.V2_MODELS.path
        return [
            route(routes.V2_CHAT.path, "openai", self.chat),
            route(routes.V2_EMBEDDINGS.path, "openai", self.embeddings),
            route(routes.V2_RERANKERS.path, "openai", self.rerankers),
            route(routes.V2_IMAGES.path, "openai", self.images),
            route(models, "openai", self.models, "GET"),
            route(f"{models}/{{model:path}}", "openai", self.model, "GET"),
        ]

    async def chat(self, request: Request, caller: Caller) -> Response:
        answering, body = await self._asked(request, caller, "chat")
        prompt = conversations.of_v2(body)
        if prompt.sees:
            self._must_see(answering)
        self._door.tell_ignored(request, body)
        options = body.get("stream_options")
        form = V2(
            body["model"],
            with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
            one_call=body.get("parallel_tool_calls") is False,
        )
        if members.flag(body, "stream"):
            return self._door.stream(request, caller, answering, prompt, form, "openai", tail=DONE)
        await self._door.whole(request, caller, answering, prompt, form.whole)
        return Json(form.answer())

    def _must_see(self, answering: Answering) -> None:
        entry = self._door.platform.catalogue.entries[answering.want.entry]
        if "image2text" not in entry.kinds:
            members.refuse(
                f"{entry.name} reads no images",
                "ask a model whose kinds in the catalogue hold image2text; see docs/guides/catalogue.md",
            )

    async def embeddings(self, request: Request, caller: Caller) -> Response:
        answering, body = await self._asked(request, caller, "embeddings")
        coding = body.get("encoding_format") or "float"
        if coding not in ("float", "base64"):
            members.refuse("encoding_format must be float or base64")
        dimensions = members.whole(body, "dimensions", 1, 1_000_000)
        texts = wishes.texts_of_v2(body)
        work = operations.embed(self._door.platform, caller, answering, texts, self._door.admitted(request))
        vectors = await hot.unless_left(request, work)
        size = len(vectors.rows[0])
        if dimensions not in (None, size):
            members.refuse(f"dimensions must be {size}: this model makes no other vectors", "leave it out")
        written = _base64 if coding == "base64" else list
        rows = [
            {"object": "embedding", "embedding": written(row), "index": place}
            for place, row in enumerate(vectors.rows)
        ]
        return Json(listed("list", rows, vectors.tokens, model=body["model"]))

    async def rerankers(self, request: Request, caller: Caller) -> Response:
        answering, body = await self._asked(request, caller, "reranker")
        query, documents, top = wishes.ranking(body)
        work = operations.rerank(
            self._door.platform, caller, answering, query, documents, self._door.admitted(request)
        )
        scores = await hot.unless_left(request, work)
        rows = wishes.ranked(documents, scores.values, top)
        return Json(listed("reranker_list", rows, scores.tokens, name="results", model=body["model"]))

    async def images(self, request: Request, caller: Caller) -> Response:
        answering, body = await self._asked(request, caller, "text2image")
        if body.get("response_format") not in (None, "b64_json"):
            members.refuse("response_format must be b64_json", "this platform keeps no images to link to")
        wish = wishes.image(body, guidance="guidance", sampler="sampler")
        work = operations.paint(self._door.platform, caller, answering, wish, self._door.admitted(request))
        images = await hot.unless_left(request, work)
        rows = [
            {"index": place, "b64_json": base64.b64encode(image).decode()}
            for place, image in enumerate(images)
        ]
        return Json(listed("image", rows, conversations.estimate(wish.prompt), model=body["model"]))

    async def models(self, request: Request, caller: Caller) -> Response:
        """Every name that answers; a stand-in says so. The account's own services come last."""
        return Json({"object": "list", "data": list((await self._rows(caller)).values())})

    async def model(self, request: Request, caller: Caller) -> Response:
        """One model or service, by its name or endpoint."""
        name = request.path_params["model"]
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

    async def _asked(self, request: Request, caller: Caller, kind: Kind) -> tuple[Answering, Body]:
        """Who answers for the model that the body names, and what they are asked."""
        body = await hot.read_object(request)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Fault(errors.UNSUPPORTED_METHOD, "model is empty", "name a model of GET /v2/models")
        return await self._door.find(request, caller, model, kind), body


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
