"""The synchronous client against servers that count, stall, cut and lie."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Loopback, stream
from scripted import EVENTS, OK, Scripted, chunk

from qianfan import ChatCompletion
from qianfan.errors import ConnectionLost, InvalidArgumentError, RequestTimeoutError
from qianfan.transport.call import Reply, Request
from qianfan.transport.client import HttpClient, Options, client_for

MESSAGES = [{"role": "user", "content": "hi"}]
EVENT = chunk(b'data: {"result": "a", "is_end": false}\n\n')


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def request(base: str, timeout_s: float = 5.0, **more: Any) -> Request:
    method = more.pop("method", "POST")
    return Request(
        method, base, "/x", (), more.pop("headers", {}), more.pop("body", b"{}"), timeout_s, **more
    )


def pieces(reply: Reply) -> Iterator[bytes]:
    assert reply.chunks is not None
    return reply.chunks


# Hanging up


def broken_off(chat: ChatCompletion) -> None:
    for _ in chat.do(MESSAGES, stream=True):
        break


def dropped(chat: ChatCompletion) -> None:
    answers = chat.do(MESSAGES, stream=True)
    next(iter(answers))
    del answers


def never_read(chat: ChatCompletion) -> None:
    chat.do(MESSAGES, stream=True)


def failed_over(chat: ChatCompletion) -> None:
    def read() -> None:
        for _ in chat.do(MESSAGES, stream=True):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()


def in_a_generator(chat: ChatCompletion) -> None:
    def texts() -> Iterator[str]:
        for answer in chat.do(MESSAGES, stream=True):
            yield answer["result"]

    next(texts())


def continued(chat: ChatCompletion) -> None:
    for _ in chat.do(MESSAGES, stream=True, auto_concat_truncate=True):
        break


def collected(chat: ChatCompletion) -> None:
    circle: list[Any] = [chat.do(MESSAGES, stream=True)]
    circle.append(circle)
    next(iter(circle[0]))
    del circle
    gc.collect()


@pytest.mark.parametrize(
    "leave", [collected, broken_off, dropped, never_read, failed_over, in_a_generator, continued]
)
def test_leaving_a_stream_hangs_up_at_once(settings: Any, leave: Callable[[ChatCompletion], None]) -> None:
    """Within 0.2 s the server knows, however the stream was left. No other call is needed for it, and no
    garbage collector unless it is in a circle."""
    gc.disable()
    try:
        with Scripted(EVENTS + EVENT, 2.0) as server:
            settings.BASE_URL = server.url
            leave(ChatCompletion(access_token="t"))
            left_at = time.monotonic()
            assert server.wait_until_left() - left_at < 0.2
    finally:
        gc.enable()


def test_leaving_an_asynchronous_stream_hangs_up_soon(settings: Any) -> None:
    """A `break` is enough there, too: the event loop closes what is left behind."""

    async def leave() -> float:
        async for _ in await ChatCompletion(access_token="t").ado(MESSAGES, stream=True):
            break
        left_at = time.monotonic()
        while not server.left_at and time.monotonic() < left_at + 1.0:
            await asyncio.sleep(0.01)
        return left_at

    with Scripted(EVENTS + EVENT, 2.0) as server:
        settings.BASE_URL = server.url
        left_at = asyncio.run(leave())
        assert server.wait_until_left() - left_at < 0.3


def test_a_stream_may_be_closed_by_another_thread() -> None:
    """Who waits for its next piece is told at once."""
    with Scripted(EVENTS + EVENT, 5.0) as server:
        chunks = pieces(HttpClient(Options()).send(request(server.url, stream=True)))
        next(chunks)
        threading.Timer(0.1, chunks.close).start()  # type: ignore[attr-defined]
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            next(chunks)
        assert time.monotonic() - started < 0.5
        assert list(chunks) == []


def test_a_stream_that_was_read_gives_its_connection_back() -> None:
    """Calls and streams one after the other go over one connection."""
    with Scripted(EVENTS + EVENT, chunk(b"data: x\n\n") + b"0\r\n\r\n") as server:
        client = HttpClient(Options())
        for _ in range(3):
            assert b"".join(pieces(client.send(request(server.url, stream=True)))).endswith(b"data: x\n\n")
        assert server.connections == 1


# Ctrl-C

INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import qianfan
qianfan.get_config().BASE_URL = sys.argv[1]
chat = qianfan.ChatCompletion(access_token="t")
print("begin", flush=True)
try:
    for answer in chat.do([{"role": "user", "content": "hi"}], stream=sys.argv[2] == "stream"):
        print("piece", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(0.5)
"""


