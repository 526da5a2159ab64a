"""The gate for remote URLs, against hostile URLs and hostile servers on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from qianfan.contract.errors import Fault
from qianfan_platform.files.addresses import forbidden
from qianfan_platform.files.fetch import Allow, Answer, fetch, request

pytestmark = pytest.mark.anyio

NOBODY = Allow()
Answering = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answering, context: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    """A server on loopback that answers each GET by `answer`; `asked` counts the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked += 1  # type: ignore[attr-defined]
            try:
                answer(self)
            except OSError:
                self.close_connection = True

        do_POST = do_GET

        def log_message(self, *words: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.asked = 0  # type: ignore[attr-defined]
    server.daemon_threads = False  # all are waited for
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes = b"", status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def allowed(server: ThreadingHTTPServer) -> tuple[str, Allow]:
    port = server.server_address[1]
    return f"http://127.0.0.1:{port}", Allow.parse([f"127.0.0.1:{port}"])


async def get(url: str, into: Path, allow: Allow = NOBODY, limit: int = 10_000, timeout_s: float = 5) -> Path:
    return await fetch(url, into, allow=allow, limit_bytes=limit, timeout_s=timeout_s)


async def test_an_allowed_host_is_fetched(tmp_path: Path) -> None:
    """Into a file, or into a folder under the URL's last part when that is a sane name."""
    with serving(lambda handler: send(handler, handler.path.encode())) as server:
        base, allow = allowed(server)
        assert (await get(f"{base}/a/b.zip?x=1", tmp_path / "file", allow)).read_bytes() == b"/a/b.zip?x=1"
        assert (await get(f"{base}/a/b.zip", tmp_path, allow)).name == "b.zip"
        assert (await get(f"{base}/a/..%2fb", tmp_path, allow)).name == "download"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "download", "file"]


LOOPBACK = [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "0",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
async def test_loopback_is_refused_under_every_name(tmp_path: Path, host: str) -> None:
    """The server behind it is never asked."""
    with serving(lambda handler: send(handler, b"secret")) as server:
        with pytest.raises(
            Fault, match=r"cannot be fetched: (its host leads to .* address|its host name is not known)"
        ):
            await get(f"http://{host}:{server.server_address[1]}/x", tmp_path / "x")
        assert server.asked == 0  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("169.254.169.254", "link-local"), ("10.0.0.1", "private"), ("192.168.1.1", "private"),
        ("172.16.0.1", "private"), ("100.100.100.200", "reserved"), ("224.0.0.1", "multicast"),
        ("255.255.255.255", "private"), ("0.0.0.0", "unspecified"), ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"), ("ff02::1", "multicast"), ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "link-local"), ("64:ff9b::7f00:1", "loopback"), ("2002:7f00:1::", "loopback"),
        ("::127.0.0.1", "loopback"), ("240.0.0.1", "private"), ("198.18.0.1", "private"), ("::1", "loopback"),
        ("2001:db8::1", "private"), ("192.0.2.1", "private"),
    ],
)  # fmt: skip
def test_addresses_inside_networks_are_forbidden(address: str, word: str) -> None:
    """Also when they hide in an address of IPv6."""
    assert forbidden(ipaddress.ip_address(address)) == word


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_not_forbidden(address: str) -> None:
    """The gate is no wall."""
    assert forbidden(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "only http and https"), ("gopher://x/", "only http and https"),
        ("ftp://x/", "only http and https"), ("//x/y", "only http and https"), ("x", "only http and https"),
        ("http://user:pass-word-7@x/", "user name or password"), ("http://x@y@127.0.0.1/", "user name or password"),
        ("http:///#/../etc", "fragment"), ("http://x/#y", "fragment"), ("http://x\\@y/", "backslashes"),
        ("http://x/\r\nHost: y", "control characters"), ("http://x/ y", "spaces"), ("http:///path", "host or port"),
        ("http://x:0/", "host or port"), ("http://x:99999/", "not well formed"), ("http://[::1%25eth0]/", "host or port"),
        ("http://[x]/", "not well formed"), ("http://" + "x" * 9000, "too long"), ("http://a..b/", "not known|host or port"),
        ("http://x%00y/", "host or port"),
    ],
)  # fmt: skip
async def test_a_hostile_url_is_refused_by_its_text(tmp_path: Path, url: str, why: str) -> None:
    """Before any name is looked up; credentials are not repeated."""
    with pytest.raises(Fault, match=why) as fault:
        await get(url, tmp_path / "x")
    assert "pass-word-7" not in fault.value.text


