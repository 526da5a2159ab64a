"""What users of LlamaIndex's Qianfan class do. It has a client of its own, which signs in a way of its own.

QIANFAN_BASE_URL and the access key come from the environment; the class takes the URL of an endpoint."""

from __future__ import annotations

import os

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.llms.qianfan import Qianfan
from play import play

llm = Qianfan(
    access_key=os.environ["QIANFAN_ACCESS_KEY"],
    secret_key=os.environ["QIANFAN_SECRET_KEY"],
    model_name="ERNIE-Lite-8K",
    endpoint_url=f"{os.environ['QIANFAN_BASE_URL']}/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/ernie-lite-8k",
    context_window=8192,
)
ASKED = [
    ChatMessage(role=MessageRole.SYSTEM, content="Be brief."),
    ChatMessage(role=MessageRole.USER, content="one two 三 four"),
]


def complete() -> None:
    assert llm.complete("one two 三 four").text == "one two 三 four"


def chat() -> None:
    answer = llm.chat(ASKED)
    assert answer.message.role == MessageRole.ASSISTANT
    assert answer.message.content == "one two 三 four"


def chat_stream() -> None:
    pieces = list(llm.stream_chat(ASKED))
    assert "".join(piece.delta or "" for piece in pieces) == "one two 三 four"
    assert pieces[-1].message.content == "one two 三 four"


async def async_chat() -> None:
    assert (await llm.achat(ASKED)).message.content == "one two 三 four"


async def async_chat_stream() -> None:
    pieces = [piece async for piece in await llm.astream_chat(ASKED)]
    assert pieces[-1].message.content == "one two 三 four"


if __name__ == "__main__":
    play(globals())
