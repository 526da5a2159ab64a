"""How a console method becomes a request: it returns a `Call`, the decorator makes it.

Options of the transport are taken out of the keywords before the method sees them, so that no key and no
retry setting ever gets into a body.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, cast

from qianfan import VERSION
from qianfan.config import get_config
from qianfan.transport.call import Call
from qianfan.transport.caller import Manner, acall, call, retry_of
from qianfan.transport.credentials import console_signer
from qianfan.transport.response import QfResponse

P = ParamSpec("P")
T = TypeVar("T")

OPTIONS: Final = frozenset(
    {
        "ak",
        "sk",
        "retry_count",
        "request_timeout",
        "backoff_factor",
        "retry_jitter",
        "retry_err_codes",
        "max_wait_interval",
        "retry_max_wait_interval",
    }
)
REQUEST_SOURCE: Final = f"qianfan_py_sdk_v{VERSION}"


def take_options(keywords: dict[str, Any]) -> dict[str, Any]:
    """Take the options of the transport out of `keywords`; what stays belongs to the method."""
    return {name: keywords.pop(name) for name in OPTIONS & keywords.keys()}


def make(request: Call, options: dict[str, Any]) -> QfResponse:
    """Make a console call in this thread."""
    return cast(QfResponse, call(_marked(request), _manner(options)))


async def amake(request: Call, options: dict[str, Any]) -> QfResponse:
    """Make a console call on this event loop."""
    return cast(QfResponse, await acall(_marked(request), _manner(options)))


def _marked(request: Call) -> Call:
    """The call as a console call, and without keys that a caller put among the members by mistake."""
    body = {name: value for name, value in request.body.items() if name not in ("ak", "sk")}
    return replace(request, body=body, headers={"request-source": REQUEST_SOURCE, **request.headers})


def _manner(options: dict[str, Any]) -> Manner:
    config = get_config()
    return Manner(
        base=config.CONSOLE_API_BASE_URL,
        signer=console_signer(options, config),
        retry=retry_of(options, config, "CONSOLE"),
    )


def console_api_request(func: Callable[P, Call]) -> Callable[P, QfResponse]:
    """Make a function that returns a `Call` send it and return the answer.

    Keywords taken by the wrapper: ak, sk, retry_count (total attempts), request_timeout and backoff_factor
    (seconds), retry_jitter, retry_err_codes, max_wait_interval. For asyncio: `await name.aio(...)`."""

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> QfResponse:
        options = take_options(kwargs)
        return make(func(*args, **kwargs), options)

    @functools.wraps(func)
    async def aio(*args: P.args, **kwargs: P.kwargs) -> QfResponse:
        options = take_options(kwargs)
        return await amake(func(*args, **kwargs), options)

    wrapper.aio = aio  # type: ignore[attr-defined]
    return wrapper


def async_console_api_request(func: Callable[P, Awaitable[Call]]) -> Callable[P, Awaitable[QfResponse]]:
    """The same for an `async def` function that returns a `Call`."""

    @functools.wraps(func)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> QfResponse:
        options = take_options(kwargs)
        return await amake(await func(*args, **kwargs), options)

    return wrapper


class BoundConsoleCall(Generic[P]):
    """A console method of a class: call it, or `await` its `aio`."""

    def __init__(self, func: Callable[Concatenate[Any, P], Call], owner: type) -> None:
        self._func = func
        self._owner = owner
        functools.update_wrapper(self, func)
        del self.__wrapped__  # type: ignore[attr-defined]  # its signature would show `cls`

    @property
    def __signature__(self) -> Any:
        import inspect

        signature = inspect.signature(self._func)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> QfResponse:
        options = take_options(kwargs)
        return make(self._func(self._owner, *args, **kwargs), options)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> QfResponse:
        """The same call on the running event loop."""
        options = take_options(kwargs)
        return await amake(self._func(self._owner, *args, **kwargs), options)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """What would be sent, without sending it."""
        take_options(kwargs)
        return self._func(self._owner, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<console call {self._owner.__name__}.{self._func.__name__}>"


class console_call(classmethod, Generic[P]):  # type: ignore[type-arg]
    """A class method that returns a `Call`; calling it makes the call. See `console_api_request`."""

    def __init__(self, func: Callable[Concatenate[Any, P], Call]) -> None:
        super().__init__(func)

    def __get__(self, instance: Any, owner: Any = None) -> BoundConsoleCall[P]:
        return BoundConsoleCall(self.__func__, owner or type(instance))