def interrupted_after(process: subprocess.Popen[str], line: str, pause_s: float = 0.1) -> float:
    """Seconds from the signal, sent a moment after `line` was printed, to the exception."""
    assert process.stdout is not None
    while process.stdout.readline().strip() != line:
        assert process.poll() is None
    time.sleep(pause_s)
    sent_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    return time.monotonic() - sent_at


def child(url: str, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", INTERRUPTED, url, kind], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a child")
@pytest.mark.parametrize("where", ["waiting", "waiting for a stream", "between events"])
def test_ctrl_c_comes_through(where: str) -> None:
    """Within 0.5 s, though the server is silent; and the connection is closed before the program ends."""
    steps = (EVENTS + EVENT, 10.0) if where == "between events" else (10.0,)
    with Scripted(*steps) as server, child(server.url, "call" if where == "waiting" else "stream") as process:
        if where != "between events":
            assert server.asked.acquire(timeout=10)
        took_s = interrupted_after(process, "piece" if where == "between events" else "begin")
        told_at = time.monotonic()
        assert took_s < 0.5
        assert server.wait_until_left() - told_at < 0.3


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a child")
def test_ctrl_c_comes_through_while_connecting() -> None:
    """A full queue of connections looks like a host that does not answer."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        with child(f"http://127.0.0.1:{full.getsockname()[1]}", "call") as process:
            assert interrupted_after(process, "begin", pause_s=0.5) < 0.5
        for one in waiting:
            one.close()


# Limits of connections


def test_two_hundred_threads_open_no_more_sockets_than_allowed() -> None:
    """The server never sees more than five at once, calls and streams together, and every call is answered."""
    with Loopback() as server:
        server.always = lambda seen: stream("a", "b") if b"stream" in seen.body else Answer({}, wait_s=0.002)
        client = HttpClient(Options(max_connections=5))
        done: list[int] = []

        def some(number: int) -> None:
            for _ in range(3):
                is_stream = number % 4 == 0
                body = b'{"stream": 1}' if is_stream else b"{}"
                reply = client.send(request(server.url, 30.0, body=body, stream=is_stream))
                if is_stream:
                    assert b"".join(pieces(reply)) == b"data: a\n\ndata: b\n\n"
                done.append(reply.status)

        threads = [threading.Thread(target=some, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [200] * 600
        assert server.connections == 5


def test_waiting_for_a_place_ends_with_the_timeout() -> None:
    """The error says that the connections, not the server, were busy; a place that comes free is taken."""
    options = Options(max_connections=1)
    with Scripted(EVENTS + EVENT, 3.0) as busy, Scripted(OK) as free:
        client = HttpClient(options)
        chunks = pieces(client.send(request(busy.url, stream=True)))
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=r"not sent within 0\.2 s, all 1 connections.*MAX_CONN"):
            client.send(request(free.url, 0.2))
        assert 0.15 < time.monotonic() - started < 0.5
        assert free.connections == 0
        threading.Timer(0.1, chunks.close).start()  # type: ignore[attr-defined]
        assert client.send(request(free.url, 2.0)).status == 200


def test_a_limit_counts_for_all_timeouts_and_servers() -> None:
    """Clients that differ in their times share connections; one that is kept makes room for another server."""
    options = [Options(idle_s=idle_s, max_connections=1, proxy="") for idle_s in (0.0, 31.5, 77.5)]
    with Scripted(OK) as one, Scripted(OK) as other:
        for number in range(6):
            assert client_for(options[number % 3]).send(request(one.url)).status == 200
        assert one.connections == 1
        assert client_for(options[0]).send(request(other.url)).status == 200
        one.wait_until_left()
        assert client_for(options[1]).send(request(one.url)).status == 200
        other.wait_until_left()
        client_for(options[0])._pool.abandon()  # type: ignore[union-attr]


def test_a_failed_call_gives_its_place_back() -> None:
    """Whatever goes wrong: refused, timed out, cut, garbage, an address that is none."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    client = HttpClient(Options(max_connections=1))
    with Scripted(2.0) as silent, Scripted(b"no\r\n\r\n") as garbage, Scripted(OK[:-1], closes=True) as cut:
        for base in (nobody, silent.url, garbage.url, cut.url, "http://..:1", "none") * 2:
            with pytest.raises((ConnectionLost, RequestTimeoutError, InvalidArgumentError)):
                client.send(request(base, 0.1))
    with Scripted(OK) as server:
        assert client.send(request(server.url, 0.5)).status == 200


# Connections that end


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """It is looked at before: each call opens a new one, and none fails."""
    with Scripted(OK, closes=True) as server:
        client = HttpClient(Options())
        for count in range(1, 6):
            assert client.send(request(server.url)).status == 200
            server.wait_until_left(count)
        assert server.connections == 5


