"""Hostile clients at the door of a real server: signatures, guessing, broken HTTP, slowness, masses."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

import qianfan
from qianfan import embedded
from qianfan.contract import routes, signing
from qianfan.contract.routes import INFERENCE_PREFIX
from qianfan.errors import QianfanError

from .served import CHAT, HI, Answer, Served, read_all, serving, within

TASK = routes.FINETUNE_CREATE_TASK.path
USAGE = routes.USAGE_DESCRIBE.path
ACTION = {"Action": "DescribeUsage"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile")) as served:
        yield served


def signed(server: Served, **other: object) -> Answer:
    """A signed DescribeUsage; `other` changes how it is signed."""
    return server.ask(
        f"{USAGE}?Action=DescribeUsage", {}, headers=server.signature("POST", USAGE, ACTION, **other)
    )


# ── signatures ───────────────────────────────────────────────────────────────────────────────────


def test_a_captured_signature_opens_nothing_else(server: Served) -> None:
    """Not another path, action, method or host; not with a changed date."""
    headers = server.signature("POST", USAGE, ACTION)
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers=headers).status == 200
    assert server.ask(f"{USAGE}?Action=SetFaults", {"enabled": True}, headers=headers).status == 403
    assert server.ask(f"{USAGE}?Action=DescribeUsage&x=1", {}, headers=headers).status == 403
    assert server.ask(TASK, {"name": "a"}, headers=headers).status == 403
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, "PUT", headers).status == 405
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers={**headers, "Host": "other"}).status == 403
    moved = {**headers, "x-bce-date": signing.timestamp(time.time() + 60)}
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers=moved).status == 403
    elsewhere = server.signature("GET", USAGE, ACTION)
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers=elsewhere).status == 403


@pytest.mark.parametrize(
    ("age_s", "life_s", "holds"),
    [
        (0, 300, True),
        (290, 300, True),
        (310, 300, False),  # past its life
        (-250, 300, True),  # a clock that runs ahead a little
        (-330, 300, False),  # a date in the future
        (1700, 86400, True),
        (1900, 86400, False),  # whatever life it claims, it is not replayed after half an hour
    ],
)
def test_a_signature_lives_as_long_as_it_says_and_at_most_half_an_hour(
    server: Served, age_s: int, life_s: int, holds: bool
) -> None:
    """The replay window: a captured request is of no use after it."""
    answer = signed(server, unix=time.time() - age_s, expiry_s=life_s)
    assert answer.status == (200 if holds else 403), answer.body


def test_the_order_of_headers_does_not_matter_but_their_values_do(server: Served) -> None:
    """Signed names in any order, as published clients send them; one changed value is refused."""
    headers = server.signature("POST", USAGE, ACTION)
    start, names, signature = headers["Authorization"].rsplit("/", 2)
    turned = ";".join(reversed(names.split(";")))
    other = {**headers, "Authorization": f"{start}/{turned}/{signature}"}
    assert server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers=other).status == 200
    for bad in ("", "host", f"{names};x-more", "x-bce-date"):
        broken = {**headers, "Authorization": f"{start}/{bad}/{signature}", "X-More": "1"}
        refused = server.ask(f"{USAGE}?Action=DescribeUsage", {}, headers=broken)
        if bad == "":  # BCE's rule: no list means host, content-* and x-bce-*
            assert refused.status in (200, 403)
        else:
            assert refused.status == 403, bad


@pytest.mark.parametrize(
    "path",
    [
        "//v2/account",
        "/v2//account",
        "/v2/account/",
        "/v2/%61ccount",
        "/v2/./account",
        "/v2/x/../account",
        "/V2/account",
    ],
)
def test_only_the_canonical_path_is_signed_and_served(server: Served, path: str) -> None:
    """Spelt another way, it is another path: refused, never let in by a signature of the right one."""
    headers = server.signature("POST", USAGE, ACTION)
    answer = server.ask(f"{path}?Action=DescribeUsage", {}, headers=headers)
    same = (
        path == "/v2/%61ccount"
    )  # decodes to the path that was signed: Python clients sign what they decode
    assert answer.status == (200 if same else answer.status)
    assert same or answer.status in (403, 404)
    wild = server.ask(f"{path}?Action=DescribeUsage", {}, headers=server.signature("POST", path, ACTION))
    assert wild.status in (200, 403, 404)
    assert same or wild.status != 200


@pytest.mark.parametrize(
    "value",
    [
        "", "bce-auth-v1", "bce-auth-v1/////", "bce-auth-v2/a/b/300//" + "0" * 64, "bce-auth-v1/ALTAKx/x/300/host/" + "0" * 64,
        "bce-auth-v1/ALTAKx/2024-01-02T03:04:05Z/-1/host/" + "0" * 64, "Bearer", "Bearer  ", "Basic YTpi", "\x01", "é" * 40,
        "bce-auth-v1/" + "a" * 4000 + "/2024-01-02T03:04:05Z/300/host/" + "0" * 64,
    ],
)  # fmt: skip
def test_a_strange_authorization_is_refused_with_words(server: Served, value: str) -> None:
    """403 or 401 as its family answers it; never an internal error, never let in."""
    head = server.head(TASK, f"Authorization: {value}", "Content-Length: 2").decode()
    answer = server.talk(head.encode("latin-1") + b"{}", 1)
    assert answer.split(b" ")[1] in (b"401", b"403", b"400"), answer


def test_wrong_secrets_take_the_same_time_wherever_they_differ(server: Served) -> None:
    """Medians of 9 refusals each, first character wrong against last: nothing a network would show."""
    right = server.keys["sk"]
    first, last = (
        ("A" if right[0] != "A" else "B") + right[1:],
        right[:-1] + ("A" if right[-1] != "A" else "B"),
    )

    def median(secret: str) -> float:
        times = []
        for _ in range(9):
            began = time.perf_counter()
            assert server.ask(server.token_path(client_secret=secret), method="GET").status == 401
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) // 2]

    assert abs(median(first) - median(last)) < 0.05


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────


def test_guessing_is_slowed_down_and_does_not_lock_out_the_owner(tmp_path: Path) -> None:
    """After 20 wrong secrets for a key, more are not looked at (429); known tokens and keys go on."""
    with serving(tmp_path / "data") as server:
        assert signed(server).status == 200
        assert "result" in server.chat().json
        codes = [signed(server, secret=f"wrong{number}").status for number in range(130)]
        assert codes[0] == 403
        assert codes[-1] == 429
        refused = signed(server, secret="wrong")
        assert int(refused.raw_headers["Retry-After"]) >= 1
        assert "result" in server.chat().json  # a token that held within the last minute
        guesses = [
            server.ask(f"{CHAT}?access_token=24.{n:032x}.1.2", {}).json["error_code"] for n in range(3)
        ]
        assert guesses == [18] * 3
        assert server.ask(server.token_path(client_secret="x"), method="GET").status == 429
        text = server.log.read_text()
        assert text.count("too many failed authentications of key") == 1
        assert text.count("too many failed authentications of address") <= 1
        assert "wrong0" not in text


def test_who_had_the_key_right_is_not_locked_out_by_guesses_at_it(tmp_path: Path) -> None:
    """A success is remembered for the address, once somebody guesses."""
    with serving(tmp_path / "data") as server:
        signed(server, secret="wrong")
        assert signed(server).status == 200
        for number in range(60):
            signed(server, secret=f"wrong{number}")
        assert signed(server).status == 200


def test_tokens_of_a_deleted_app_and_of_an_old_secret_end_and_the_sdk_recovers(tmp_path: Path) -> None:
    """110 for both; with the app's keys the SDK fetches one new token and repeats the call once."""
    import asyncio

    from qianfan_platform.accounts import keys as account_keys
    from qianfan_platform.accounts.tables import App
    from qianfan_platform.accounts.vault import Vault, key_file
    from qianfan_platform.store import Store, Tx

    data = tmp_path / "data"

    async def change(work: str) -> account_keys.AppKeys | None:
        vault = Vault.open(key_file(data, {}))
        store = await Store.open(f"sqlite:///{data / 'platform.db'}")
        try:
            async with store.transaction() as tx:
                return await changed(tx, work, vault)
        finally:
            await store.close()

    async def changed(tx: Tx, work: str, vault: Vault) -> account_keys.AppKeys | None:
        if work == "delete":
            ident = (await tx.one(App, 1)).public_id
            await account_keys.delete(tx, 1, ident, forget=lambda: None)
            return None
        return await account_keys.renew_app_secret(tx, 1, 1, vault=vault, forget=lambda: None)

    with serving(data) as server:
        old = server.token
    fresh = asyncio.run(change("renew"))
    assert fresh is not None
    with serving(data) as server:
        refused = server.ask(f"{CHAT}?access_token={old}", {"messages": HI})
        assert (refused.status, refused.json["error_code"]) == (200, 110)
        with embedded.configured(server.environment):
            chat = qianfan.ChatCompletion(ak=fresh.ak, sk=fresh.sk, access_token=old)
            assert chat.do(messages=HI)["result"] == "hi"
        asked = server.ask(server.token_path(client_secret=fresh.sk), method="GET")
        new = asked.json["access_token"]
    asyncio.run(change("delete"))
    with serving(data) as server:
        assert server.ask(f"{CHAT}?access_token={new}", {"messages": HI}).json["error_code"] == 110
        with embedded.configured(server.environment), pytest.raises(QianfanError):
            qianfan.ChatCompletion(ak=fresh.ak, sk=fresh.sk, access_token=new).do(messages=HI)


