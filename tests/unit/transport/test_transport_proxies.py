"""Which proxy a request takes, and which hosts take none."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from loopback import Answer, Loopback, _carry
from scripted import Scripted

from qianfan.errors import ConnectionLost, InvalidArgumentError
from qianfan.transport.call import Request
from qianfan.transport.client import HttpClient, Options
from qianfan.transport.proxies import Proxy, proxy_at, proxy_for

ANY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("listed", "host", "port", "direct"),
    [
        ("", "a.com", 80, False),
        (",", "a.com", 80, False),
        ("*", "a.com", 80, True),
        ("a.com", "a.com", 80, True),
        ("A.com", "a.com", 80, True),
        ("a.com", "x.a.com", 80, True),
        (".a.com", "x.a.com", 80, True),
        ("*.a.com", "x.a.com", 80, True),
        ("a.com", "aa.com", 80, False),
        ("b.com, a.com", "a.com", 80, True),
        ("b.com a.com", "a.com", 80, True),
        ("a.com:8080", "a.com", 8080, True),
        ("a.com:8080", "a.com", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.0/8", "127.9.9.9", 80, True),
        ("127.0.0.0/8", "128.0.0.1", 80, False),
        ("127.0.0.0/8", "127.example", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:8080", "::1", 80, False),
        ("[::1]:8080", "::1", 8080, True),
        ("fd00::/8", "fd00::1", 80, True),
        ("nonsense/8", "a.com", 80, False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_that_take_no_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, listed: str, host: str, port: int, direct: bool
) -> None:
    """Hosts, domains above them, networks and ports, in every way of writing them that is usual."""
    monkeypatch.setenv(name, listed)
    assert (proxy_for("http", host, port, ANY) is None) == direct


def test_the_setting_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the scheme's own name in small letters, in capitals, and ALL_PROXY."""

    def chosen(scheme: str = "https", setting: str = "") -> str:
        proxy = proxy_for(scheme, "a.com", 443, setting)
        return proxy.host if proxy else ""

    assert chosen() == ""
    monkeypatch.setenv("ALL_PROXY", "all")
    assert chosen() == "all"
    monkeypatch.setenv("HTTPS_PROXY", "http://capitals:1")
    assert chosen() == "capitals"
    monkeypatch.setenv("https_proxy", "http://small:1")
    assert chosen() == "small"
    assert chosen(scheme="http") == "all"
    assert chosen(setting=ANY) == "proxy"


def test_a_forged_header_of_a_web_server_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a CGI program HTTP_PROXY is what a caller sent as `Proxy:`."""
    monkeypatch.setenv("HTTP_PROXY", ANY)
    assert proxy_for("http", "a.com", 80, "") is not None
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy_for("http", "a.com", 80, "") is None


def test_an_address_is_read() -> None:
    """Scheme and port may be left out; name and password may be quoted; the password is not shown."""
    assert proxy_at("proxy:3128", "X") == Proxy("proxy", 3128, "http")
    assert proxy_at("https://proxy", "X") == Proxy("proxy", 443, "https")
    assert proxy_at("http://[::1]:1", "X") == Proxy("::1", 1, "http")
    proxy = proxy_at("socks5h://a%40b:c%3Ad@proxy", "X")
    assert proxy == Proxy("proxy", 1080, "socks5h", "a@b", "c:d")
    assert "c:d" not in repr(proxy)


@pytest.mark.parametrize(
    "address", ["http://", "socks4://secret:letters@proxy:1", "http://secret:letters@proxy:port"]
)
def test_an_address_that_is_none_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The error names who gave it, and how to write it."""
    sent = Request("POST", "http://127.0.0.1:1", "/x", (), {}, b"", 1.0)
    with pytest.raises(InvalidArgumentError, match="QIANFAN_PROXY is not the address of a proxy") as wrong:
        HttpClient(Options(proxy=address)).send(sent)
    assert "letters" not in str(wrong.value)
    monkeypatch.setenv("ALL_PROXY", address)
    with pytest.raises(InvalidArgumentError, match="ALL_PROXY is not the address of a proxy"):
        HttpClient(Options()).send(sent)


