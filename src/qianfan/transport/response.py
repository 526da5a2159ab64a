"""What a caller gets back."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import orjson

from qianfan.utils.logging import redact

from .call import Request

_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


class SentRequest:
    """What was sent, without the secrets: method, url, query, headers, json_body."""

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.query = {
            name: "***" if name in ("access_token", "client_secret") else value
            for name, value in request.query
        }
        shown = "&".join(f"{name}={value}" for name, value in self.query.items())
        self.url = f"{redact(request.base)}{request.path}{'?' if shown else ''}{shown}"
        self.headers = {
            name: "***" if name.lower() in _SECRET_HEADERS else value
            for name, value in request.headers.items()
        }
        self._body = request.body

    @property
    def json_body(self) -> dict[str, Any]:
        """The body as sent; empty when it was not JSON."""
        try:
            body = orjson.loads(self._body) if isinstance(self._body, bytes) else {}
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}

    def __repr__(self) -> str:
        return f"<{self.method} {self.url}>"


class QfResponse(Mapping[str, Any]):
    """One answer, or one piece of a stream.

    code: the HTTP status. headers, body: of the answer. request: what was sent. statistic: seconds
    (`request_latency`, `total_latency`, for a stream also `first_token_latency`). image: unused by this SDK.
    `resp["x"]` looks at these names first, then into the body, so `resp["result"]` and
    `resp["body"]["result"]` are the same; iterating and `len` see the body alone."""

    _ATTRIBUTES = frozenset({"code", "headers", "body", "statistic", "request", "image"})

    def __init__(
        self,
        code: int,
        headers: dict[str, str],
        body: dict[str, Any],
        request: SentRequest | None = None,
        statistic: dict[str, Any] | None = None,
        image: Any = None,
    ) -> None:
        self.code = code
        self.headers = headers
        self.body = body
        self.request = request
        self.statistic = statistic or {}
        self.image = image

    def __getitem__(self, key: str) -> Any:
        if key in self._ATTRIBUTES:
            return getattr(self, key)
        return self.body[key]

    def __contains__(self, key: object) -> bool:
        return key in self._ATTRIBUTES or key in self.body

    def get(self, key: str, default: Any = None) -> Any:
        """`resp[key]`, or `default`."""
        return self[key] if key in self else default  # noqa: SIM401  it would call itself

    def __iter__(self) -> Iterator[str]:
        return iter(self.body)

    def __len__(self) -> int:
        return len(self.body)

    def keys(self) -> KeysView[str]:
        """Names of the body's members."""
        return self.body.keys()

    def items(self) -> ItemsView[str, Any]:
        """Members of the body."""
        return self.body.items()

    def values(self) -> ValuesView[Any]:
        """Values of the body's members."""
        return self.body.values()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QfResponse):
            return NotImplemented
        return self.code == other.code and self.body == other.body

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        headers = {k: "***" if k.lower() in _SECRET_HEADERS else v for k, v in self.headers.items()}
        return (
            f"QfResponse(code={self.code}, headers={headers}, body={self.body},"
            f" statistic={self.statistic}, request={self.request})"
        )