# ── broken HTTP ──────────────────────────────────────────────────────────────────────────────────


BROKEN = {
    "two Authorization": [b"Authorization: Bearer a", b"Authorization: Bearer b", b"Content-Length: 2"],
    "two Host": [b"Host: y", b"Content-Length: 2"],
    "CL and TE": [b"Content-Length: 2", b"Transfer-Encoding: chunked"],
    "TE and CL": [b"Transfer-Encoding: chunked", b"Content-Length: 2"],
    "two lengths": [b"Content-Length: 2", b"Content-Length: 7"],
    "negative length": [b"Content-Length: -1"],
    "length of words": [b"Content-Length: two"],
    "huge length": [b"Content-Length: 99999999999999999999999"],
    "space before the colon": [b"Content-Length : 2"],
    "folded header": [b"X-A: 1", b" Content-Length: 2"],
    "NUL in a header": [b"X-A: a\x00b"],
    "bare CR": [b"X-A: a\rContent-Length: 2"],
    "strange coding": [b"Transfer-Encoding: xchunked"],
    "coding twice": [b"Transfer-Encoding: chunked, chunked"],
    "no name": [b": x"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_two_servers_may_read_two_ways_is_refused(server: Served, name: str) -> None:
    """400 and the connection closed, so that no second request hides behind it."""
    hidden = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"\r\n".join([f"POST {CHAT} HTTP/1.1".encode(), b"Host: x", *BROKEN[name], b"", b""])
    answer = server.talk(head + b"{}" + hidden, 3)
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"status":"ok"' not in answer


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n",
        b"-2\r\n{}\r\n",
        b"ffffffffffffffffff\r\n{}",
        b"2\n{}\n0\n\n",
        b"2;\x00\r\n{}\r\n",
        b"2\r\n{}XX0\r\n\r\n",
    ],
)
def test_a_bad_chunk_is_refused(server: Served, chunks: bytes) -> None:
    """400 and the connection closed."""
    answer = server.talk(server.head(CHAT, "Transfer-Encoding: chunked") + chunks, 3)
    assert b" 400 " in answer.split(b"\r\n")[0], answer[:200]


