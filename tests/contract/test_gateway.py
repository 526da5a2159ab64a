"""The gateway: limits, usage, turns, hang-ups, stalled readers, request ids, figures, faults on request."""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import qianfan
from qianfan import embedded
from qianfan.contract import routes
from qianfan.errors import QianfanError, StreamInterrupted

from .served import CHAT, HI, Served, serving, within

WORDS = " ".join(f"w{number}" for number in range(400))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Echo, quick."""
    with serving(tmp_path_factory.mktemp("quick")) as served:
        yield served


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Echo, 20 words a second, two answers at once."""
    folder = tmp_path_factory.mktemp("slow")
    catalogue = (
        f'[models.echo]\nengine = "echo"\nparallel = 2\nsource = "path:{folder}/echo.json"\n'
        '[stand_ins]\nchat = "echo"\ncompletions = "echo"\ntraining = "tiny"\n'
    )
    with serving(folder, catalogue=catalogue, echo={"delay_s": 0.05}) as served:
        yield served


@pytest.fixture
def unlimited(server: Served) -> Iterator[Served]:
    """The quick server, with no limits and no faults afterwards."""
    yield server
    assert server.call(routes.LIMITS_SET, {"reset": True}).status == 200
    assert server.call(routes.LIMITS_SET, {"reset": True, "app": 1}).status == 200


def usage(server: Served, **spec: Any) -> list[dict[str, Any]]:
    answer = server.call(routes.USAGE_DESCRIBE, spec)
    assert answer.status == 200, answer.body
    rows: list[dict[str, Any]] = answer.json["result"]["usage"]
    return rows


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limit", "code", "v2"),
    [
        ({"requestsPerSecond": 0.05}, 18, "rpm_rate_limit_exceeded"),
        ({"requestsPerMinute": 1}, 336501, "rpm_rate_limit_exceeded"),
        ({"tokensPerMinute": 2}, 336502, "tpm_rate_limit_exceeded"),
        ({"requestsPerDay": 1}, 17, "user_rate_limit_exceeded"),
        ({"totalTokens": 1}, 19, "user_rate_limit_exceeded"),
    ],
)
@pytest.mark.parametrize("of", ["account", "app"])
def test_a_limit_refuses_in_the_words_of_each_interface(
    unlimited: Served, limit: dict[str, Any], code: int, v2: str, of: str
) -> None:
    """V1: HTTP 200 with the documented code; V2: HTTP 429 with the string code, and Retry-After."""
    spec = {**limit, **({"app": 1} if of == "app" else {})}
    assert unlimited.call(routes.LIMITS_SET, spec).status == 200
    unlimited.chat()
    refused = unlimited.chat()
    assert refused.status == 200
    assert refused.json["error_code"] == code, refused.body
    body = {"model": "ernie-speed-8k", "messages": HI}
    bearer = unlimited.ask(f"/v2/chat/completions?access_token={unlimited.token}", body)
    assert bearer.status == 429
    assert bearer.json["error"]["code"] == v2
    assert bearer.json["error"]["type"] == "rate_limit_exceeded"
    if code == 19:
        assert "Retry-After" not in bearer.raw_headers
    else:
        assert 0 < int(bearer.raw_headers["Retry-After"]) <= 86400


def test_the_headers_tell_the_limits_as_published_clients_spell_them(unlimited: Served) -> None:
    """The exact spelling; a plain answer, a stream and a refusal alike; none where nothing is limited."""
    assert not [name for name in unlimited.chat().headers if name.startswith("x-ratelimit")]
    unlimited.call(routes.LIMITS_SET, {"requestsPerMinute": 50, "tokensPerMinute": 100_000})
    unlimited.call(routes.LIMITS_SET, {"app": 1, "requestsPerMinute": 3})
    for stream in (False, True):
        headers = unlimited.chat(stream=stream).raw_headers
        assert headers["X-Ratelimit-Limit-Requests"] == "3"
        assert headers["X-Ratelimit-Limit-Tokens"] == "100000"
        assert headers["X-Ratelimit-Remaining-Requests"] == ("1" if stream else "2")
        assert 99_000 < int(headers["X-Ratelimit-Remaining-Tokens"]) <= 100_000
    unlimited.chat()
    refused = unlimited.chat()
    assert refused.json["error_code"] == 336501
    assert refused.raw_headers["X-Ratelimit-Remaining-Requests"] == "0"
    described = unlimited.call(routes.LIMITS_DESCRIBE, {"app": 1}).json["result"]
    assert (described["requestsPerMinute"], described["tokensPerMinute"]) == (3, 0)