def test_when_one_kept_connection_was_closed_the_others_are_dropped() -> None:
    """So the one more try of a call does not meet the next of them: it opens a new one."""
    with Loopback() as server:
        server.always = Answer({}, wait_s=0.1)
        client = HttpClient(Options())
        threads = [threading.Thread(target=client.send, args=(request(server.url),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.answers.append(Answer(drop=True))
        with pytest.raises(ConnectionLost) as lost:
            client.send(request(server.url))
        assert lost.value.stale
        client.send(request(server.url))
        assert server.connections == 5


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((b"HTTP/1.1 200 OK\r\n\r\nbody",), id="until closed"),
        pytest.param((b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",), id="HTTP/1.0"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbo", 0.05, b"dy"), id="close"
        ),
    ],
)
def test_a_connection_that_ends_with_its_answer_is_not_kept(steps: tuple[Any, ...]) -> None:
    """Bodies without a length, old servers, and those that say so."""
    with Scripted(*steps, closes=True) as server:
        client = HttpClient(Options())
        assert [client.send(request(server.url)).body for _ in range(2)] == [b"body", b"body"]
        assert server.connections == 2


def test_bytes_behind_an_answer_are_not_taken_for_the_next_one() -> None:
    """A connection that says more than it was asked is closed."""
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"forged"'
    with Scripted(OK + forged) as server:
        client = HttpClient(Options())
        assert [client.send(request(server.url)).body for _ in range(3)] == [b"{}"] * 3
        assert server.connections == 3


@pytest.mark.parametrize(("begun", "stale"), [(b"", True), (b"HTTP/1.1 2", False), (OK[:-1], False)])
def test_only_a_connection_that_said_nothing_is_stale(begun: bytes, stale: bool) -> None:
    """An answer that had begun was an answer to this request; it is not sent again."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(65536)
                client.sendall(OK)
                client.recv(1)  # the rest is left unread, so that closing resets the connection
                client.sendall(begun)
                time.sleep(0.1)

        thread = threading.Thread(target=serve)
        thread.start()
        client, base = HttpClient(Options()), f"http://127.0.0.1:{listening.getsockname()[1]}"
        client.send(request(base))
        with pytest.raises(ConnectionLost) as lost:
            client.send(request(base))
        assert lost.value.stale is stale
        thread.join()


# Answers


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP/1.1, it begins with 'SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\nX" * 8000, "longer than"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", "more than"),
        (b"HTTP/1.1 200 OK\r\n X: y\r\n\r\n", "header that cannot be read"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "content encoding"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            "not encoded as it says",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", "9 bytes before the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "before the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "size of a chunk"),
        (b"HTTP/1.1 20", "in the head"),
        (b"", "before message completed"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True], ids=["call", "stream"])
def test_an_answer_that_cannot_be_read_is_a_lost_connection(sent: bytes, says: str, is_stream: bool) -> None:
    """The error says what was wrong, and the connection is closed."""
    with Scripted(sent, closes=True) as server:
        with pytest.raises(ConnectionLost, match=says) as lost:
            HttpClient(Options()).send(request(server.url, stream=is_stream))
        assert not lost.value.stale
        server.wait_until_left()


def test_interim_answers_are_passed_over() -> None:
    """100 and 103 come before the answer, together with it or alone; 204 has no body, whatever it says."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    with Scripted(early, 0.02, early + b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n") as server:
        client = HttpClient(Options())
        for _ in range(2):
            reply = client.send(request(server.url))
            assert (reply.status, reply.body) == (204, b"")
        assert server.connections == 1


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("is_stream", [False, True], ids=["call", "stream"])
def test_a_packed_body_is_unpacked(coding: str, pack: Callable[[bytes], bytes], is_stream: bool) -> None:
    """Calls ask for gzip, streams for no packing; both read what comes."""
    packed = pack(b'data: {"a": 1}\n\n')
    kind = b"text/event-stream" if is_stream else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    with Scripted(head % (kind, coding.encode(), len(packed)) + packed[:9], 0.02, packed[9:]) as server:
        reply = HttpClient(Options()).send(request(server.url, stream=is_stream))
        body = b"".join(pieces(reply)) if is_stream else reply.body
        assert body == b'data: {"a": 1}\n\n'
        assert not {"content-encoding", "content-length"} & set(reply.headers)
        asked = b"accept-encoding: identity" if is_stream else b"accept-encoding: gzip"
        assert asked in server.requests[0].lower()