@pytest.mark.parametrize(
    "line",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(server: Served, line: bytes) -> None:
    """TLS, HTTP/2 and noise: 400, closed."""
    assert server.talk(line, 3).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("path", "lines", "statuses"),
    [
        ("/health", ["X-Big: " + "a" * 8_000_000], {431}),
        ("/health", [f"X-{number}: a" for number in range(1000)], {431}),
        ("/health?" + "&".join(f"a{number}=1" for number in range(100_000)), [], {414, 431}),
        ("/" + "a" * 8_000_000, [], {414, 431}),
    ],
    ids=["8 MB header", "1000 headers", "100000 parameters", "8 MB path"],
)
def test_a_huge_head_is_refused_quickly(
    server: Served, path: str, lines: list[str], statuses: set[int]
) -> None:
    """431 or 414 within a second or two, whatever still comes; others are served meanwhile."""
    began = time.monotonic()
    with server.open() as connection:
        with contextlib.suppress(ConnectionError):  # refused while we were still sending
            connection.sendall(server.head(path, *lines, method="GET"))
        answer = read_all(connection, 3)
    assert time.monotonic() - began < 5
    assert not answer or int(answer.split(b" ")[1]) in statuses, answer[:100]
    assert server.ask("/health", method="GET").status == 200


def test_an_unknown_action_and_two_actions_are_refused(server: Served) -> None:
    """400 that names what is known; a second Action is not chosen between in silence."""
    unknown = server.ask(
        f"{USAGE}?Action=Evil", {}, headers=server.signature("POST", USAGE, {"Action": "Evil"})
    )
    assert unknown.status == 400
    assert "DescribeUsage" in unknown.json["message"]
    none = server.ask(USAGE, {}, headers=server.signature("POST", USAGE, {}))
    assert none.status == 400
    twice = server.ask(
        f"{USAGE}?Action=DescribeUsage&Action=SetFaults",
        {"enabled": True},
        headers=server.signature("POST", USAGE, ACTION),
    )
    assert twice.status in (400, 403)