def test_tls_within_tls_is_refused_with_advice() -> None:
    """To a proxy that is spoken to by TLS, for a server that is."""
    with pytest.raises(InvalidArgumentError, match="give the proxy's http:// address"):
        HttpClient(Options(proxy="https://proxy")).send(
            Request("GET", "https://a.com", "/", (), {}, b"", 1.0)
        )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "the proxy answered 407"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "the proxy said more"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "SSL|EOF|closed|reset"),
        (b"", "before message completed"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_a_lost_connection(answer: bytes, says: str) -> None:
    """The error says what the proxy did, and holds neither its password nor the token in the address."""
    with Scripted(answer, closes=True) as proxy:
        client = HttpClient(Options(proxy=f"http://user:secret-word@127.0.0.1:{proxy.port}"))
        sent = Request("GET", "https://a.com", "/x", (("access_token", "secret-token"),), {}, b"", 2.0)
        with pytest.raises(ConnectionLost, match=says) as lost:
            client.send(sent)
        assert proxy.requests[0].startswith(b"CONNECT a.com:443 HTTP/1.1\r\nHost: a.com:443\r\n")
        assert b"secret-token" not in proxy.requests[0]
        assert "secret" not in f"{lost.value}{lost.value.cause!r}"
        proxy.wait_until_left()


class Socks:
    """A SOCKS 5 proxy. names: what it was asked to connect to; password: what it wants, where it wants one."""

    def __init__(self, password: bytes = b"", refuses: int = 0) -> None:
        self.names: list[bytes] = []
        self._password, self._refuses = password, refuses
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as read:
            _, count = read.read(2)
            ways = read.read(count)
            way = 2 if self._password else 0
            client.sendall(bytes((5, way if way in ways else 255)))
            if way not in ways:
                return
            if self._password:
                read.read(1)
                given = b":".join(read.read(read.read(1)[0]) for _ in range(2))
                client.sendall(bytes((1, given != self._password)))
                if given != self._password:
                    return
            kind = read.read(4)[3]
            name = read.read(read.read(1)[0]) if kind == 3 else read.read({1: 4, 4: 16}[kind])
            port = int.from_bytes(read.read(2), "big")
            self.names.append(name)
            client.sendall(b"\x05" + bytes((self._refuses,)) + b"\x00\x01\x7f\x00\x00\x01\x00\x50")
            if self._refuses:
                return
            with socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=_carry, args=(far, client), daemon=True)
                back.start()
                _carry(client, far)
                back.join()


@pytest.fixture
def socks(request: pytest.FixtureRequest) -> Iterator[Socks]:
    """A proxy made with the arguments of the test's parameter."""
    proxy = Socks(**getattr(request, "param", {}))
    yield proxy
    proxy.close()


@pytest.mark.parametrize(
    ("scheme", "name"), [("socks5", socket.inet_aton("127.0.0.1")), ("socks5h", b"localhost")]
)
def test_a_socks_proxy_carries_calls(server: Loopback, socks: Socks, scheme: str, name: bytes) -> None:
    """`socks5` is told an address, `socks5h` a name; several calls go over one connection."""
    server.always = Answer({"a": 1})
    client = HttpClient(Options(proxy=f"{scheme}://127.0.0.1:{socks.port}"))
    sent = Request("POST", f"http://localhost:{server.port}", "/x", (), {}, b"{}", 5.0)
    for _ in range(3):
        assert client.send(sent).body == b'{"a": 1}'
    assert server.seen[0].target == "/x"
    assert "proxy-authorization" not in server.seen[0].headers
    assert socks.names[0].endswith(name[-9:])
    assert server.connections == len(socks.names) == 1
    del client


@pytest.mark.parametrize("socks", [{"password": b"us:secret-word"}], indirect=True)
def test_a_socks_proxy_wants_its_password(server: Loopback, socks: Socks) -> None:
    """It is given; without one, and with a wrong one, the error says so and shows none."""
    sent = Request("POST", server.url, "/x", (), {}, b"{}", 5.0)
    client = HttpClient(Options(proxy=f"socks5://us:secret-word@127.0.0.1:{socks.port}"))
    assert client.send(sent).status == 200
    for given, says in (("", "another authorization"), ("us:other-word@", "does not accept")):
        with pytest.raises(ConnectionLost, match=says) as lost:
            HttpClient(Options(proxy=f"socks5://{given}127.0.0.1:{socks.port}")).send(sent)
        assert "other-word" not in str(lost.value)
    del client


@pytest.mark.parametrize("socks", [{"refuses": 5}], indirect=True)
def test_a_socks_proxy_that_cannot_connect_says_why(socks: Socks) -> None:
    """Its number becomes words."""
    with pytest.raises(ConnectionLost, match="cannot connect to the server: the connection was refused"):
        HttpClient(Options(proxy=f"socks5h://127.0.0.1:{socks.port}")).send(
            Request("GET", "https://a.com", "/x", (), {}, b"", 5.0)
        )
    assert socks.names == [b"a.com"]


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad\r\n\r\n", b"\x05", b"\x05\x00\x05\x00\x00\x03"])
def test_what_is_no_socks_proxy_is_a_lost_connection(said: bytes) -> None:
    """Another protocol, or a proxy that hangs up in the middle."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):  # it may hang up as soon as it has read enough
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                while client.recv(100):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectionLost, match=r"SOCKS 5|closed the connection"):
            HttpClient(Options(proxy=f"socks5h://127.0.0.1:{listening.getsockname()[1]}")).send(
                Request("GET", "http://a.com", "/x", (), {}, b"", 5.0)
            )
        thread.join()
