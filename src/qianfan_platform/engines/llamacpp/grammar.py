"""The grammar that holds an answer to a JSON schema, in the words of llguidance, which llama.cpp has built in.

llama.cpp starts to answer without any grammar when it cannot compile one, and says nothing. So each one is
compiled here first, by the same library, which knows limits of its own and tells what it cannot follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from qianfan_platform.engines.protocol import RequestRefused
from qianfan_platform.engines.schemas import closed

# One line, as `json.dumps` writes it. A model that may put spaces where it likes writes them until its tokens run
# out, when it does not know what else to say.
LAYOUT: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def grammar(schema: Mapping[str, Any], *, lenient: bool = False) -> str:
    """The grammar of a schema that passed `schemas.check`. Raises RequestRefused when it cannot be followed.

    lenient: words of the schema that cannot be held to are left out, instead of refused."""
    how = {"coerce_one_of": True, **LAYOUT, **({"lenient": True} if lenient else {})}
    plain = {key: value for key, value in closed(schema).items() if key != "x-guidance"} or {"type": "object"}
    text = json.dumps({**plain, "x-guidance": how}, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestRefused("the JSON schema holds half of a surrogate pair, which is no text") from None
    return _compiled(text)


@lru_cache(maxsize=256)
def _compiled(schema: str) -> str:
    from llguidance import LLMatcher

    text = f"%llguidance {{}}\nstart: %json {schema}"
    failed, said = LLMatcher.validate_grammar_with_warnings(text)
    if failed:
        raise RequestRefused(f"the JSON schema cannot be followed: {_reason(said)}")
    return text


def _reason(said: list[str]) -> str:
    """The heart of the library's message, which repeats the whole grammar."""
    text = "; ".join(said).partition("\n   1 | ")[0]
    text = " ".join(text.rpartition("failed to compile JSON schema: ")[2].split())
    if text.startswith("Unimplemented keys:"):
        return f"it uses {text.partition(':')[2].strip()}, which an answer cannot be held to; leave these words out"
    return text[:300]
