"""Hostile inputs 1 to 7: what `test_files_fetch` does not say already.

row 1, metadata by name · row 2, other digits · row 3, rebinding between hops · row 4, redirects counted and judged ·
row 5, other schemes · row 6, texts that parsers read two ways · row 7, servers that drip, stall and lie.
tests/contract/test_hostile_data.py has the whole table."""

from __future__ import annotations

import ipaddress
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from test_files_fetch import Answering, allowed, send, serving

from qianfan.contract.errors import Fault
from qianfan_platform.files.addresses import Allow, checked_url, forbidden
from qianfan_platform.files.fetch import fetch

pytestmark = pytest.mark.anyio

NOBODY = Allow()


async def get(
    url: str, into: Path, allow: Allow = NOBODY, *, limit: int = 10_000, timeout_s: float = 5, patience_s: float = 5
) -> Path:  # fmt: skip
    return await fetch(url, into, allow=allow, limit_bytes=limit, timeout_s=timeout_s, patience_s=patience_s)


class Names:
    """What names mean, asked time after time; who was asked for what is kept."""

    def __init__(self, meanings: dict[str, list[list[str]]]) -> None:
        self.meanings = meanings
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        answers = self.meanings[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


@pytest.mark.parametrize(
    ("name", "address", "word"),
    [
        ("metadata.google.internal", "169.254.169.254", "link-local"), ("metadata", "169.254.169.254", "link-local"),
        ("instance-data.ec2.internal", "169.254.169.254", "link-local"), ("metadata.azure.com", "168.63.129.16", "private"),
        ("metadata.tencentyun.com", "169.254.0.23", "link-local"), ("100-100-100-200.example", "100.100.100.200", "reserved"),
        ("kubernetes.default.svc", "10.96.0.1", "private"), ("localtest.example", "127.0.0.53", "loopback"),
    ],
)  # fmt: skip
async def test_row_1_a_name_of_metadata_is_refused_before_a_packet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, address: str, word: str
) -> None:
    """By where it leads; one lookup, and no socket is ever made."""
    names = Names({name: [[address]]})
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a packet was sent"))
    with pytest.raises(Fault, match=f"leads to {address}, which is a {word} address"):
        await get(f"http://{name}/latest/meta-data/", tmp_path / "x")
    assert names.asked == [name]


@pytest.mark.parametrize(
    "host",
    [
        "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "127.0.0.1.", "0x7f000001", "017700000001", "127.0.1", "0x7f.0.0.0x1",
        "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::1%25lo]", "[::1%lo]", "ⓛocalhost", "[fe80::1%eth0]",
    ],
)  # fmt: skip
async def test_row_2_digits_and_zones_of_other_kinds_lead_nowhere_else(tmp_path: Path, host: str) -> None:
    """They are brought to one form before they are judged; the server behind is never asked."""
    with serving(lambda handler: send(handler, b"secret")) as server:
        with pytest.raises(Fault, match="cannot be fetched"):
            await get(f"http://{host}:{server.server_address[1]}/x", tmp_path / "x")
        assert server.asked == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "address", ["64:ff9b:1::a00:1", "64:ff9b:1::808:808", "2002:a9fe:a9fe::", "::ffff:0:0"]
)
def test_row_2_addresses_that_carry_another_are_forbidden(address: str) -> None:
    """Translated prefixes of a network's own, too."""
    assert forbidden(ipaddress.ip_address(address))


async def test_row_3_a_name_that_changes_between_hops_is_judged_at_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when first asked, private at the redirect to itself: refused, and nobody inside is asked."""
    with serving(lambda handler: send(handler, b"inside")) as inner:
        port = inner.server_address[1]
        target = f"http://rebind.example:{port}/secret"
        with serving(lambda handler: send(handler, status=302, Location=target)) as outer:
            names = Names({"rebind.example": [["127.0.0.1"]], "start.example": [["127.0.0.1"]]})
            monkeypatch.setattr(socket, "getaddrinfo", names)
            start = f"http://start.example:{outer.server_address[1]}/"
            with pytest.raises(Fault, match=r"rebind.example/secret .* 127.0.0.1, which is a loopback"):
                await get(start, tmp_path / "x", Allow.parse(["start.example"]))
            assert names.asked == ["start.example", "rebind.example"]
            assert inner.asked == 0  # type: ignore[attr-defined]


async def test_row_3_one_private_address_among_public_ones_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is connected to."""
    monkeypatch.setattr(socket, "getaddrinfo", Names({"mixed.example": [["8.8.8.8", "1.1.1.1", "10.0.0.8"]]}))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a packet was sent"))
    with pytest.raises(Fault, match=r"10.0.0.8, which is a private address"):
        await get("http://mixed.example/", tmp_path / "x")


