"""Tokens: fetched once, shared, renewed early."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from loopback import Answer, Loopback, Seen

from qianfan.errors import AuthError
from qianfan.resources import ChatCompletion
from qianfan.transport.call import Reply, Send, Sleep
from qianfan.transport.tokens import TokenKey, TokenStore

KEY = TokenKey("ak", "sk", "http://h:1")
ASK = [{"role": "user", "content": "hi"}]


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answer(token: str, life_s: int = 1000) -> Reply:
    return Reply(200, {}, f'{{"access_token":"{token}","expires_in":{life_s}}}'.encode())


def finish(conversation: Any, value: Any) -> str:
    with pytest.raises(StopIteration) as done:
        conversation.send(value)
    return str(done.value.value)


def held(store: TokenStore, refused: str | None = None) -> str:
    """The token that needs no fetching."""
    with pytest.raises(StopIteration) as done:
        next(store.token(KEY, refused))
    return str(done.value.value)


def test_a_second_caller_waits_for_the_first_ones_fetch() -> None:
    """Single flight: one request, and both have its token."""
    store = TokenStore()
    first, second = store.token(KEY), store.token(KEY)
    assert isinstance(next(first), Send)
    assert isinstance(next(second), Sleep)
    assert isinstance(second.send(None), Sleep)
    assert finish(first, answer("t1")) == "t1"
    assert finish(second, None) == "t1"
    assert held(store) == "t1"


def test_waiting_callers_share_the_failure_and_the_next_one_tries_again() -> None:
    """A refused key is asked about once, not once per waiting caller."""
    store = TokenStore()
    first, second = store.token(KEY), store.token(KEY)
    next(first), next(second)
    refused = Reply(401, {}, b'{"error":"invalid_client","error_description":"unknown client id"}')
    with pytest.raises(AuthError, match="ak is not correct"):
        first.send(refused)
    with pytest.raises(AuthError, match="ak is not correct"):
        second.send(None)
    assert isinstance(next(store.token(KEY)), Send)


def test_a_caller_who_leaves_while_fetching_does_not_block_the_others() -> None:
    """The next waiting caller fetches in its place."""
    store = TokenStore()
    first, second = store.token(KEY), store.token(KEY)
    next(first), next(second)
    first.close()
    assert isinstance(second.send(None), Send)
    assert finish(second, answer("t2")) == "t2"


def test_a_token_is_renewed_before_it_ends() -> None:
    """One caller renews early while others go on with the old token; past its life nobody does."""
    clock = Clock()
    store = TokenStore(clock, uniform=lambda low, high: low)
    first = store.token(KEY)
    next(first)
    finish(first, answer("old", 1000))
    clock.now += 899
    assert held(store) == "old"
    clock.now += 2
    renewing = store.token(KEY)
    assert isinstance(next(renewing), Send)
    assert held(store) == "old"
    assert finish(renewing, answer("new", 1000)) == "new"
    assert held(store) == "new"
    clock.now += 1001
    assert isinstance(next(store.token(KEY)), Send)


def test_an_early_renewal_that_fails_is_no_error() -> None:
    """The old token still serves, and is not renewed again at once."""
    clock = Clock()
    store = TokenStore(clock, uniform=lambda low, high: low)
    first = store.token(KEY)
    next(first)
    finish(first, answer("old", 1000))
    clock.now += 950
    renewing = store.token(KEY)
    next(renewing)
    assert finish(renewing, Reply(503, {}, b"{}")) == "old"
    assert held(store) == "old"


def test_a_newer_token_is_not_renewed_for_an_older_ones_refusal() -> None:
    """Ten callers refused with the same token make one fetch."""
    store = TokenStore()
    first = store.token(KEY)
    next(first)
    finish(first, answer("t1"))
    renewing = store.token(KEY, refused="t1")
    assert isinstance(next(renewing), Send)
    finish(renewing, answer("t2"))
    assert held(store, refused="t1") == "t2"


def test_threads_and_objects_share_one_token(server: Loopback, settings: Any) -> None:
    """Ten threads, ten objects, one pair of keys: one token request."""
    server.token_answer = lambda n: Answer({"access_token": f"token-{n}", "expires_in": 100}, wait_s=0.1)
    keys = {"ak": f"threads-{server.port}", "sk": "s"}
    threads = [threading.Thread(target=lambda: ChatCompletion(**keys).do(ASK)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.tokens) == 1
    assert {seen.query["access_token"] for seen in server.seen} == {"token-1"}


def test_tasks_of_several_event_loops_share_one_token(server: Loopback, settings: Any) -> None:
    """The same object serves several `asyncio.run`; ten tasks make one token request."""
    server.token_answer = lambda n: Answer({"access_token": f"token-{n}", "expires_in": 100}, wait_s=0.05)
    chat = ChatCompletion(ak=f"tasks-{server.port}", sk="s")

    async def ten() -> None:
        await asyncio.gather(*(chat.ado(ASK) for _ in range(10)))

    asyncio.run(ten())
    asyncio.run(ten())
    assert len(server.tokens) == 1
    assert len(server.seen) == 20


def test_a_refused_token_is_replaced_on_the_wire(server: Loopback, settings: Any) -> None:
    """A server that forgot its tokens is asked for one, also by a stream, and the caller notices nothing."""

    def only_the_newest(seen: Seen) -> Answer:
        if seen.query["access_token"] == f"token-{len(server.tokens)}" != "token-1":
            return Answer({"result": "fine", "is_end": True})
        return Answer({"error_code": 110, "error_msg": "Access token invalid or no longer valid"})

    server.always = only_the_newest
    chat = ChatCompletion(ak=f"refused-{server.port}", sk="s")
    assert [piece["result"] for piece in chat.do(ASK, stream=True)] == ["fine"]
    assert chat.do(ASK)["result"] == "fine"
    assert len(server.tokens) == 2


def test_a_young_token_is_kept_where_a_pause_between_fetches_is_asked_for() -> None:
    """ACCESS_TOKEN_REFRESH_MIN_INTERVAL: a refused token younger than that is sent again, an older one replaced."""
    clock = Clock()
    store = TokenStore(clock)
    key = TokenKey("ak", "sk", "http://h:1", pause_s=60)
    first = store.token(key)
    next(first)
    finish(first, answer("t1"))
    with pytest.raises(StopIteration) as done:
        next(store.token(key, refused="t1"))
    assert done.value.value == "t1"
    clock.now += 61
    assert isinstance(next(store.token(key, refused="t1")), Send)


def test_a_hundred_threads_and_a_hundred_tasks_replace_an_expired_token_once(
    server: Loopback, settings: Any
) -> None:
    """All hold the token that has just expired: one token request, and no call fails."""
    keys = {"ak": f"crowd-{server.port}", "sk": "s"}
    ChatCompletion(**keys).do(ASK)  # all share token-1 from now on
    asked: list[str] = []

    def only_the_second(seen: Seen) -> Answer:
        asked.append(seen.query["access_token"])
        if seen.query["access_token"] == "token-2":
            return Answer({"result": "fine"})
        return Answer({"error_code": 111, "error_msg": "Access token expired"}, wait_s=0.2)

    server.always = only_the_second
    server.token_answer = lambda n: Answer({"access_token": f"token-{n}", "expires_in": 1000}, wait_s=0.2)
    results: list[str] = []
    failed: list[BaseException] = []

    def in_thread() -> None:
        try:
            results.append(ChatCompletion(**keys).do(ASK)["result"])
        except Exception as error:
            failed.append(error)

    async def tasks() -> None:
        chat = ChatCompletion(**keys)
        done = await asyncio.gather(*(chat.ado(ASK) for _ in range(100)), return_exceptions=True)
        results.extend(one["result"] for one in done if not isinstance(one, BaseException))
        failed.extend(one for one in done if isinstance(one, BaseException))

    threads = [threading.Thread(target=in_thread) for _ in range(100)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join()
    assert failed == []
    assert results == ["fine"] * 200
    assert len(server.tokens) == 2
    assert asked.count("token-1") > 1
