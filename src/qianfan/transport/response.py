"""What a caller gets back."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import orjson

from qianfan.utils.logging import redact

from .call import Request

_ATTRIBUTES = frozenset({"code", "headers", "body", "statistic", "request", "image"})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


_SECRET_QUERY = frozenset({"access_token", "client_secret", "client_id"})


class SentRequest:
    """What was sent, without the secrets: method, url, query, headers, json_body."""

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request  # shown only through what follows

    @property
    def method(self) -> str:
        """`POST` or `GET`."""
        return self._request.method

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the address."""
        return {name: "***" if name in _SECRET_QUERY else value for name, value in self._request.query}

    @property
    def url(self) -> str:
        """The address."""
        shown = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{redact(self._request.base)}{self._request.path}{'?' if shown else ''}{shown}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers."""
        return {
            name: "***" if name.lower() in _SECRET_HEADERS else value
            for name, value in self._request.headers.items()
        }

    @property
    def json_body(self) -> dict[str, Any]:
        """The body as sent; empty when it was not JSON."""
        try:
            sent = self._request.body
            body = orjson.loads(sent) if isinstance(sent, bytes) else {}
        except orjson.JSONDecodeError:
            return {}
        return body if isinstance(body, dict) else {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy for another process has no secrets at all."""
        request = self._request
        query = tuple(self.query.items())
        bare = Request(
            request.method, request.base, request.path, query, self.headers, request.body, request.timeout_s
        )
        return SentRequest, (bare,)

    def __repr__(self) -> str:
        return f"<{self.method} {self.url}>"


class QfResponse(Mapping[str, Any]):
    """One answer, or one piece of a stream.

    code: the HTTP status. headers, body: of the answer. request: what was sent. statistic: how long it took.
    image: unused by this SDK.
    `resp["x"]` looks at these names first, then into the body, so `resp["result"]` and
    `resp["body"]["result"]` are the same; iterating and `len` see the body alone."""

    __slots__ = ("_statistic", "body", "code", "headers", "image", "request")

    def __init__(
        self,
        code: int,
        headers: dict[str, str],
        body: dict[str, Any],
        request: SentRequest | None = None,
        statistic: dict[str, Any] | tuple[float, float | None, float] | None = None,
        image: Any = None,
    ) -> None:
        self.code = code
        self.headers = headers
        self.body = body
        self.request = request
        self._statistic = statistic
        self.image = image

    @property
    def statistic(self) -> dict[str, Any]:
        """Seconds: `request_latency`, `total_latency`, for a piece of a stream also `first_token_latency`."""
        if not isinstance(self._statistic, dict):  # three numbers until somebody asks
            request, first, total = self._statistic or (0.0, None, 0.0)
            named = {"request_latency": request, "first_token_latency": first, "total_latency": total}
            self._statistic = {k: v for k, v in named.items() if v is not None} if self._statistic else {}
        return self._statistic

    @statistic.setter
    def statistic(self, value: dict[str, Any]) -> None:
        self._statistic = value

    def __getitem__(self, key: str) -> Any:
        if key in _ATTRIBUTES:
            return getattr(self, key)
        return self.body[key]

    def __contains__(self, key: object) -> bool:
        return key in _ATTRIBUTES or key in self.body

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
