"""Whatever JSON a caller sends: it is understood, or refused in words; nothing else ever happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan.contract.errors import Fault
from qianfan_platform.inference import conversations, wishes

MEMBERS = [
    "messages",
    "system",
    "user_setting",
    "functions",
    "tools",
    "tool_choice",
    "temperature",
    "top_p",
    "top_k",
    "penalty_score",
    "stop",
    "seed",
    "n",
    "max_output_tokens",
    "max_tokens",
    "max_completion_tokens",
    "min_output_tokens",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
    "prompt",
    "image",
    "input",
    "query",
    "documents",
    "top_n",
    "size",
    "steps",
    "style",
    "cfg_scale",
    "sampler_index",
    "negative_prompt",
    "logprobs",
    "web_search",
    "enable_citation",
]
WORDS = st.sampled_from(
    [
        "role",
        "content",
        "user",
        "assistant",
        "function",
        "tool",
        "system",
        "name",
        "arguments",
        "function_call",
        "tool_calls",
        "type",
        "text",
        "image_url",
        "url",
        "parameters",
        "description",
        "json_schema",
        "json_object",
        "schema",
        "pattern",
        "$ref",
        "enum",
        "maxItems",
        "auto",
        "required",
        "id",
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
ANY = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)
CONTENT = st.text(max_size=5) | ANY
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "function", "tool", "system"]), "content": CONTENT},
    optional={"name": ANY, "function_call": ANY, "tool_calls": ANY, "tool_call_id": ANY},
)
HI = {
    "messages": [{"role": "user", "content": "hi"}],
    "prompt": "hi",
    "input": ["hi"],
    "query": "hi",
    "documents": ["hi"],
}
READERS: list[Callable[[Any], Any]] = [
    conversations.of_v1, conversations.of_v2, conversations.of_completion, conversations.of_image,
    wishes.texts_of_v1, wishes.texts_of_v2, wishes.ranking, wishes.image,
]  # fmt: skip


def understood_or_refused(reader: Callable[[Any], Any], body: dict[str, Any]) -> None:
    with suppress(Fault):
        reader(body)
        conversations.ignored(body)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@settings(max_examples=40, deadline=None)
@given(body=st.dictionaries(st.sampled_from(MEMBERS), ANY, max_size=4))
def test_any_members_among_good_ones(reader: Callable[[Any], Any], body: dict[str, Any]) -> None:
    """Each member may be of any type, with words in it that mean something elsewhere."""
    understood_or_refused(reader, {**HI, **body})


@pytest.mark.parametrize("reader", [conversations.of_v1, conversations.of_v2], ids=["v1", "v2"])
@settings(max_examples=80, deadline=None)
@given(turns=st.lists(TURN, min_size=1, max_size=3))
def test_any_turns(reader: Callable[[Any], Any], turns: list[Any]) -> None:
    """Messages that are nearly right."""
    understood_or_refused(reader, {"messages": turns})
