"""The V1 routes of inference. They go before those of the console: no transaction of their own."""

from __future__ import annotations

import base64

from qianfan.contract.routes import INFERENCE_PREFIX, TOKENIZER
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.catalogue.catalogue import Kind
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.web import hot
from qianfan_platform.web.hot import Exchange, HotRoute, Json, Reply

from . import conversations, members, operations, wishes
from .conversations import Prompt
from .door import Authenticate, Door
from .frames import V1, listed
from .members import Body
from .v2 import V2Routes

CHAT = "chat.completion"
DEFAULT_TOKENIZER_MODEL = "ERNIE-Bot"


def hot_routes(platform: Platform, authenticate: Authenticate) -> list[HotRoute]:
    """The routes, ready to go before those of the console."""
    door = Door(platform, authenticate)
    v1 = V1Routes(door)
    by_path = {
        "chat": v1.chat,
        "completions": v1.completion,
        "embeddings": v1.embeddings,
        "reranker": v1.reranker,
        "text2image": v1.text2image,
        "image2text": v1.image2text,
    }
    paths = {f"{INFERENCE_PREFIX}/{kind}/{{endpoint}}": one for kind, one in by_path.items()}
    paths[TOKENIZER.path] = v1.tokenizer
    return [
        *(door.route(path + slash, "inference", one) for path, one in paths.items() for slash in ("", "/")),
        *V2Routes(door).routes(),
    ]


class V1Routes:
    """Chat, completion, embedding, rerank, images and token counts under their V1 paths."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def chat(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "chat")
        prompt = conversations.of_v1(body)
        self._door.tell_ignored(exchange, body)
        return await self._answer(exchange, caller, answering, body, prompt, V1(CHAT))

    async def completion(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "completions")
        prompt, form = conversations.of_completion(body), V1("completion", safe=True)
        return await self._answer(exchange, caller, answering, body, prompt, form)

    async def image2text(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "image2text")
        prompt, form = conversations.of_image(body), V1(CHAT, safe=True)
        return await self._answer(exchange, caller, answering, body, prompt, form)

    async def embeddings(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "embeddings")
        texts = wishes.texts_of_v1(body)
        work = operations.embed(self._door.platform, caller, answering, texts, exchange.add)
        vectors = await hot.unless_left(exchange, work)
        rows = [
            {"object": "embedding", "embedding": row, "index": place}
            for place, row in enumerate(vectors.rows)
        ]
        return Json(listed("embedding_list", rows, vectors.tokens))

    async def reranker(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "reranker")
        query, documents, top = wishes.ranking(body)
        work = operations.rerank(self._door.platform, caller, answering, query, documents, exchange.add)
        scores = await hot.unless_left(exchange, work)
        rows = wishes.ranked(documents, scores.values, top)
        return Json(listed("reranker_list", rows, scores.tokens, name="results"))

    async def text2image(self, exchange: Exchange, caller: Caller) -> Reply:
        answering, body = await self._asked(exchange, caller, "text2image")
        wish = wishes.image(body)
        work = operations.paint(self._door.platform, caller, answering, wish, exchange.add)
        images = await hot.unless_left(exchange, work)
        rows = [
            {"object": "image", "b64_image": base64.b64encode(image).decode(), "index": place}
            for place, image in enumerate(images, 1)
        ]
        return Json(listed("image", rows, conversations.estimate(wish.prompt)))

    async def tokenizer(self, exchange: Exchange, caller: Caller) -> Reply:
        """Tokens of a text; `model` is a name or an endpoint."""
        body = await hot.read_object(exchange)
        prompt = members.text(body, "prompt", most=conversations.MAX_PROMPT)
        model = body.get("model") or DEFAULT_TOKENIZER_MODEL
        if not isinstance(model, str):
            members.refuse("model must be the name of a model")
        answering = await self._door.find(exchange, caller, model, "chat")
        work = operations.count_tokens(self._door.platform, caller, answering, prompt, exchange.add)
        tokens = await hot.unless_left(exchange, work)
        answer = listed("tokenizer.erniebot", [], tokens)
        del answer["data"]
        return Json(answer)

    async def _asked(self, exchange: Exchange, caller: Caller, kind: Kind) -> tuple[Answering, Body]:
        """Who answers under this path, and what they are asked."""
        answering = await self._door.find(exchange, caller, exchange.param, kind)
        return answering, await hot.read_object(exchange)

    async def _answer(
        self,
        exchange: Exchange,
        caller: Caller,
        answering: Answering,
        body: Body,
        prompt: Prompt,
        form: V1,
    ) -> Reply:
        if members.flag(body, "stream"):
            await self._door.stream(exchange, caller, answering, prompt, form, "inference")
            return None
        return await self._door.whole(exchange, caller, answering, prompt, form)