def test_an_empty_stream_ends() -> None:
    """Nothing is waited for where nothing is to come."""
    with Scripted(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"
    ) as server:
        assert list(pieces(HttpClient(Options()).send(request(server.url, stream=True)))) == []


def test_a_call_that_asked_for_a_stream_may_get_a_whole_answer() -> None:
    """An error, or a server that does not stream: the body is read."""
    with Scripted(b"HTTP/1.1 400 Bad\r\nContent-Length: 4\r\n\r\nbo", 0.05, b"dy") as server:
        reply = HttpClient(Options(idle_s=1.0)).send(request(server.url, stream=True))
        assert (reply.chunks, reply.body) == (None, b"body")


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((*(bytes([byte]) if n % 2 else 0.04 for byte in OK for n in (0, 1)),), id="head"),
        pytest.param((OK[:-2], 0.1, *(b"", 0.1) * 20), id="nothing more"),
        pytest.param((EVENTS, *(chunk(b"a"), 0.04) * 50), id="chunks"),
    ],
)
def test_a_slow_drip_does_not_outlast_the_timeout(steps: tuple[Any, ...]) -> None:
    """The time of a call is that of the whole call, however often a byte comes."""
    with Scripted(*steps) as server:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.3 s"):
            HttpClient(Options()).send(request(server.url, 0.3))
        assert 0.28 < time.monotonic() - started < 0.6


def test_the_head_of_a_stream_must_come_within_the_idle_time() -> None:
    """Bytes of a head are no pieces of a stream."""
    with Scripted(*(bytes([byte]) if n % 2 else 0.04 for byte in EVENTS for n in (0, 1))) as server:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            HttpClient(Options(idle_s=0.3)).send(request(server.url, 0.3, stream=True))
        assert time.monotonic() - started < 0.6


def test_pieces_come_when_they_are_sent() -> None:
    """Half a chunk, a chunk, several: what was sent together, 0.1 s apart, is there 0.1 s apart."""
    long = b"%x\r\n" % 10
    steps = (EVENTS + long + b"01234", 0.1, b"56789\r\n", 0.1, chunk(b"a") + chunk(b"b"), 0.1, b"0\r\n\r\n")
    with Scripted(*steps) as server:
        started = time.monotonic()
        got = []
        for piece in pieces(HttpClient(Options()).send(request(server.url, stream=True))):
            got.append((piece, time.monotonic() - started))
    assert [piece for piece, _ in got] == [b"01234", b"56789", b"ab"]
    for number, (_, at) in enumerate(got):
        assert 0.1 * number - 0.02 < at < 0.1 * number + 0.09, got


# Requests


def test_what_is_sent(tmp_path: Path) -> None:
    """Host, length and ours once each; the caller's own win; a path is written as addresses are."""
    with Scripted(OK) as server:
        client = HttpClient(Options())
        client.send(request(server.url, headers={"host": "signed.example", "X-A": "1"}))
        client.send(Request("GET", server.url, "/a b/聊", (("q", "a&b"),), {}, b"", 5.0))
        first, second = (sent.partition(b"\r\n\r\n")[0].lower() for sent in server.requests)
    assert first.count(b"host:") == first.count(b"content-length: 2") == first.count(b"user-agent:") == 1
    assert b"host: signed.example" in first
    assert second.startswith(b"get /a%20b/%e8%81%8a?q=a%26b http/1.1\r\n")
    assert b"content-length" not in second


def test_a_name_and_password_in_the_address_are_sent_but_not_shown() -> None:
    """As other clients do it, unless the call brings an authorization of its own."""
    with Scripted(OK) as server:
        client, base = HttpClient(Options()), server.url.replace("//", "//user:secret-word@")
        client.send(request(base))
        client.send(request(base, headers={"authorization": "Bearer t"}))
        assert b"\r\nAuthorization: Basic dXNlcjpzZWNyZXQtd29yZA==\r\n" in server.requests[0]
        assert b"Basic" not in server.requests[1]
        assert b"secret-word" not in server.requests[0]
    with pytest.raises(ConnectionLost) as lost:
        client.send(request(base))
    assert "secret-word" not in str(lost.value)


