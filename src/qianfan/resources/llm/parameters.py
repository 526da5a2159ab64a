"""The keywords of a call: which of them steer the call, and which the model is documented to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qianfan.contract.models import PresetModel
from qianfan.errors import ArgumentNotFoundError
from qianfan.utils.logging import logger

OPTIONS: Final = frozenset(
    {
        "retry_count",
        "request_timeout",
        "backoff_factor",
        "retry_jitter",
        "retry_err_codes",
        "retry_max_wait_interval",
        "max_wait_interval",
    }
)
# Keys of an object, given to a call by mistake, and what other parts of a request take: never in the body.
NOT_SENT: Final = OPTIONS | {
    "ak",
    "sk",
    "access_token",
    "access_key",
    "secret_key",
    "bearer_token",
    "api_key",
    "ssl",
    "header",
    "headers",
    "query",
    "request_id",
    "show_total_latency",
}
EVERYWHERE: Final = frozenset({"stream", "extra_parameters"})  # taken by every model

_warned: set[tuple[str, str]] = set()  # (model, parameter), of this process


def with_options(
    extra: Mapping[str, Any],
    retry_count: int | None,
    request_timeout: float | None,
    backoff_factor: float | None,
) -> dict[str, Any]:
    """The options of one call that are given, named and unnamed ones together; empty for most calls."""
    given = {name: extra[name] for name in OPTIONS & extra.keys()} if extra else {}
    if retry_count is not None:
        given["retry_count"] = retry_count
    if request_timeout is not None:
        given["request_timeout"] = request_timeout
    if backoff_factor is not None:
        given["backoff_factor"] = backoff_factor
    return given


def check(model: PresetModel, extra: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Look at the members of a body before it is sent.

    One that the model is not known to take is sent and warned about, once per model and parameter. Raises
    ArgumentNotFoundError for a required one that is missing."""
    for name in model.required:
        if body.get(name) is None and extra.get(name) is None:
            raise ArgumentNotFoundError(
                f"the required key `{name}` is not provided for the model {model.name}",
                advice=f"give {name}=; for a service of your own, give endpoint=",
                advice_zh=f"请传入 {name}=；自行发布的服务请使用 endpoint=",
            )
    if not extra or not model.required:
        return
    for name, value in extra.items():
        if value is None or name in model.optional or name in model.required or name in EVERYWHERE:
            continue
        if (model.name, name) not in _warned:
            _warned.add((model.name, name))
            logger.warning(
                "the model %s is not known to take the parameter %s; it is sent all the same",
                model.name,
                name,
            )
