"""Counting tokens, roughly on this machine or exactly on the platform."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from qianfan.contract.routes import TOKENIZER
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .base import ModelClient
from .counting import estimated_tokens
from .parameters import with_options
from .paths import prefixed

Mode = Literal["local", "remote"]


class Tokenizer:
    """Counts the tokens of a text."""

    @classmethod
    def count_tokens(cls, text: str, mode: Mode = "local", model: str = "ERNIE-Bot", **kwargs: Any) -> int:
        """Tokens of `text`.

        local: an estimate, Chinese characters plus 1.3 for every other word; nothing is sent. remote: what the
        platform counts for `model`; keywords are credentials and options. InvalidArgumentError for other modes."""
        if _is_local(mode):
            return estimated_tokens(text)
        options = with_options(kwargs, None, None, None)
        return _total(_Counter(**kwargs)._do(_asked(text, model), options))

    @classmethod
    async def acount_tokens(
        cls, text: str, mode: Mode = "local", model: str = "ERNIE-Bot", **kwargs: Any
    ) -> int:
        """The same for asyncio."""
        if _is_local(mode):
            return estimated_tokens(text)
        options = with_options(kwargs, None, None, None)
        return _total(await _Counter(**kwargs)._ado(_asked(text, model), options))


class _Counter(ModelClient):
    kind: ClassVar[str] = "tokenizer"
    default_model: ClassVar[str] = "ERNIE-Bot"


def _is_local(mode: str) -> bool:
    if mode not in ("local", "remote"):
        raise InvalidArgumentError(
            f"there is no mode {mode!r}", advice="local or remote", advice_zh="可选 local 或 remote"
        )
    return mode == "local"


def _asked(text: str, model: str) -> Call:
    return Call(prefixed(TOKENIZER), {"prompt": text, "model": model})


def _total(answer: Any) -> int:
    return int(cast(QfResponse, answer)["usage"]["total_tokens"])