@pytest.mark.parametrize(
    ("path", "first"), [(f"{CHAT}?access_token={{token}}", b"HTTP/1.1 200"), ("/v2/chat/completions?access_token={token}", b"HTTP/1.1 413")]
)  # fmt: skip
def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(
    server: Served, path: str, first: bytes
) -> None:
    """With Expect: 100-continue no byte of it is asked for; V1 tells it in its own way, with HTTP 200."""
    length = 100 * 2**20
    head = server.head(path.format(token=server.token), f"Content-Length: {length}", "Expect: 100-continue")
    answer = server.talk(head, 1)
    assert answer.startswith(first), answer[:200]
    assert b"larger than" in answer
    assert b"100 Continue" not in answer
    with server.open() as connection:  # without Expect: refused while it comes, and memory stays
        memory = server.memory_mib()
        connection.sendall(server.head(path.format(token=server.token), f"Content-Length: {length}"))
        try:
            for _ in range(40):
                connection.sendall(b" " * 2**20)
        except ConnectionError:
            pass
        assert read_all(connection, 1).startswith(first)
        assert server.memory_mib() - memory < 32


def test_a_body_is_asked_for_when_it_fits(server: Served) -> None:
    """100 Continue, then the answer."""
    body = json.dumps({"messages": HI}).encode()
    with server.open() as connection:
        connection.sendall(
            server.head(
                f"{CHAT}?access_token={server.token}", f"Content-Length: {len(body)}", "Expect: 100-continue"
            )
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body)
        assert b'"result":"hi"' in read_all(connection, 1)


def test_a_strange_endpoint_is_an_answer_not_an_error(server: Served) -> None:
    """Traversal, percent signs, controls and emoji in an endpoint: code 3, HTTP 200."""
    for name in ("..%2f..%2fetc%2fpasswd", "%00", "%0d%0aX-Evil:1", quote("😀"), "a" * 3000, "%ff%fe"):
        answer = server.ask(f"{INFERENCE_PREFIX}/chat/{name}?access_token={server.token}", {"messages": HI})
        assert (answer.status, answer.json["error_code"]) == (200, 3), (name, answer.body)
        assert "X-Evil" not in answer.raw_headers


# ── slowness and masses ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with short patience and few connections."""
    flags = ("--head-seconds", "1", "--body-seconds", "1", "--most-connections", "200")
    with serving(tmp_path_factory.mktemp("strict"), *flags) as served:
        yield served


@pytest.mark.parametrize("start", [b"", b"POST /x", b"GET /health HTTP/1.1\r\nHost: x\r\nX-A"])
def test_a_head_that_does_not_come_ends_the_connection(strict: Served, start: bytes) -> None:
    """Slowloris: a byte now and then does not keep it open."""
    began = time.monotonic()
    with strict.open() as connection:
        connection.sendall(start)
        connection.settimeout(0.3)
        ended = False
        while not ended and time.monotonic() - began < 8:
            try:
                if start:
                    connection.sendall(b"a")
                ended = not connection.recv(1000)
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
    assert ended
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("drip", [b"", b" "])
def test_a_body_that_does_not_come_ends_the_request(strict: Served, drip: bytes) -> None:
    """408 and closed, for silence and for a byte at a time; its handler is gone as well."""
    began = time.monotonic()
    with strict.open() as connection:
        connection.sendall(strict.head(f"{CHAT}?access_token={strict.token}", "Content-Length: 5000") + b"{")
        connection.settimeout(0.2)
        got = b""
        while time.monotonic() - began < 8:
            try:
                connection.sendall(drip)
                piece = connection.recv(1000)
                got += piece
                if not piece:
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() - began < 5
    assert got.startswith(b"HTTP/1.1 408 ") or not got


def test_masses_of_idle_sockets_leave_room_for_others(strict: Served) -> None:
    """Three times as many as may be open: the oldest idle ones go, a real call is answered at once."""
    idle: list[socket.socket] = []
    try:
        for _ in range(600):
            idle.append(strict.open())
            if len(idle) % 100 == 0:
                began = time.monotonic()
                assert "result" in strict.chat().json
                assert time.monotonic() - began < 2
        assert strict.metric("qianfan_connections") <= 201
    finally:
        for one in idle:
            one.close()
    within(5, lambda: strict.metric("qianfan_connections") <= 2)


def test_requests_in_masses_on_one_connection_are_answered_in_order(server: Served) -> None:
    """500 pipelined requests: every answer, no growth without bound."""
    raw = server.raw_chat()
    with server.open() as connection:
        connection.sendall(raw * 500)
        got = b""
        while got.count(b'"result":"hi"') < 500 and (piece := connection.recv(2**20)):
            got += piece
    assert got.count(b'"result":"hi"') == 500


def test_garbage_from_many_sides_stops_nobody(server: Served) -> None:
    """200 connections with noise; the server answers before, between and after."""
    import random

    noise = random.Random(7)

    def throw(_: int) -> None:
        with server.open() as connection:
            try:
                connection.sendall(noise.randbytes(noise.randrange(1, 5000)))
                read_all(connection, 0.2)
            except ConnectionError:
                pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(throw, range(200)))
    assert "result" in server.chat().json
    assert "Traceback" not in server.log.read_text()