async def test_a_name_that_leads_inside_is_refused_and_the_judged_address_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is resolved once: what it means a moment later does not matter (DNS rebinding)."""
    with serving(lambda handler: send(handler, b"inside")) as server:
        port = server.server_address[1]
        lookups: list[str] = []
        answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]]

        def resolve(host: str, port: int, **_: Any) -> list[Any]:
            lookups.append(host)
            found = answers[min(len(lookups), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        with pytest.raises(Fault, match=r"leads to 127.0.0.1, which is a loopback address") as fault:
            await get(f"http://rebind.example:{port}/x", tmp_path / "x")
        assert f"--allow-fetch rebind.example:{port}" in fault.value.advice
        assert server.asked == 0  # type: ignore[attr-defined]
        lookups.clear()
        answers[:] = [["127.0.0.1"], ["10.255.255.1"]]
        path = await get(f"http://ok.example:{port}/x", tmp_path / "x", Allow.parse(["ok.example"]))
        assert path.read_bytes() == b"inside"
        assert lookups == ["ok.example"]


async def test_every_redirect_is_judged_again(tmp_path: Path) -> None:
    """To another port of loopback, to another scheme, to nowhere, round and round."""
    with serving(lambda handler: send(handler, b"inner")) as inner:
        targets = {
            "/inner": f"http://127.0.0.1:{inner.server_address[1]}/x",
            "/metadata": "http://169.254.169.254/latest/meta-data/",
            "/file": "file:///etc/passwd",
            "/login": "http://user:pw@127.0.0.1/",
            "/loop": "/loop",
            "/good": "/end",
        }

        def answer(handler: BaseHTTPRequestHandler) -> None:
            target = targets.get(handler.path)
            if target:
                send(handler, status=302, Location=target)
            else:
                send(handler, b"end", status=302 if handler.path == "/nowhere" else 200)

        with serving(answer) as server:
            base, allow = allowed(server)
            assert (await get(f"{base}/good", tmp_path / "x", allow)).read_bytes() == b"end"
            (tmp_path / "x").unlink()
            for path, why in (
                ("inner", "loopback"), ("metadata", "link-local"), ("file", "only http"), ("login", "user name"),
                ("loop", "more than 5 redirects"), ("nowhere", "without a target"),
            ):  # fmt: skip
                with pytest.raises(Fault, match=why):
                    await get(f"{base}/{path}", tmp_path / "x", allow)
        assert inner.asked == 0  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 1000)


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (endless, "larger than 10000 bytes"),
        (drip, "longer than 0.6 s"),
        (drip_headers, "longer than 0.6 s"),
        (lambda handler: time.sleep(1), "longer than 0.6 s"),
        (lambda handler: send(handler, b"x" * 10, Content_Length="20000"), "larger than 10000 bytes"),
        (lambda handler: send(handler, b"x" * 10, Content_Length="20"), "less than it announced"),
        (lambda handler: send(handler, b"x", status=404), "HTTP 404"),
        (lambda handler: send(handler, b"x", Content_Encoding="gzip"), "compressed"),
        (lambda handler: handler.wfile.write(b"\x00garbage\r\n\r\n"), "connection failed"),
        (lambda handler: handler.connection.close(), "connection failed"),
    ],
)
async def test_a_hostile_server_is_left_in_time_and_nothing_stays(
    tmp_path: Path, answer: Answering, why: str
) -> None:
    """Endless, dripping, lying, broken: each ends with its reason."""
    with serving(answer) as server:
        base, allow = allowed(server)
        started = time.monotonic()
        with pytest.raises(Fault, match=why) as fault:
            await get(f"{base}/x?signature=canary-55", tmp_path / "x", allow, timeout_s=0.6)
        assert time.monotonic() - started < 1.4
        assert "canary-55" not in fault.value.text
    assert not list(tmp_path.iterdir())


def a_certificate(folder: Path) -> Path:
    """A self-signed certificate for `localhost`, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


