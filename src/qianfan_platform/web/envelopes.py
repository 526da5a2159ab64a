"""The shapes of answers and errors, a pair for each family of routes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from starlette.responses import Response

from qianfan.contract.errors import CONSOLE_INTERNAL, INTERNAL, ErrorRow, Fault
from qianfan.contract.routes import Family

# HTTP status → `type` of an error in the openai family
_TYPES: Final = {401: "invalid_request_error", 403: "access_denied", 429: "rate_limit_exceeded"}


class _Spelt(bytes):
    """A header name that keeps its capitals: the server asks for `lower()` before it writes the name."""

    def lower(self) -> bytes:
        return self


def spelt(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Raw headers written exactly so; some published clients match the case of `Content-Type` or
    `X-Ratelimit-Limit-Requests`."""
    return [_spelt(name, value) for name, value in headers.items()]


@lru_cache(maxsize=1024)
def _spelt(name: str, value: str) -> tuple[bytes, bytes]:
    return _Spelt(name.encode()), value.encode("latin-1")


class Refused(Fault):
    """A Fault with an HTTP status and headers of its own, as refusals of credentials have.

    body: the answer, when the family's shape is not what clients expect; {request_id} members are filled."""

    def __init__(
        self,
        row: ErrorRow,
        message: str = "",
        *,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(row, message)
        self.advice = ""  # clients compare these texts
        self.status = status
        self.headers = dict(headers or {})
        self.body = body


class Json(Response):
    """A JSON answer on one line."""

    media_type = "application/json"
    body: bytes

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code, self.background = status_code, None
        self.body = dumps(content)
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
        if headers:
            self.raw_headers += [
                (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
            ]


def dumps(content: Any) -> bytes:
    """One line of JSON; Paths and other strangers raise TypeError."""
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def answer(family: Family, result: Any, request_id: str) -> dict[str, Any]:
    """The envelope of a success."""
    if family == "v2":
        return {"requestId": request_id, "result": result}
    if family in ("data", "prompt"):
        return {"log_id": request_id, "result": result, "status": 200, "success": True}
    return {"log_id": request_id, "result": result}


def error_body(family: Family, fault: Fault, request_id: str) -> dict[str, Any]:
    """The body of an error."""
    row, text = fault.row, fault.text
    match family:
        case "v2":
            return {"requestId": request_id, "code": row.v2, "message": text}
        case "data" | "prompt":
            message: Any = {"global": text} if family == "prompt" else text
            return {
                "log_id": request_id, "status": 400, "success": False,
                "code": row.code, "message": message, "result": None,
            }  # fmt: skip
        case "openai":
            kind = "Internal_error" if row.status >= 500 else _TYPES.get(row.status, "invalid_request_error")
            return {"error": {"code": row.v2, "message": text, "type": kind}, "id": f"as-{request_id}"}
        case "inference":
            body: dict[str, Any] = {"error_code": row.code, "error_msg": text}
            if row.code >= 336000:
                body["id"] = f"as-{request_id}"
            return body
        case "token":
            return {"error": "server_error", "error_description": text}
        case _:
            return {"error_code": row.code, "error_msg": text, "log_id": request_id}


def error_response(family: Family, fault: Fault, request_id: str) -> Json:
    """An error as its family answers it: V1 with HTTP 200, the others with the fault's or the row's status.

    A fault may have `headers`, such as Retry-After."""
    if isinstance(fault, Refused):
        body = dict(fault.body) if fault.body is not None else error_body(family, fault, request_id)
        if "requestId" in body:
            body["requestId"] = request_id
        return Json(body, fault.status, fault.headers)
    status = getattr(fault, "status", fault.row.status) if family in ("v2", "openai", "token") else 200
    response = Json(error_body(family, fault, request_id), status)
    response.raw_headers += spelt(getattr(fault, "headers", {}))
    return response


def internal(family: Family, message: str = "", advice: str | None = None) -> Fault:
    """What an unexpected exception is answered with; its own text stays in the log."""
    row = INTERNAL if family in ("inference", "openai", "token") else CONSOLE_INTERNAL
    return Fault(row, message, advice)
