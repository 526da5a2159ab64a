"""A platform whose models are echoes: they say what they are told, and call what a script says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from qianfan import embedded
from qianfan.contract import sse
from qianfan.contract.routes import INFERENCE_PREFIX
from qianfan.embedded import Embedded

SCRIPT = {"script": {"weather?": {"name": "weather", "arguments": {"city": "北京"}}}}
CATALOGUE = """\
[models.scripted]
engine = "echo"
source = "path:script.json"
kinds = ["chat", "completions", "embeddings", "reranker", "text2image", "image2text"]
context = 4096
[models.slow]
engine = "echo"
source = "path:slow.json"
kinds = ["chat", "completions"]
[models.blind]
engine = "echo"
kinds = ["chat", "completions"]
[stand_ins]
chat = "scripted"
completions = "scripted"
embeddings = "scripted"
reranker = "scripted"
text2image = "scripted"
image2text = "scripted"
training = "tiny"
"""


@dataclass(frozen=True)
class Answer:
    """What came back, as it was on the wire."""

    status: int
    headers: Mapping[str, str]  # names as they were spelt
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        """The events of a stream, without its end mark."""
        decoder = sse.Decoder()
        found = [event.data for event in [*decoder.feed(self.raw), *decoder.close()]]
        return [json.loads(data) for data in found if data != "[DONE]"]


class Raw:
    """Calls the platform by plain HTTP, with a token of its first account."""

    def __init__(self, running: Embedded) -> None:
        self.running = running
        self._host = urlsplit(running.base_url).netloc
        given = running.environment
        query = f"client_id={given['QIANFAN_AK']}&client_secret={given['QIANFAN_SK']}"
        path = f"/oauth/2.0/token?grant_type=client_credentials&{query}"
        self.token: str = self.request("POST", path, {}).json["access_token"]

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; `body` is JSON, or bytes that go as they are."""
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            connection.request(method, path, raw, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def v1(self, path: str, body: Any = None, method: str = "POST") -> Answer:
        """A V1 call: `path` is such as `chat/eb-instant`."""
        return self.request(method, f"{INFERENCE_PREFIX}/{path}?access_token={self.token}", body)

    def leave_after(self, frames: int, path: str, body: Any) -> None:
        """Ask for a V1 stream, read some frames of it, and hang up."""
        connection = http.client.HTTPConnection(self._host, timeout=30)
        asked = f"{INFERENCE_PREFIX}/{path}?access_token={self.token}"
        connection.request("POST", asked, json.dumps({**body, "stream": True}).encode())
        response = connection.getresponse()
        for _ in range(2 * frames):  # each ends with a blank line
            response.readline()
        response.close()
        connection.close()

    def v2(self, path: str, body: Any = None, method: str = "POST") -> Answer:
        """A V2 call: `path` is such as `chat/completions`."""
        return self.request(method, f"/v2/{path}?access_token={self.token}", body)


@pytest.fixture(scope="session")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A running platform of echoes; this process's configuration stays as it is."""
    folder: Path = tmp_path_factory.mktemp("echoing")
    (folder / "script.json").write_text(json.dumps(SCRIPT), encoding="utf-8")
    (folder / "slow.json").write_text(json.dumps({"delay_s": 0.05}), encoding="utf-8")
    catalogue = folder / "catalogue.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    with embedded.start(folder / "data", use=False, catalogue=catalogue) as running:
        yield running


@pytest.fixture(scope="session")
def raw(echoing: Embedded) -> Raw:
    return Raw(echoing)