@pytest.mark.parametrize(
    ("hops", "why"), [(5, ""), (6, "more than 5 redirects"), (12, "more than 5 redirects")]
)
async def test_row_4_redirects_are_counted(tmp_path: Path, hops: int, why: str) -> None:
    """Five are followed, the sixth is not."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        at = int(handler.path[1:])
        send(handler, b"end", status=302 if at else 200, Location=f"/{at - 1}")

    with serving(answer) as server:
        base, allow = allowed(server)
        if why:
            with pytest.raises(Fault, match=why):
                await get(f"{base}/{hops}", tmp_path / "x", allow)
        else:
            assert (await get(f"{base}/{hops}", tmp_path / "x", allow)).read_bytes() == b"end"
        assert server.asked == 6  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("//169.254.169.254/x", "link-local"), ("gopher://127.0.0.1:6379/_FLUSHALL", "only http"), ("file:/etc/passwd", "only http"),
        ("http:\\\\127.0.0.1\\x", "backslashes"), ("http://0/", "address"), ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("ftp://127.0.0.1/", "only http"), ("data:text/plain,x", "only http"), ("jar:http://x!/", "only http"),
        ("http://a:b@127.0.0.1/", "user name"), ("http://127.0.0.1:0/", "port"), ("https://" + "x" * 9_000, "too long"),
    ],
)  # fmt: skip
async def test_row_4_a_redirect_is_judged_like_a_url(tmp_path: Path, target: str, why: str) -> None:
    """Also one without a scheme, and other spellings of inside."""
    with serving(lambda handler: send(handler, status=307, Location=target)) as server:
        base, allow = allowed(server)
        with pytest.raises(Fault, match=why):
            await get(f"{base}/x", tmp_path / "x", allow)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "file://localhost/etc/passwd", "bos:/../secret",
        "s3://other/x", "/etc/passwd", "../../etc/passwd", "javascript:1", "http:/etc/passwd", "http:etc", "unix:/run/x.sock",
        "ssh://x", "dict://x:11211/", "ldap://x", "", "http://",
    ],
)  # fmt: skip
def test_row_5_only_http_is_fetched(url: str) -> None:
    """Whatever a caller names beside it is refused by its text."""
    with pytest.raises(Fault, match=r"only http and https|host or port is not valid"):
        checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://good@evil/", "http://good%40evil@x/", "http://x/#@evil/", "http://good\\@evil/", "http://good/\\..\\x",
        "http://good\t.evil/", "http://go\nod/", "http://good/%0d%0aHost:evil\r\n", "http://good\u2028/", "http://good\0/",
        "http://evil#.good/", "http://[::1", "http://good]/", "http://a b/", "http://good:80:80/", "http://good:port/",
        "http://a%2eb/", "http://-a/", "http://a..b/", "http://.a/", "http://good?x=\x7f",
    ],
)  # fmt: skip
def test_row_6_a_url_that_two_parsers_read_two_ways_is_refused(url: str) -> None:
    """User names, fragments, backslashes, controls, brackets: never guessed at, never repeated in full."""
    with pytest.raises(Fault, match="cannot be fetched") as fault:
        checked_url(url)
    assert fault.value.text.isascii()
    assert fault.value.text.isprintable()


def slowly(every_s: float, head: bytes = b"", body: bytes = b"x") -> Answering:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while True:
            handler.wfile.write(body)
            time.sleep(every_s)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        slowly(0.02, HEAD), slowly(0.02, b"HTTP/1.1 200 OK\r\nX: "), slowly(0.02, b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
        slowly(0.02, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), slowly(0.8, HEAD),
        lambda handler: time.sleep(0.6),
    ],
    ids=["body", "header", "interim", "chunks", "silence", "nothing"],
)  # fmt: skip
async def test_row_7_a_server_that_drips_is_left_long_before_the_time_is_over(
    tmp_path: Path, answer: Answering
) -> None:
    """An hour is given for 5 GB, and not for a byte a second."""
    with serving(answer) as server:
        base, allow = allowed(server)
        started = time.monotonic()
        with pytest.raises(Fault, match=r"silent, or sent less than 1024 bytes a second, for 0.3 s"):
            await get(f"{base}/x", tmp_path / "x", allow, timeout_s=3600, patience_s=0.3)
        assert time.monotonic() - started < 2
    assert not list(tmp_path.iterdir())


async def test_row_7_a_slow_server_that_keeps_the_pace_is_waited_for(tmp_path: Path) -> None:
    """2 KB now and then are more than 1 KiB a second."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(HEAD)
        for _ in range(6):
            handler.wfile.write(b"x" * 500)
            time.sleep(0.1)

    with serving(answer) as server:
        base, allow = allowed(server)
        path = await get(f"{base}/x", tmp_path / "x", allow, patience_s=0.25)
        assert path.stat().st_size == 3000


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        (b"Content-Length: 20\r\n", b"x" * 10, "less than it announced"),
        (b"Content-Length: -1\r\n", b"x" * 20_000, "larger than 10000 bytes"),
        (b"Content-Length: many\r\n", b"x" * 20_000, "larger than 10000 bytes"),
        (b"Content-Length: 99999999999999999999\r\n", b"x", "larger than 10000 bytes"),
        (b"Transfer-Encoding: chunked\r\n", b"ffffffff\r\nx", "connection failed|less than it announced|larger than"),
        (b"Transfer-Encoding: chunked\r\n", b"-5\r\nx", "connection failed|less than"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nxxxxx\r\n", "connection failed|less than"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"ffff\r\nx", "connection failed|less than|larger"),
        (b"X: y\r\n" * 500, b"", "connection failed"),
        (b"X: " + b"y" * 100_000 + b"\r\n", b"", "connection failed"),
    ],
)  # fmt: skip
async def test_row_7_a_length_that_lies_is_not_believed(
    tmp_path: Path, head: bytes, body: bytes, why: str
) -> None:
    """Too long, too short, no number, no end: told, and nothing stays."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        handler.close_connection = True

    with serving(answer) as server:
        base, allow = allowed(server)
        with pytest.raises(Fault, match=why):
            await get(f"{base}/x", tmp_path / "x", allow)
    assert not list(tmp_path.iterdir())
