"""From an answer to its body, or to the exception it stands for. Every family has its own shape of error."""

from __future__ import annotations

import time
from typing import Any

import orjson

from qianfan.contract.errors import CONSOLE_ACCESS, GATE_CLOSED, TOKEN_CODES, TOKEN_INVALID
from qianfan.errors import APIError, GateRefusal, QianfanError, RequestError
from qianfan.utils.logging import redact

from .call import Call, Reply

ERROR_MARKS = frozenset({"error_code", "error", "success"})  # a good answer without these tells of no error
SHOWN_BODY = 500  # characters of a foreign answer that an error shows


class TokenRejected(Exception):
    """The token was refused (110 and 111 on V1, `invalid_iam_token` on V2). Caught by the exchange, never seen by a caller."""

    def __init__(self, code: int | str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(text)


def checked(call: Call, reply: Reply) -> dict[str, Any]:
    """The body of a good answer; empty for a stream that is still to be read. Raises what a bad one says."""
    if reply.is_stream:
        return {}
    body = _json(reply.body)
    good = 200 <= reply.status < 300
    if isinstance(body, dict) and not (good and body.keys().isdisjoint(ERROR_MARKS)):
        error = body_error(body, reply.headers, None if good else reply.status)
        if error is not None:
            raise _with_retry_after(error, reply)
    if not good:
        raise _with_retry_after(_http_error(call, reply, body), reply)
    if not isinstance(body, dict):
        raise RequestError(
            f"the answer to {call.route.path} is not a JSON object: {_shown(reply.body)}",
            body=_shown(reply.body),
            headers=reply.headers,
            status_code=reply.status,
            advice="check that the base URL points to a Qianfan server and that no proxy answers instead",
            advice_zh="请检查服务地址是否为千帆服务，以及是否由中间代理返回",
        )
    return call.finish(body) if call.finish else body


def body_error(
    body: dict[str, Any], headers: dict[str, str], status: int | None = None
) -> QianfanError | None:
    """The error that a JSON body tells of, or None. `status`: the HTTP status when it is an error, too.

    Raises TokenRejected for the codes that ask for a new token."""
    req_id = str(
        body.get("id") or body.get("requestId") or body.get("log_id") or body.get("request_id") or ""
    ) or headers.get("x-baidu-request-id", "")
    if body.get("error_code"):
        code, text = _code(body["error_code"]), str(body.get("error_msg", ""))
        if code in TOKEN_CODES:
            raise TokenRejected(code, text)
        kind = GateRefusal if code == GATE_CLOSED.code else APIError
        return kind(code, redact(text), req_id, status_code=status or 200)
    if isinstance(body.get("error"), dict):
        fault = body["error"]
        code = _code(fault.get("code") or fault.get("type") or "error")
        text = str(fault.get("message", ""))
        if status is None:
            return APIError(code, redact(text), req_id, status_code=200)
        if status == 401 and code == TOKEN_INVALID.v2:
            raise TokenRejected(code, redact(text))
        return _request_error(status, code, text, req_id, headers)
    if status is None and body.get("success") is False:
        message = body.get("message")
        text = str(message.get("global", message) if isinstance(message, dict) else message or "")
        code = _code(body.get("code") or body.get("status") or 400)
        return APIError(code, redact(text), req_id, status_code=200)
    if status is not None and "code" in body and "message" in body:
        if body["code"] == GATE_CLOSED.v2:
            return GateRefusal(GATE_CLOSED.code, redact(str(body["message"])), req_id, status_code=status)
        return _request_error(status, _code(body["code"]), str(body["message"]), req_id, headers)
    return None


def _code(value: Any) -> int | str:
    return value if isinstance(value, (int, str)) else str(value)


def _request_error(
    status: int, code: int | str, text: str, req_id: str, headers: dict[str, str]
) -> RequestError:
    bce = headers.get("x-bce-error-message", "")
    return RequestError(
        redact(f"HTTP {status} {code}: {text}{f' ({bce})' if bce and bce != text else ''}, req_id: {req_id}"),
        error_code=code,
        error_msg=redact(text),
        req_id=req_id,
        status_code=status,
        headers=headers,
        advice=f"{CONSOLE_ACCESS.advice}, and the clock of this machine" if bce else "",
        advice_zh=f"{CONSOLE_ACCESS.advice_zh}，以及本机时间" if bce else "",
    )


def _http_error(call: Call, reply: Reply, body: Any) -> RequestError:
    code = reply.headers.get("x-bce-error-code", "")
    if code:
        text = reply.headers.get("x-bce-error-message", "")
        return _request_error(
            reply.status, code, text, reply.headers.get("x-bce-request-id", ""), reply.headers
        )
    return RequestError(
        f"HTTP {reply.status} from {call.route.path}: {_shown(reply.body) or 'empty body'}",
        body=_shown(reply.body),
        headers=reply.headers,
        status_code=reply.status,
        req_id=str(body.get("id", "")) if isinstance(body, dict) else "",
        advice=_STATUS_ADVICE.get(reply.status, ""),
        advice_zh=_STATUS_ADVICE_ZH.get(reply.status, ""),
    )


_STATUS_ADVICE = {
    404: "check the base URL; the server has no such route",
    407: "the proxy wants a name and a password: QIANFAN_PROXY=http://name:password@host:port",
    429: "slow down: set query_per_second, or retry_count above 1",
    502: "the server or a proxy in front of it is not ready; try again",
    503: "the server or a proxy in front of it is not ready; try again",
    504: "the server or a proxy in front of it is not ready; try again",
}
_STATUS_ADVICE_ZH = {
    404: "请检查服务地址；服务端没有该路径",
    407: "代理需要用户名和密码：QIANFAN_PROXY=http://name:password@host:port",
    429: "请降低频率：设置 query_per_second，或将 retry_count 设为大于 1",
    502: "服务端或其前面的代理尚未就绪，请重试",
    503: "服务端或其前面的代理尚未就绪，请重试",
    504: "服务端或其前面的代理尚未就绪，请重试",
}


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _shown(raw: bytes) -> str:
    return redact(raw[: SHOWN_BODY * 4].decode("utf-8", "replace").strip())[:SHOWN_BODY]


def _with_retry_after(error: QianfanError, reply: Reply) -> QianfanError:
    error.retry_after_s = retry_after(reply.headers.get("retry-after", ""), time.time())
    return error


def retry_after(value: str, unix: float) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date. None when it says neither."""
    text = value.strip()
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # rarely needed, and slow to load

    try:
        return (
            max(float(text), 0.0)
            if text.replace(".", "", 1).isdigit()
            else max(parsedate_to_datetime(text).timestamp() - unix, 0.0)
        )
    except (ValueError, TypeError):
        return None
