"""A published client at the level of HTTP: signed requests with its own header, and nothing of our SDK."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from qianfan.contract import signing
from qianfan.embedded import Embedded


@dataclass(frozen=True)
class Told:
    """One answer."""

    status: int
    json: Any

    @property
    def code(self) -> Any:
        """The code of an error, in either generation; None for a good answer."""
        return self.json.get("error_code", self.json.get("code"))

    @property
    def text(self) -> str:
        return str(self.json.get("error_msg", self.json.get("message", "")))


@dataclass(frozen=True)
class Speaker:
    """Who speaks. source: the header `request-source`, "" for none. leaks: members that come with every body."""

    platform: Embedded
    source: str = ""
    leaks: tuple[tuple[str, Any], ...] = ()

    def ask(self, path: str, body: Any, action: str = "") -> Told:
        """One signed request. Python signs all headers it sets."""
        environment = self.platform.environment
        where = urlsplit(environment["QIANFAN_CONSOLE_API_BASE_URL"])
        now = time.time()
        query = {"Action": action} if action else {}
        headers = {
            "content-type": "application/json",
            "host": where.netloc,
            "x-bce-date": signing.timestamp(now),
        }
        if self.source:
            headers["request-source"] = self.source
        headers["Authorization"] = signing.sign(
            environment["QIANFAN_ACCESS_KEY"],
            environment["QIANFAN_SECRET_KEY"],
            method="POST",
            path=path,
            query=query,
            headers=headers,
            unix=now,
        )
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        try:
            sent = json.dumps({**body, **dict(self.leaks)}).encode()
            connection.request("POST", path + (f"?Action={action}" if action else ""), sent, headers)
            response = connection.getresponse()
            return Told(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def result(self, path: str, body: Any, action: str = "") -> Any:
        """`result` of an answer that must be a good one."""
        told = self.ask(path, body, action)
        assert told.status == 200, told
        assert told.code in (None, 200), told
        return told.json["result"]

    def v1(self, verb: str, **body: Any) -> Any:
        return self.result(f"/wenxinworkshop/{verb}", body)

    def tune(self, action: str, **body: Any) -> Any:
        """A V2 action on fine-tuning."""
        return self.result("/v2/finetuning", body, action)

    def refused(self, path: str, body: Any, action: str = "") -> Told:
        """An answer that must be an error: in HTTP 200 by V1, above by V2."""
        told = self.ask(path, body, action)
        assert (told.status >= 400) if path.startswith("/v2/") else ("error_code" in told.json), told
        return told

    def upload(self, rows: list[Any], template: int = 2000, name: str = "rows") -> tuple[int, str]:
        """A released dataset of `rows`: its number and its public id."""
        project = 401 if template == 40100 else 20
        made = self.v1("dataset/create", name=name, projectType=project, templateType=template, dataType=4, versionId=1,
                       storageType="sysBos")  # fmt: skip
        lines = "".join((row if template == 40100 else json.dumps(row)) + "\n" for row in rows)
        path = self.file(lines.encode())
        ident = made["datasetId"]
        self.v1("dataset/import", datasetId=ident, annotated=True, importFrom=1, files=[path])
        info = self._until(ident, lambda info: info["importStatus"] != 1)
        assert info["importStatus"] == 2, info["importErrorInfo"]
        self.v1("dataset/release", datasetId=ident)
        self._until(ident, lambda info: info["releaseStatus"] == 2)
        return int(made["id"]), str(ident)

    def _until(self, ident: Any, done: Callable[[Any], bool]) -> Any:
        return until(
            lambda: self.v1("dataset/info", datasetId=ident)["versionInfo"], done, f"dataset {ident}"
        )

    def file(self, raw: bytes) -> str:
        """This platform's own way in; published clients upload to object stores."""
        environment = self.platform.environment
        where = urlsplit(environment["QIANFAN_CONSOLE_API_BASE_URL"])
        now = time.time()
        headers = {"host": where.netloc, "x-bce-date": signing.timestamp(now)}
        headers["Authorization"] = signing.sign(
            environment["QIANFAN_ACCESS_KEY"],
            environment["QIANFAN_SECRET_KEY"],
            method="POST",
            path="/v2/files",
            query={"name": "rows"},
            headers=headers,
            unix=now,
        )
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        try:
            connection.request("POST", "/v2/files?name=rows", raw, headers)
            return str(json.loads(connection.getresponse().read())["result"]["path"])
        finally:
            connection.close()


def until(look: Callable[[], Any], done: Callable[[Any], bool], what: str, seconds: float = 120) -> Any:
    """Look until it is done; what is seen last is returned."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if done(seen):
            return seen
        assert time.monotonic() < end, f"{what} after {seconds} s: {seen}"
        time.sleep(0.1)