def test_tokens_are_taken_by_estimate_and_corrected_by_use(unlimited: Served) -> None:
    """An answer that costs little gives back what was taken; one that costs much is felt by the next."""
    unlimited.call(routes.LIMITS_SET, {"tokensPerMinute": 500})
    for _ in range(5):
        assert "result" in unlimited.chat(max_output_tokens=400).json
    assert "result" in unlimited.chat({"messages": [{"role": "user", "content": WORDS}]}).json
    assert unlimited.chat().json["error_code"] == 336502


def test_the_flags_of_serve_limit_every_account(tmp_path: Path) -> None:
    """Defaults from the command line; an account's own limits come before them; a restart forgets no day."""
    flags = ("--requests-per-day", "3")
    with serving(tmp_path / "data", *flags) as server:
        assert server.call(routes.LIMITS_DESCRIBE, {}).json["result"]["requestsPerDay"] == 3
        assert ["result" in server.chat().json for _ in range(2)] == [True, True]
    with serving(tmp_path / "data", *flags) as server:
        assert "result" in server.chat().json
        assert server.chat().json["error_code"] == 17
        server.call(routes.LIMITS_SET, {"requestsPerDay": 0})
        assert "result" in server.chat().json


# ── usage ────────────────────────────────────────────────────────────────────────────────────────


def test_usage_is_kept_by_app_model_kind_and_day(tmp_path: Path) -> None:
    """Readable at once, with filters and groups; what the console and refused calls did is not in it."""
    with serving(tmp_path / "data") as server:
        for _ in range(3):
            server.chat()
        server.chat(stream=True)
        server.ask(
            f"/v2/chat/completions?access_token={server.token}", {"model": "ernie-speed-8k", "messages": HI}
        )
        server.chat({"messages": []})
        rows = usage(server)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        assert {(row["app"], row["kind"], row["day"]) for row in rows} == {("1", "chat", today)}
        assert sorted((row["requests"], row["promptTokens"], row["completionTokens"]) for row in rows) == [
            (1, 1, 1),
            (4, 4, 4),
        ]
        (total,) = usage(server, group=["app"])
        assert (total["requests"], total["totalTokens"], total["failed"], total["cut"]) == (5, 10, 0, 0)
        assert usage(server, to="2001-01-01") == []
        (one,) = usage(server, model=rows[0]["model"], app=1)
        assert one == rows[0]
        assert server.call(routes.USAGE_DESCRIBE, {"from": "2024-13-01"}).status == 400


def test_a_killed_server_keeps_what_was_written(tmp_path: Path) -> None:
    """kill -9 loses at most the last second or so; the rest is there after the restart."""
    with serving(tmp_path / "data") as server:
        for _ in range(4):
            server.chat()
        time.sleep(2.2)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with serving(tmp_path / "data") as server:
        assert usage(server, group=["app"])[0]["requests"] == 4


def test_what_was_made_before_a_hang_up_counts(slow: Served) -> None:
    """The words that came out, and one answer more that was cut."""
    before = {"cut": 0, "completionTokens": 0, **next(iter(usage(slow, group=["app"])), {})}
    with slow.open() as connection:
        connection.sendall(slow.raw_chat(stream=True, messages=[{"role": "user", "content": WORDS}]))
        got = b""
        while got.count(b"data: ") < 5:
            got += connection.recv(65536)
    row = within(3, lambda: next((r for r in usage(slow, group=["app"]) if r["cut"] > before["cut"]), None))
    assert 5 <= row["completionTokens"] - before["completionTokens"] <= 40


