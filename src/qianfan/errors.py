"""What can go wrong, as classes. Codes and advice come from `qianfan.contract.errors`.

Every text says what happened, to what, and what to do next; none holds a key, a token or a signature.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from types import ModuleType
from typing import Any

from .contract.errors import row_of

_language = ""  # "": as the locale of the process says


def speak(language: str) -> None:
    """Give the advice in errors in this language from now on: `en`, `zh`, or `auto` for the locale's."""
    global _language
    _language = "" if language == "auto" else language


def _spoken() -> str:
    if _language:
        return _language
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.startswith("zh") else "en"


_ADVICE = re.compile(r"\. ([a-z][^\n]*)$")


class QianfanError(Exception):
    """Base of all errors of the SDK.

    error_code: the platform's code, int or (V2) text. error_msg: its message. req_id: the request's id.
    status_code: the HTTP status. cause: the error underneath. advice, advice_zh: what to do next; the text
    has the one that the setting LANG asks for. text: of a stream, what had come before the error."""

    def __init__(
        self,
        message: str = "",
        *,
        error_code: int | str | None = None,
        error_msg: str = "",
        req_id: str = "",
        status_code: int | None = None,
        cause: BaseException | None = None,
        advice: str = "",
        advice_zh: str = "",
    ) -> None:
        from .utils.logging import redact  # errors are rarer than imports of this module

        row = row_of(error_code)
        message = redact(message)
        self.error_code = error_code
        self.error_msg = redact(error_msg)
        self.req_id = req_id
        self.status_code = status_code
        self.cause = cause
        self.advice = advice or _said_in(self.error_msg) or (row.advice if row else "")
        self.advice_zh = advice_zh or (row.advice_zh if row else "")
        self.text = ""
        self.retry_after_s: float | None = None  # the server asked to wait so long
        if cause is not None:
            self.__cause__ = cause
        shown = self.advice_zh if _spoken() == "zh" else ""
        super().__init__(_with_advice(message, shown or self.advice))

    @property
    def code(self) -> int | str | None:
        """The same as `error_code`."""
        return self.error_code

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _said_in(text: str) -> str:
    """The advice with which a text of our platform ends ("run 7 does not exist. check the id"); "" when it has none.

    The cloud's texts have none: a sentence that begins small is ours."""
    found = _ADVICE.search(text)
    return found[1] if found else ""


def _with_advice(message: str, advice: str) -> str:
    if not advice or advice in message:
        return message
    if not message:
        return advice
    return f"{message.rstrip('. ')}. {advice}"


def _rebuild(cls: type[QianfanError], args: tuple[Any, ...], state: dict[str, Any]) -> QianfanError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class APIError(QianfanError):
    """The platform answered with an error code."""

    def __init__(self, error_code: int | str, error_msg: str = "", req_id: str = "", **details: Any) -> None:
        text = f"api return error, req_id: {req_id} code: {error_code}, msg: {error_msg}"
        super().__init__(text, error_code=error_code, error_msg=error_msg, req_id=req_id, **details)


class RequestError(QianfanError):
    """The answer is no answer of the platform: an HTTP error, or a body that cannot be read.

    body: the first part of what came, headers: those of the answer, both without secrets."""

    def __init__(
        self, message: str = "", *, body: str = "", headers: dict[str, str] | None = None, **details: Any
    ) -> None:
        from .utils.logging import redact

        super().__init__(message, **details)
        self.body = redact(body)
        self.headers = {k: "***" if k == "set-cookie" else redact(v) for k, v in (headers or {}).items()}


class AccessTokenExpiredError(QianfanError):
    """The access token is not valid, and could not be renewed."""


class AuthError(AccessTokenExpiredError):
    """No token is given for these keys."""


class BearerTokenExpiredError(AuthError):
    """No bearer token is given for these keys."""


class RequestTimeoutError(QianfanError, TimeoutError):
    """Nothing came within the time allowed. Raised in place of the HTTP library's own error."""


class ConnectionLost(QianfanError, ConnectionError):
    """No connection, or it broke. Raised in place of the HTTP library's own error.

    stale: a kept-alive connection had been closed by the other side before the request was read."""

    def __init__(self, message: str = "", *, stale: bool = False, **details: Any) -> None:
        self.stale = stale
        super().__init__(message, **details)


class LimiterUnreachable(QianfanError, ConnectionError):
    """The Redis that holds the shared rate limits does not answer; nothing was sent."""


class StreamInterrupted(QianfanError):
    """A stream ended without its end mark. `text` is what had come."""

    def __init__(self, message: str = "", *, text: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.text = text


class InvalidArgumentError(QianfanError, ValueError):
    """An argument cannot be used; nothing was sent."""


class ArgumentNotFoundError(QianfanError):
    """A member that the call needs is missing; nothing was sent."""


class NotImplmentError(QianfanError):
    """The call is not available here. The name is spelt as documented."""


class InternalError(QianfanError):
    """Something did not end as it should: a run, a deployment, a state that fits no rule."""


class TrainingFailed(InternalError):
    """A training run ended without a model."""


class GateClosed(InternalError):
    """A model is not shown to be good enough to go on with. verdict: what the gate found."""

    def __init__(self, message: str = "", *, verdict: Any = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.verdict = verdict


class GateRefusal(APIError, GateClosed):
    """The platform holds a model back: no evaluation has shown yet what the gate asks. The message names the figures."""


class StorageNeeded(QianfanError):
    """The platform takes no uploads: rows of this machine need object storage (BOS) there."""


class UnsafeState(QianfanError, ValueError):
    """Saved state that would run code when read, such as pickled bytes, is refused."""


class ValidationError(QianfanError):
    """Data that do not fit their schema."""


class QianfanRequestError(QianfanError):
    """A request of the dataset or trainer parts failed."""


class FileSizeOverflow(QianfanError):
    """A file is larger than the limit that is set."""


class MissingExtra(QianfanError, ImportError):
    """A part that is installed separately is missing."""


def need(module: str, why: str, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtra that says what to install.

    why: as in "to read parquet files". extra: the extra of this distribution that brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"qianfan needs {module} {why}",
            cause=error,
            advice=f"pip install 'open-qianfan[{extra}]'",
        ) from error