def test_a_timeout_may_be_longer_than_a_socket_can_wait() -> None:
    """Months, or no end at all."""
    with Scripted(OK) as server:
        for seconds in (1e7, 1e12, float("inf")):
            assert HttpClient(Options(seconds, seconds)).send(request(server.url, seconds)).status == 200
            client = HttpClient(Options(seconds, max_connections=1))
            assert client.send(request(server.url, seconds, stream=True)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X\r\nY": "b"},
        {"X Y": "b"},
        {"Content-Length": "1"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_headers_cannot_make_another_request(headers: dict[str, str]) -> None:
    """Nothing is sent, and the error says why."""
    with Scripted(OK) as server:
        with pytest.raises(InvalidArgumentError, match="cannot be made"):
            HttpClient(Options()).send(request(server.url, headers=headers))
        assert server.requests == []


@pytest.mark.parametrize(
    "base", ["ftp://host", "http://a\0b", "http://", "http://a:b", "//host", "http://[::1"]
)
def test_an_address_that_is_none_is_an_argument_error(base: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidArgumentError, match="cannot be made"):
        HttpClient(Options()).send(request(base))


def test_a_large_body_may_be_refused_before_it_was_read(tmp_path: Path) -> None:
    """The answer counts, not that sending broke off."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * 30_000_000)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def refuse() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
                client.shutdown(socket.SHUT_RD)  # what is still sent is answered by a reset
                client.recv(20_000_000)
                time.sleep(0.2)

        thread = threading.Thread(target=refuse)
        thread.start()
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert HttpClient(Options()).send(request(base, body=path)).status == 413
        thread.join()


def test_a_file_that_grows_is_sent_as_long_as_it_was(tmp_path: Path, server: Loopback) -> None:
    """What was promised is what is sent, and the next call is understood."""
    path = tmp_path / "rows"
    path.write_bytes(b"0123456789" * 300_000)
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"more")
                file.flush()

    client = HttpClient(Options())
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        assert client.send(request(server.url, body=path)).status == 200
    finally:
        stop.set()
        thread.join()
    assert client.send(request(server.url)).status == 200
    assert server.connections == 1
    assert server.seen[0].body.startswith(b"0123456789" * 300_000)


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_an_ipv6_address_works() -> None:
    """In brackets in the address and in the Host header."""
    try:
        with Scripted(OK, family=socket.AF_INET6) as server:
            assert HttpClient(Options()).send(request(server.url)).status == 200
            assert f"Host: [::1]:{server.port}".encode() in server.requests[0]
    except OSError:
        pytest.skip("this system has no IPv6 loopback")


# Processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_makes_connections_of_its_own() -> None:
    """It calls, ends, and drops what it had from its parent; the parent's stream and connections go on."""
    program = """
import os, sys
from qianfan.transport.call import Request
from qianfan.transport.client import Options, client_for
def request(base, stream): return Request("POST", base, "/x", (), {}, b"{}", 5.0, stream)
streams, calls = sys.argv[1:]
client_for(Options()).send(request(calls, False))
chunks = client_for(Options()).send(request(streams, True)).chunks
next(chunks)
child = os.fork()
if not child:
    print("child", client_for(Options()).send(request(calls, False)).status, flush=True)
    del chunks
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print("parent", len(list(chunks)), client_for(Options()).send(request(calls, False)).status)
"""
    with Scripted(EVENTS + EVENT, 1.5, EVENT + b"0\r\n\r\n") as streams, Scripted(OK) as calls:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", program, streams.url, calls.url],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.stdout, done.returncode) == ("child 200\nparent 1 200\n", 0), done.stderr
        assert done.stderr == ""
        assert calls.connections == 2
        assert streams.connections == 1


def test_a_program_that_ends_says_nothing_of_its_connections() -> None:
    """Kept connections and streams that were left are closed without a warning."""
    program = """
import sys
from qianfan.transport.call import Request
from qianfan.transport.client import HttpClient, Options, client_for
streams, calls = sys.argv[1:]
client_for(Options()).send(Request("POST", calls, "/x", (), {}, b"{}", 5.0))
client = HttpClient(Options())
client.send(Request("POST", calls, "/x", (), {}, b"{}", 5.0))
chunks = client.send(Request("POST", streams, "/x", (), {}, b"{}", 5.0, True)).chunks
next(chunks)
sys.modules["kept"] = client
"""
    with Scripted(EVENTS + EVENT, 5.0) as streams, Scripted(OK) as calls:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", program, streams.url, calls.url],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        streams.wait_until_left()


def test_plain_calls_load_neither_tls_nor_an_event_loop() -> None:
    """Nor a parser of mails: a first call is paid for once, and little."""
    program = """
import sys, qianfan
qianfan.get_config().BASE_URL = sys.argv[1]
qianfan.ChatCompletion(access_token="t").do([{"role": "user", "content": "hi"}])
print([name for name in ("ssl", "asyncio", "email", "http.client", "urllib.request", "pyreqwest") if name in sys.modules])
"""
    with Scripted(OK) as server:
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        done = subprocess.run(
            [sys.executable, "-c", program, server.url],
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        )
    assert done.stdout == "[]\n", done.stderr
