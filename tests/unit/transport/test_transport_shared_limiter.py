"""Limits that processes share, against a real Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Loopback
from redis_server import PASSWORD, free_port, redis

from qianfan import ChatCompletion
from qianfan.config import Config
from qianfan.errors import InvalidArgumentError, LimiterUnreachable
from qianfan.transport.limits import Limits
from qianfan.transport.shared_limiter import SharedLimiter

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for this file."""
    with redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


def test_places_are_given_as_a_limiter_of_one_process_gives_them(url: str) -> None:
    """The first at once, the others evenly; corrections, refusals and a second owner included."""
    limiter, same = SharedLimiter(url, "places", 2.0), SharedLimiter(url, "places", 2.0)
    assert limiter.reserve() == 0.0
    assert same.reserve() == pytest.approx(0.5, abs=0.2)
    assert limiter.reserve(2) == pytest.approx(1.0, abs=0.2)
    same.correct(-2)
    assert limiter.reserve() == pytest.approx(1.0, abs=0.3)
    limiter.empty(10)
    assert same.reserve() == pytest.approx(6.5, abs=0.5)
    assert SharedLimiter(url, "other", 2.0).reserve() == 0.0


def test_processes_keep_one_rate_together(url: str) -> None:
    """Three processes at 40 a second in total: the rate is achieved, and no second has more."""
    program = (
        "import sys, time\n"
        "from qianfan.transport.shared_limiter import SharedLimiter\n"
        f"limiter = SharedLimiter({url!r}, 'processes', 40.0)\n"
        "limiter._redis.ping(); print('ready', flush=True); sys.stdin.readline()\n"
        "ends_at = time.time() + 1.5\n"
        "while time.time() < ends_at:\n"
        "    time.sleep(limiter.reserve()); print(time.time(), flush=True)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda p=p: outputs.append(p.communicate("go\n")[0])) for p in processes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(float(line) for output in outputs for line in output.split())
    achieved = (len(times) - 1) / (times[-1] - times[0])
    assert 36 < achieved < 42, achieved
    assert all(output.count("\n") > 10 for output in outputs)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_objects_share_the_limit_and_count_tokens_together(
    server: Loopback, settings: Any, url: str, is_async: bool
) -> None:
    """Two objects with the same keys: the tokens that one used make the other wait."""
    server.always = Answer({"result": "ok", "usage": {"total_tokens": 40}})
    keys = {"ak": f"shared-{server.port}", "sk": "s", "redis_rate_limiter": True, "redis_url": url}
    for _ in range(2):
        chat = ChatCompletion(**keys, token_per_minute=6000)
        answer = asyncio.run(chat.ado(ASK)) if is_async else chat.do(ASK)
        assert answer["result"] == "ok"
    assert 0.33 < server.seen[1].at - server.seen[0].at < 1.5


def test_settings_switch_it_on(server: Loopback, settings: Any, url: str) -> None:
    """REDIS_RATE_LIMITER and REDIS_URL do what the arguments do."""
    settings.REDIS_RATE_LIMITER, settings.REDIS_URL, settings.QPS_LIMIT = True, url, 5
    started = time.monotonic()
    for _ in range(2):
        ChatCompletion(ak=f"settings-{server.port}", sk="s").do(ASK)
    assert time.monotonic() - started > 0.15
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_redis_that_is_not_there_is_named(server: Loopback, settings: Any, is_async: bool) -> None:
    """Nothing is sent, nothing is retried; the error says where and what to do, without the password."""
    address = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"
    chat = ChatCompletion(ak="a", sk="s", query_per_second=5, redis_rate_limiter=True, redis_url=address)
    with pytest.raises(LimiterUnreachable, match=r"127\.0\.0\.1.*QIANFAN_REDIS_URL") as error:
        asyncio.run(chat.ado(ASK, retry_count=3)) if is_async else chat.do(ASK, retry_count=3)
    assert PASSWORD not in f"{error.value!r} {error.getrepr(chain=True)}"
    assert server.seen == []


def test_a_wrong_address_is_an_argument_error() -> None:
    """What is no address of a Redis is said to be none."""
    with pytest.raises(InvalidArgumentError, match="QIANFAN_REDIS_URL"):
        Limits.of({"query_per_second": 1, "redis_rate_limiter": True, "redis_url": "nonsense"}, Config(), "x")


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path) -> None:
    """The base has no redis; where it is wanted, the extra is named."""
    (tmp_path / "redis.py").write_text("raise ImportError('no module')")
    program = (
        "import qianfan\nqianfan.ChatCompletion(ak='a', sk='s', query_per_second=1, redis_rate_limiter=True)"
    )
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "pip install 'open-qianfan[redis]'" in done.stderr
