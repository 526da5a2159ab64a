"""Places and kept connections."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from qianfan.transport import pool as pools
from qianfan.transport.connection import Connection
from qianfan.transport.pool import Key, Pool


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


def key(port: int, host: str = "127.0.0.1") -> Key:
    return (host, port, None, False)


def soon(seconds: float = 0.05) -> float:
    return time.monotonic() + seconds


def opened(pool: Pool, of: Key) -> Connection:
    connection = pool.take(of, soon())
    if not connection.is_open:
        connection.open(of[0], of[1], None, None, soon(2.0))
    return connection


def test_the_latest_used_connection_is_taken_first(listening: int) -> None:
    """So the others grow old, and are closed."""
    pool = Pool()
    first, second = opened(pool, key(listening)), opened(pool, key(listening))
    pool.keep(first)
    pool.keep(second)
    assert pool.take(key(listening), soon()) is second
    assert pool.take(key(listening), soon()) is first
    assert not pool.take(key(listening), soon()).is_open


def test_a_connection_that_was_not_used_for_a_minute_is_closed(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it would be taken, and when another one is given back."""
    monkeypatch.setattr(pools, "IDLE_S", 0.05)
    pool = Pool()
    old, other = opened(pool, key(listening)), opened(pool, key(listening, "localhost"))
    pool.keep(old)
    time.sleep(0.1)
    assert not pool.take(key(listening), soon()).is_open
    assert not old.is_open
    pool.keep(other)
    third = opened(pool, key(listening))
    time.sleep(0.1)
    pool.keep(third)
    assert not other.is_open
    assert third.is_open


def test_no_more_than_a_hundred_are_kept(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all servers together; those kept longest are closed. In use there may be more."""
    monkeypatch.setattr(pools, "KEPT", 3)
    pool = Pool()
    several = [opened(pool, key(listening, host)) for host in ("127.0.0.1", "localhost") * 3]
    for connection in several:
        pool.keep(connection)
    assert [connection.is_open for connection in several] == [False] * 3 + [True] * 3


def test_who_came_first_is_served_first() -> None:
    """Also before one who comes in the moment when a place is given back."""
    pool = Pool(1)
    held = pool.take(key(1), soon())
    served: list[int] = []

    def wait(number: int) -> None:
        connection = pool.take(key(1), soon(5.0))
        served.append(number)
        time.sleep(0.002)
        connection.close()

    threads = []
    for number in range(10):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(pool._line) <= number:
            time.sleep(0.001)
    held.close()
    pool.take(key(1), soon(5.0)).close()
    assert len(served) == 10
    for thread in threads:
        thread.join()
    assert served == list(range(10))


def test_a_place_that_is_dropped_comes_back() -> None:
    """Without being closed: by its last reference, or by the garbage collector, in the middle of anything."""
    pool = Pool(2)
    for _ in range(5):
        pool.take(key(1), soon())
    for _ in range(8):
        connection = pool.take(key(1), soon(2.0))
        circle: list[object] = [connection]
        circle.append(circle)
        del connection, circle
        if len(pool._taken) == 2:
            gc.collect()
    held = [pool.take(key(1), soon()) for _ in range(2)]
    with pytest.raises(TimeoutError):
        pool.take(key(1), soon())
    del held
    assert not pool._taken


def test_a_place_is_given_back_once() -> None:
    """Closing twice frees one place, not two."""
    pool = Pool(1)
    connection = pool.take(key(1), soon())
    connection.close()
    second = pool.take(key(1), soon())
    connection.close()
    with pytest.raises(TimeoutError):
        pool.take(key(1), soon())
    second.close()


def test_kept_connections_make_room_for_another_server(listening: int) -> None:
    """The one kept longest is closed; those open together stay within the limit."""
    pool = Pool(2)
    first, second = opened(pool, key(listening)), opened(pool, key(listening, "localhost"))
    pool.keep(second)
    pool.keep(first)
    assert not pool.take(key(1), soon()).is_open
    assert not second.is_open
    assert first.is_open


def test_many_threads_leave_no_place_behind(listening: int) -> None:
    """Taken, kept, closed, dropped, timed out: in the end all places are free, and no more were ever taken."""
    pool = Pool(3)
    most = [0]

    def churn(number: int) -> None:
        for turn in range(60):
            try:
                connection = pool.take(key(number % 4), soon(0.01))
            except TimeoutError:
                continue
            most[0] = max(most[0], len(pool._taken))
            if turn % 3 == 0:
                pool.keep(connection)
            elif turn % 3 == 1:
                connection.close()

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not pool._taken
    assert not pool._line
    assert most[0] <= 4  # one more only while it is asked whether there is room
