"""A platform of a test's own, in a process, that answers by echo; and plain sockets to talk to it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from qianfan.contract import signing
from qianfan.contract.routes import INFERENCE_PREFIX, Route

CHAT = f"{INFERENCE_PREFIX}/chat/eb-instant"
HI = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `raw_headers` as they were spelt."""

    status: int
    raw_headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.raw_headers.items()}


@dataclass
class Served:
    """A running server and its first account's keys."""

    port: int
    data: Path
    process: subprocess.Popen[str]
    log: Path
    keys: dict[str, str] = field(repr=False)
    _token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        names = ("ak", "sk", "access_key", "secret_key")
        return {
            "QIANFAN_BASE_URL": self.url,
            "QIANFAN_CONSOLE_API_BASE_URL": self.url,
            **{f"QIANFAN_{name.upper()}": self.keys[name] for name in names},
        }

    @property
    def token(self) -> str:
        if not self._token:
            asked = self.ask(self.token_path(), method="GET")
            self._token = asked.json["access_token"]
        return self._token

    def token_path(self, **other: str) -> str:
        pair = {"client_id": self.keys["ak"], "client_secret": self.keys["sk"], **other}
        return "/oauth/2.0/token?grant_type=client_credentials&" + "&".join(
            f"{k}={v}" for k, v in pair.items()
        )

    def ask(
        self, path: str, body: Any = None, method: str = "POST", headers: dict[str, str] | None = None
    ) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, raw, headers or {})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def chat(self, body: Any = None, headers: dict[str, str] | None = None, **members: Any) -> Answer:
        """One V1 chat with this server's token."""
        sent = {"messages": HI, **members} if body is None else body
        return self.ask(f"{CHAT}?access_token={self.token}", sent, headers=headers)

    def signature(self, method: str, path: str, query: dict[str, str], **other: Any) -> dict[str, str]:
        """Headers of a signed request; `other` goes to the signer, or replaces host, unix or secret."""
        host = other.pop("host", f"127.0.0.1:{self.port}")
        unix = other.pop("unix", time.time())
        secret = other.pop("secret", self.keys["secret_key"])
        signed = {"host": host, "x-bce-date": signing.timestamp(unix)}
        value = signing.sign(
            self.keys["access_key"], secret, method=method, path=path, query=query, headers=signed, unix=unix, **other
        )  # fmt: skip
        return {"x-bce-date": signed["x-bce-date"], "Authorization": value}

    def call(self, route: Route, body: Any, **headers: str) -> Answer:
        """One signed call of a V2 console action."""
        assert route.action is not None
        signed = self.signature("POST", route.path, {"Action": route.action})
        return self.ask(f"{route.path}?Action={route.action}", body, headers={**signed, **headers})

    def open(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw_chat(self, **members: Any) -> bytes:
        """The bytes of a V1 chat request."""
        body = json.dumps({"messages": HI, **members}).encode()
        return self.head(f"{CHAT}?access_token={self.token}", f"Content-Length: {len(body)}") + body

    def head(self, path: str, *lines: str, method: str = "POST") -> bytes:
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()

    def talk(self, raw: bytes, seconds: float = 10) -> bytes:
        """Send bytes, and read until the server closes or says nothing for a second after its answer."""
        with self.open() as connection:
            connection.sendall(raw)
            return read_all(connection, seconds)

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        text = self.ask("/metrics", method="GET").body.decode()
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def memory_mib(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20


def read_all(connection: socket.socket, seconds: float = 10) -> bytes:
    """All that comes until the end, or until nothing comes for `seconds`."""
    connection.settimeout(seconds)
    got = b""
    try:
        while piece := connection.recv(65536):
            got += piece
    except (TimeoutError, ConnectionError):
        pass
    return got


@contextmanager
def serving(data: Path, *arguments: str, catalogue: str = "", echo: Any = None) -> Iterator[Served]:
    """A server in `data`. echo: options of the echo engine; catalogue: TOML in place of all names by echo."""
    data.mkdir(parents=True, exist_ok=True)
    options = data / "echo.json"
    options.write_text(json.dumps(echo or {}))
    toml = data / "catalogue.toml"
    toml.write_text(
        catalogue
        or f'[models.echo]\nsource = "path:{options}"\nengine = "echo"\n[stand_ins]\nchat = "echo"\ncompletions = "echo"\ntraining = "tiny"\n'
    )
    log = data / "server.log"
    command = [sys.executable, "-m", "qianfan_platform", "--data", str(data), "--port", "0"]
    with log.open("ab") as lines:
        process = subprocess.Popen(
            [*command, "--catalogue", str(toml), "--end-with-stdin", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), log.read_text()[-2000:]
        keys = json.loads((data / "credentials.json").read_text())
        yield Served(int(line.strip().rsplit(":", 1)[1]), data, process, log, keys)
    finally:
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def within(seconds: float, look: Any) -> Any:
    """The first true value of `look()`, which must come in time."""
    until = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < until, f"{value!r} after {seconds} s"
        time.sleep(0.02)
    return value
