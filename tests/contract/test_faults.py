"""Faults on request: each makes our SDK raise the right error, or try again; nobody else notices them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import qianfan
from qianfan import embedded
from qianfan.contract import routes
from qianfan.errors import APIError, QianfanError, StreamInterrupted
from qianfan.resources import FineTune

from .served import HI, Served, serving

FIVE = [{"role": "user", "content": "one two three four five"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Echo, with faults turned on, and this process's SDK pointed at it."""
    with serving(tmp_path_factory.mktemp("faults")) as served:
        assert served.call(routes.FAULTS_SET, {"enabled": True}).json["result"] == {"enabled": True}
        with embedded.configured(served.environment):
            yield served


def ask(fault: str, **options: object) -> qianfan.QfResponse:
    answer = qianfan.ChatCompletion().do(messages=FIVE, headers={"X-Qianfan-Fault": fault}, **options)
    assert isinstance(answer, qianfan.QfResponse)
    return answer


def pieces(fault: str, **options: object) -> list[str]:
    got: list[str] = []
    for piece in qianfan.ChatCompletion().do(
        messages=FIVE, stream=True, headers={"X-Qianfan-Fault": fault}, **options
    ):
        got.append(piece["result"])
    return got


def test_the_header_is_ignored_until_it_is_turned_on(server: Served) -> None:
    """Off by default; turned off again, calls are answered as ever."""
    server.call(routes.FAULTS_SET, {"enabled": False})
    assert ask("status=503")["result"] == "one two three four five"
    assert ask("nonsense")["result"]
    server.call(routes.FAULTS_SET, {"enabled": True})
    with pytest.raises(QianfanError):
        ask("status=503")


@pytest.mark.parametrize("stream", [False, True])
def test_a_status_is_an_error_with_that_status(server: Served, stream: bool) -> None:
    """HTTP 503, on plain answers and streams."""
    del server
    with pytest.raises(QianfanError) as raised:
        pieces("status=503") if stream else ask("status=503")
    assert getattr(raised.value, "status_code", None) == 503 or "503" in str(raised.value)


def test_a_platform_error_has_its_code(server: Served) -> None:
    """error=336100: high load, as V1 and V2 tell it."""
    with pytest.raises(APIError) as raised:
        ask("error=336100")
    assert raised.value.error_code == 336100
    headers = {"X-Qianfan-Fault": "error=336501"}
    v2 = server.ask(f"/v2/chat/completions?access_token={server.token}", {}, headers=headers)
    assert (v2.status, v2.json["error"]["code"]) == (429, "rpm_rate_limit_exceeded")


@pytest.mark.parametrize("fault", ["status=503", "error=336100", "cut=1"])
def test_a_retry_overcomes_what_happens_once(server: Served, fault: str) -> None:
    """times=1: the first call fails, the second is answered; retry_count 1 does not try again."""
    del server
    with pytest.raises(QianfanError):
        ask(f"{fault};times=1;delay=0")
    ask(f"{fault};times=1;delay=0")
    again = ask(f"{fault};times=1", retry_count=3, backoff_factor=0.01)
    assert again["result"] == "one two three four five"


def test_a_delay_meets_the_timeout(server: Served) -> None:
    """delay=3 against a timeout of one second; a shorter delay is only felt."""
    del server
    began = time.monotonic()
    with pytest.raises(QianfanError):
        ask("delay=3", request_timeout=1)
    assert time.monotonic() - began < 2.5
    began = time.monotonic()
    assert ask("delay=0.5")["result"]
    assert time.monotonic() - began >= 0.5


def test_a_cut_stream_is_interrupted_with_the_text_so_far(server: Served) -> None:
    """cut=2: two events, then the connection drops without an end mark."""
    del server
    with pytest.raises(StreamInterrupted) as raised:
        pieces("cut=2")
    assert raised.value.text == "one two"


def test_garbage_in_a_stream_is_a_typed_error(server: Served) -> None:
    """garbage=2: the second event is no JSON; a whole answer is none at all."""
    del server
    with pytest.raises(QianfanError):
        pieces("garbage=2")
    with pytest.raises(QianfanError):
        ask("garbage=1")


def test_a_drip_is_read_to_its_end(server: Served) -> None:
    """Small pieces with pauses between: the same answer, and events split anywhere."""
    del server
    began = time.monotonic()
    assert "".join(pieces("drip=0.01")) == "one two three four five"
    assert ask("drip=0.02")["result"] == "one two three four five"
    assert time.monotonic() - began > 0.3


def test_console_calls_fail_on_request_too(server: Served) -> None:
    """A management call of V2 with a status, one of V1 with an error."""
    headers = {"X-Qianfan-Fault": "status=500"}
    path, query = routes.USAGE_DESCRIBE.path, {"Action": "DescribeUsage"}
    signed = server.signature("POST", path, query)
    assert server.ask(f"{path}?Action=DescribeUsage", {}, headers={**signed, **headers}).status == 500
    v1 = routes.FINETUNE_CREATE_TASK.path
    broken = server.ask(
        v1, {"name": "a"}, headers={**server.signature("POST", v1, {}), "X-Qianfan-Fault": "error=500000"}
    )
    assert broken.json["error_code"] == 500000
    assert FineTune.create_task(name="unharmed")["result"]["id"]


def test_a_wish_that_makes_no_sense_is_named(server: Served) -> None:
    """The part, and what is known."""
    with pytest.raises(APIError, match="cut=x"):
        ask("cut=x")
    headers = {"X-Qianfan-Fault": "delay=1e9"}
    assert "delay" in server.chat(messages=HI, headers=headers).json["error_msg"]