# ── turns and hang-ups ───────────────────────────────────────────────────────────────────────────


def answering(server: Served) -> float:
    return server.metric("qianfan_engine_answering")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.4])
def test_a_hang_up_frees_the_place_within_a_second(slow: Served, stream: bool, after_s: float) -> None:
    """Whole answers and streams, at once and in the middle."""
    within(5, lambda: answering(slow) == 0)
    connection = slow.open()
    connection.sendall(slow.raw_chat(stream=stream, messages=[{"role": "user", "content": WORDS}]))
    time.sleep(after_s)
    if after_s:
        assert answering(slow) == 1
    connection.close()
    time.sleep(0.2)
    within(0.8, lambda: answering(slow) == 0)


def test_who_hangs_up_while_waiting_leaves_the_line(slow: Served) -> None:
    """Two are answered, three wait; those go, and the line is empty."""
    within(5, lambda: answering(slow) == 0)
    raw = slow.raw_chat(messages=[{"role": "user", "content": WORDS}])
    callers = [slow.open() for _ in range(5)]
    for caller in callers:
        caller.sendall(raw)
    within(2, lambda: slow.metric("qianfan_engine_waiting") == 3)
    for caller in callers[2:]:
        caller.close()
    for caller in callers[:2]:
        caller.close()
    within(1.5, lambda: slow.metric("qianfan_engine_waiting") == 0 and answering(slow) == 0)


def test_a_hang_up_frees_the_slot_of_llama_cpp(platform: Any) -> None:
    """The engine process itself stops: the next answer does not wait for the one that was left."""
    config = platform.environment
    with embedded.configured(config):
        qianfan.ChatCompletion().do(messages=HI, max_output_tokens=2)
        began = time.monotonic()
        qianfan.ChatCompletion().do(messages=HI, max_output_tokens=2)
        alone = time.monotonic() - began
        streams = [
            iter(
                qianfan.ChatCompletion().do(messages=HI, stream=True, max_output_tokens=900, temperature=1.0)
            )
            for _ in range(4)
        ]
        for stream in streams:
            next(stream)
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
        time.sleep(0.5)
        began = time.monotonic()
        qianfan.ChatCompletion().do(messages=HI, max_output_tokens=2)
        assert time.monotonic() - began < alone + 1


def test_a_thousand_hang_ups_leave_nothing_behind(server: Served) -> None:
    """Each place is free again, each answer is counted, and memory stays."""
    long = " ".join(["word"] * 3000)
    raw = server.raw_chat(stream=True, messages=[{"role": "user", "content": long}])
    before = server.metric("qianfan_admitted_total")

    def leave(_: int) -> None:
        with server.open() as connection:
            connection.sendall(raw)
            connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(leave, range(200)))
        memory = server.memory_mib()
        list(pool.map(leave, range(800)))
    within(5, lambda: answering(server) == 0)
    assert server.metric("qianfan_admitted_total") - before == 1000
    assert server.memory_mib() - memory < 32
    assert "result" in server.chat().json