async def test_certificates_are_checked_for_the_name_though_the_address_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown issuer is refused, a trusted one is not, and only for its own name; never down to http."""
    pem = a_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    plain = "http://127.0.0.1:9/"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        host = handler.headers["Host"]
        send(handler, host.encode(), status=302 if handler.path == "/down" else 200, Location=plain)

    with serving(answer, context) as server:
        port = server.server_address[1]
        allow = Allow.parse(["localhost", "127.0.0.1"])
        with pytest.raises(Fault, match="its certificate does not hold"):
            await get(f"https://localhost:{port}/x", tmp_path / "x", allow)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        path = await get(f"https://localhost:{port}/x", tmp_path / "x", allow)
        assert path.read_bytes() == f"localhost:{port}".encode()
        with pytest.raises(Fault, match="its certificate does not hold"):
            await get(f"https://127.0.0.1:{port}/x", tmp_path / "y", allow)
        with pytest.raises(Fault, match="from https to http"):
            await get(f"https://localhost:{port}/down", tmp_path / "y", allow)


async def test_a_cancelled_fetch_ends_at_once(tmp_path: Path) -> None:
    """The thread does not go on behind the back of who cancelled."""
    with serving(drip) as server:
        base, allow = allowed(server)
        before = threading.active_count()
        task = asyncio.create_task(get(f"{base}/x", tmp_path / "x", allow, timeout_s=60))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            if not list(tmp_path.iterdir()):
                break
            await asyncio.sleep(0.02)
        assert not list(tmp_path.iterdir())
        assert threading.active_count() <= before + 3


def test_allow_takes_hosts_with_and_without_a_port() -> None:
    """And refuses what is neither."""
    allow = Allow.parse(["Box", "127.0.0.1:80", "[::1]:8080"])
    assert allow.has("box", 1)
    assert allow.has("127.0.0.1", 80)
    assert not allow.has("127.0.0.1", 81)
    assert allow.has("::1", 8080)
    for wrong in ("", "http://x", "x/y", "x:y", "u@x"):
        with pytest.raises(ValueError, match="HOST"):
            Allow.parse([wrong])


async def ask(method: str, url: str, allow: Allow, **more: Any) -> Answer:
    limits: dict[str, Any] = {"limit_bytes": 10_000, "timeout_s": 5, **more}
    return await request(method, url, allow=allow, **limits)


async def test_a_request_goes_through_the_same_gate() -> None:
    """Method, headers and body arrive; any status is an answer; what the gate needs cannot be replaced."""
    heard: list[tuple[str, str, dict[str, str], bytes]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        heard.append((handler.command, handler.path, dict(handler.headers), handler.rfile.read(length)))
        send(handler, b"no such thing", status=404, Content_Type="Text/Plain; charset=utf-8")

    with serving(answer) as server:
        base, allow = allowed(server)
        headers = {"X-Key": "canary-56", "Accept-Encoding": "gzip"}
        found = await ask("POST", f"{base}/a?b=c", allow, headers=headers, body=b"{}")
        assert found == Answer(404, "text/plain", b"no such thing")
        [(method, path, sent, body)] = heard
        assert (method, path, body) == ("POST", "/a?b=c", b"{}")
        assert sent["X-Key"] == "canary-56"
        assert sent["Accept-Encoding"] == "identity"
        with pytest.raises(Fault, match="loopback"):
            await ask("GET", f"{base}/a", NOBODY)
        assert server.asked == 1  # type: ignore[attr-defined]


async def test_a_request_follows_no_redirect() -> None:
    """It could carry a credential to where it does not belong; the caller gets the redirect itself."""
    with serving(lambda handler: send(handler, b"inner")) as inner:
        target = f"http://127.0.0.1:{inner.server_address[1]}/x"
        with serving(lambda handler: send(handler, b"there", status=307, Location=target)) as server:
            base, allow = allowed(server)
            assert await ask("POST", f"{base}/x", allow, headers={"Authorization": "x"}) == Answer(
                307, "", b"there"
            )
        assert inner.asked == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (endless, "larger than 10000 bytes"),
        (drip, "longer than 0.6 s"),
        (drip_headers, "longer than 0.6 s"),
        (lambda handler: send(handler, b"x" * 10, Content_Length="20"), "less than it announced"),
        (lambda handler: send(handler, b"x", Content_Encoding="gzip"), "compressed"),
    ],
)
async def test_a_request_to_a_hostile_server_ends_in_time(answer: Answering, why: str) -> None:
    """The limits of a download hold for an answer that is kept in memory."""
    with serving(answer) as server:
        base, allow = allowed(server)
        started = time.monotonic()
        with pytest.raises(Fault, match=why) as fault:
            await ask("POST", f"{base}/x?key=canary-57", allow, timeout_s=0.6)
        assert time.monotonic() - started < 1.4
        assert "canary-57" not in fault.value.text


@pytest.mark.parametrize("name", ["X-A\r\nHost: evil", ""])
async def test_a_header_cannot_bring_another_with_it(name: str) -> None:
    """Line ends in names and values are refused before a byte is sent."""
    with serving(lambda handler: send(handler)) as server:
        base, allow = allowed(server)
        for headers in ({name: "x"}, {"X-A": "x\r\nHost: evil"}):
            with pytest.raises(Fault, match="connection failed"):
                await ask("GET", f"{base}/x", allow, headers=headers)
        assert server.asked == 0  # type: ignore[attr-defined]
