"""What users of LangChain's Qianfan classes do, with our SDK as the `qianfan` that LangChain imports.

The platform and its keys come from QIANFAN_BASE_URL, QIANFAN_AK and QIANFAN_SK."""

from __future__ import annotations

import math
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the community package, about itself

from langchain_community.chat_models import QianfanChatEndpoint  # noqa: E402
from langchain_community.embeddings import QianfanEmbeddingsEndpoint  # noqa: E402
from langchain_community.llms import QianfanLLMEndpoint  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # noqa: E402
from langchain_core.output_parsers import StrOutputParser  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from langchain_core.tools import tool  # noqa: E402
from play import play  # noqa: E402

ASKED = [SystemMessage("Be brief."), HumanMessage("one two 三 four")]  # the echo engine says the last turn
GUIDED = "smollm2-135m-instruct"  # real weights, by their endpoint


def our_own_sdk_is_the_one_imported() -> None:
    import qianfan

    assert qianfan.ChatCompletion.__module__ == "qianfan.resources.llm.chat"


def chat_invoke() -> None:
    answer = QianfanChatEndpoint(model="ERNIE-Lite-8K", temperature=0.5).invoke(ASKED)
    assert answer.content == "one two 三 four"
    assert answer.response_metadata["finish_reason"] == "normal"
    assert answer.response_metadata["token_usage"]["completion_tokens"] == 4
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 4


def chat_of_a_long_conversation() -> None:
    turns = [HumanMessage("hi"), AIMessage("hello"), HumanMessage("and the last")]
    assert QianfanChatEndpoint(endpoint="eb-instant").invoke(turns).content == "and the last"


def chat_stream() -> None:
    chunks = list(QianfanChatEndpoint(model="ERNIE-Lite-8K").stream(ASKED))
    assert "".join(str(chunk.content) for chunk in chunks) == "one two 三 four"
    assert len([chunk for chunk in chunks if chunk.content]) == 4
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == "one two 三 four"


def chat_told_to_stream_inside() -> None:
    assert QianfanChatEndpoint(streaming=True).invoke(ASKED).content == "one two 三 four"


async def chat_async() -> None:
    chat = QianfanChatEndpoint(model="ERNIE-Lite-8K")
    assert (await chat.ainvoke(ASKED)).content == "one two 三 four"
    pieces = [str(chunk.content) async for chunk in chat.astream(ASKED)]
    assert "".join(pieces) == "one two 三 four"
    assert len([piece for piece in pieces if piece]) == 4


def chat_batch() -> None:
    answers = QianfanChatEndpoint().batch([[HumanMessage(f"number {n}")] for n in range(8)])
    assert [answer.content for answer in answers] == [f"number {n}" for n in range(8)]


async def chat_abatch() -> None:
    answers = await QianfanChatEndpoint().abatch([[HumanMessage(f"number {n}")] for n in range(8)])
    assert [answer.content for answer in answers] == [f"number {n}" for n in range(8)]


def chat_in_a_chain() -> None:
    chain = ChatPromptTemplate([("human", "say {what}")]) | QianfanChatEndpoint() | StrOutputParser()
    assert chain.invoke({"what": "cheese"}) == "say cheese"


def chat_limited_by_its_own_option() -> None:
    answer = QianfanChatEndpoint(model_kwargs={"max_output_tokens": 2}).invoke(ASKED)
    assert answer.content == "one two"


def init_kwargs_reach_the_client() -> None:
    chat = QianfanChatEndpoint(init_kwargs={"query_per_second": 50})
    assert chat.invoke(ASKED).content == "one two 三 four"


@tool
def _weather(city: str) -> str:
    """The weather of a city."""
    return f"clear in {city}"


def bound_tools_are_called() -> None:
    """The model may answer in words or with a call; a call has a name and arguments."""
    chat = QianfanChatEndpoint(endpoint=GUIDED, model_kwargs={"max_output_tokens": 64})
    answer = chat.bind_tools([_weather]).invoke([HumanMessage("What is the weather in Paris?")])
    assert answer.content or answer.tool_calls
    for call in answer.tool_calls:
        assert call["name"] == "_weather"
        assert isinstance(call["args"], dict)


def llm_invoke_and_stream() -> None:
    llm = QianfanLLMEndpoint(model="ERNIE-Bot-turbo")
    assert llm.invoke("one two three") == "one two three"
    assert "".join(llm.stream("one two three")) == "one two three"


async def llm_async() -> None:
    llm = QianfanLLMEndpoint(model="ERNIE-Bot-turbo")
    assert await llm.ainvoke("one two three") == "one two three"
    assert "".join([piece async for piece in llm.astream("one two three")]) == "one two three"


def llm_batch() -> None:
    assert QianfanLLMEndpoint().batch(["a b", "c d"]) == ["a b", "c d"]


CATS = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by a point."]


def embed_documents() -> None:
    embeddings = QianfanEmbeddingsEndpoint()
    cat, kitten, rates = embeddings.embed_documents(CATS)
    assert _product(cat, kitten) > _product(cat, rates) + 0.2
    assert _near(embeddings.embed_query(CATS[0]), cat)


def embed_more_than_one_call_takes() -> None:
    """LangChain sends 16 texts at a time and keeps their order."""
    texts = [f"text number {n}" for n in range(20)]
    many = QianfanEmbeddingsEndpoint().embed_documents(texts)
    assert len(many) == 20
    assert _near(many[17], QianfanEmbeddingsEndpoint().embed_query(texts[17]))


async def embed_async() -> None:
    embeddings = QianfanEmbeddingsEndpoint(model="bge-large-zh")
    several = await embeddings.aembed_documents(["你好", "世界"])
    assert _near(await embeddings.aembed_query("世界"), several[1])


def _product(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _near(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=1e-3) for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    play(globals())