def test_owners_take_turns_at_a_full_engine(slow: Served) -> None:
    """A floods with 50 answers; B's one comes after at most one round, not after all of A's."""
    import asyncio

    from qianfan_platform.accounts import operations
    from qianfan_platform.accounts.vault import Vault, key_file
    from qianfan_platform.store import Store

    async def second() -> operations.Credentials:
        store = await Store.open(f"sqlite:///{slow.data / 'platform.db'}")
        try:
            async with store.transaction() as tx:
                return await operations.create_account(tx, "b", vault=Vault.open(key_file(slow.data, {})))
        finally:
            await store.close()

    other = asyncio.run(second())
    path = slow.token_path(client_id=other.ak, client_secret=other.sk)
    theirs = slow.ask(path, method="GET").json["access_token"]
    done: list[str] = []
    body = {"messages": [{"role": "user", "content": "one two three four"}]}

    def ask(who: str, token: str) -> None:
        assert "result" in slow.ask(f"{CHAT}?access_token={token}", body).json
        done.append(who)

    mine = slow.token
    flood = [threading.Thread(target=ask, args=("A", mine)) for _ in range(50)]
    for thread in flood:
        thread.start()
    within(3, lambda: slow.metric("qianfan_engine_waiting") >= 40)
    before = len(done)
    ask("B", theirs)
    assert len(done) - before <= 1 + 2 * 2
    for thread in flood:
        thread.join()
    assert done.count("A") == 50


def test_a_reader_that_stalls_costs_no_memory_and_is_cut(tmp_path: Path) -> None:
    """10^5 events for sockets that never read: little waits for them here, and after a while they are cut."""
    many = " ".join(["x" * 20] * 100_000)
    with serving(tmp_path / "data", "--stall-seconds", "3", echo={"script": {"many": many}}) as server:
        server.chat()
        body = {"messages": [{"role": "user", "content": "many"}], "max_output_tokens": 100_000}
        memory = server.memory_mib()
        stalled = [server.open() for _ in range(2)]
        for one in stalled:
            one.sendall(server.raw_chat(stream=True, **body))
        within(5, lambda: answering(server) == 2)
        time.sleep(1.5)
        assert "result" in server.chat().json
        assert server.memory_mib() - memory < 32
        assert answering(server) == 2
        within(8, lambda: answering(server) == 0)
        assert server.memory_mib() - memory < 32
        (row,) = usage(server, group=["app"])
        assert row["cut"] == 2
        for one in stalled:
            one.close()


def test_an_answer_that_takes_too_long_is_cut(tmp_path: Path) -> None:
    """A stream ends without its end mark, with the text so far; a whole answer is a lost connection."""
    with serving(tmp_path / "data", "--answer-seconds", "1", echo={"delay_s": 0.1}) as server:
        long = [{"role": "user", "content": WORDS}]
        with embedded.configured(server.environment):
            began = time.monotonic()
            with pytest.raises(StreamInterrupted) as cut:
                list(qianfan.ChatCompletion().do(messages=long, stream=True))
            assert cut.value.text.startswith("w0 w1")
            with pytest.raises(QianfanError):
                qianfan.ChatCompletion().do(messages=long)
            assert time.monotonic() - began < 6
        within(1, lambda: answering(server) == 0)
        assert usage(server, group=["app"])[0]["cut"] >= 2


# ── request ids and figures ──────────────────────────────────────────────────────────────────────


def test_every_answer_has_a_request_id(server: Served) -> None:
    """The client's own where it is harmless; in the header, in the body of an error, and in the log."""
    assert server.chat(headers={"Request_id": "mine-1"}).headers["x-baidu-request-id"] == "mine-1"
    for path in ("/health", "/no/such/path", "/v2/models", f"{CHAT}?access_token=x", "/metrics"):
        assert len(server.ask(path, method="GET").headers["x-baidu-request-id"]) == 24
    refused = server.ask(
        "/v2/chat/completions", {}, headers={"Authorization": "Bearer x", "Request_id": "mine-2"}
    )
    assert refused.json["id"] == "as-mine-2"
    within(2, lambda: '"request_id":"mine-1"' in server.log.read_text())


def test_figures_for_prometheus(server: Served) -> None:
    """Requests by route and status, tokens, engines; a strange endpoint makes no label of its own."""
    server.chat()
    server.ask(f"{CHAT}-evil-1?access_token={server.token}", {"messages": HI})
    text = server.ask("/metrics", method="GET").body.decode()
    assert 'route="/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{endpoint}",status="200"' in text
    assert "evil" not in text
    assert server.metric("qianfan_tokens_total") >= 2
    assert server.metric("qianfan_engines_up") == 1
