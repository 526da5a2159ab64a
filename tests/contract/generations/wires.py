"""How published clients prove who they are: each language signs other headers, and Go rather sends a token."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from qianfan.contract import signing
from qianfan.embedded import Embedded

CHAT = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat"


@dataclass(frozen=True)
class Wire:
    """A client's way of sending. signs: the headers it signs, () for a token in the query instead.

    port: whether the host that it signs has one. life_s: of a signature."""

    signs: Sequence[str]
    port: bool = True
    life_s: int = 300
    source: str = ""
    content_type: str = "application/json"

    def send(
        self, platform: Embedded, path: str, body: bytes, query: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """POST; the status and the body of the answer."""
        where = urlsplit(platform.base_url)
        assert where.hostname is not None
        asked = dict(query or {})
        now = time.time()
        headers = {"content-type": self.content_type, "x-bce-date": signing.timestamp(now)}
        if "request_id" in self.signs:
            headers["request_id"] = "sdk-py-0.3.0-aB3dE6gH9jK2mN5p"
        if self.source:
            headers["request-source"] = self.source
        if self.signs:
            known = {
                **headers,
                "host": where.netloc if self.port else where.hostname,
                "content-length": str(len(body)),
            }
            headers["Authorization"] = signing.sign(
                platform.environment["QIANFAN_ACCESS_KEY"],
                platform.environment["QIANFAN_SECRET_KEY"],
                method="POST",
                path=path,
                query=asked,
                headers={name: known[name] for name in self.signs},
                unix=now,
                expiry_s=self.life_s,
            )
        else:
            del headers["x-bce-date"]
            asked["access_token"] = token(platform)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        try:
            connection.request("POST", f"{path}?{urlencode(asked)}" if asked else path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


PYTHON_ASKS = Wire(("content-type", "host", "request_id", "x-bce-date"))  # inference with an access key
TOKEN = Wire(())  # inference with an app's keys, and whatever Go asks
GO = Wire(
    ("content-type", "host", "request-source", "x-bce-date"), port=False, source="qianfan_go_sdk_v0.0.15"
)
GO_WITH_APP_KEYS = Wire((), source="qianfan_go_sdk_v0.0.15")
JAVA = Wire(("host", "x-bce-date"), port=False, life_s=1800, content_type="application/json; charset=UTF-8")
NODE = Wire(("content-length", "content-type", "host", "x-bce-date"), life_s=1800)


def token(platform: Embedded) -> str:
    """An access token, asked for as Python does: the keys in the query, an empty object in the body."""
    where = urlsplit(platform.base_url)
    keys = {
        "client_id": platform.environment["QIANFAN_AK"],
        "client_secret": platform.environment["QIANFAN_SK"],
    }
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    try:
        path = "/oauth/2.0/token?" + urlencode({"grant_type": "client_credentials", **keys})
        connection.request("POST", path, b"{}", {"content-type": "application/json"})
        given = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert isinstance(given["expires_in"], int)
    return str(given["access_token"])


def chat(platform: Embedded, wire: Wire, endpoint: str, question: str, source: str, **more: Any) -> bytes:
    """The raw answer of an endpoint to one question, asked as Python's clients ask: `stream` is always there."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "stream": False,
        **more,
        "extra_parameters": {"request_source": source},
    }
    status, raw = wire.send(platform, f"{CHAT}/{endpoint}", json.dumps(body).encode())
    assert status == 200, raw
    return raw
