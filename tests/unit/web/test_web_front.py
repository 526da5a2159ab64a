"""The front door: hot routes by table, ids, addresses behind a proxy; and figures as text."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from starlette.responses import PlainTextResponse
from tests.console import connected, heard

from qianfan.contract.errors import Fault
from qianfan_platform.web.faults import Counts, Plan
from qianfan_platform.web.front import Front
from qianfan_platform.web.hot import Exchange, HotRoute, Reply
from qianfan_platform.web.metrics import Metric, text

pytestmark = pytest.mark.anyio


async def told(exchange: Exchange) -> Reply:
    return PlainTextResponse(f"hot {exchange.param!r} {exchange.scheme} {exchange.address}")


async def rest(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("the rest")(scope, receive, send)


@pytest.fixture
def front() -> Front:
    routes = [
        HotRoute("/plain", told),
        HotRoute("/chat/{endpoint}", told),
        HotRoute("/plugin/{endpoint}/", told),
        HotRoute("/models/{name:path}", told, ("GET",)),
    ]
    return Front(rest, routes)


async def ask(front: Front, path: str, method: str = "POST", **headers: str) -> tuple[str, dict[str, str]]:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    connection, wire = connected(front)
    await heard(connection, f"{method} {quote(path)} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    connection.connection_lost(None)
    head, _, body = b"".join(wire.writes).decode().partition("\r\n\r\n")
    return body, dict(line.split(": ", 1) for line in head.splitlines()[1:])


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/plain", ""),
        ("/chat/eb-instant", "eb-instant"),
        ("/chat/我的 服务", "我的 服务"),
        ("/plugin/abc/", "abc"),
    ],
)
async def test_a_hot_route_is_found_by_its_path(front: Front, path: str, param: str) -> None:
    """Exact, or with its last part as the parameter."""
    assert (await ask(front, path))[0].startswith(f"hot {param!r} ")


async def test_a_parameter_may_hold_slashes(front: Front) -> None:
    """Where the route says so; it is never empty."""
    assert (await ask(front, "/models/org/name", "GET"))[0].startswith("hot 'org/name' ")
    assert (await ask(front, "/models/", "GET"))[0] == "the rest"
    assert (await ask(front, "/models/org/name"))[0] == "the rest"


@pytest.mark.parametrize(
    "path", ["/chat", "/chat/", "/chat/a/b", "/plugin/abc", "/deep/a/b", "/plain/", "//plain", "/asgi"]
)
async def test_everything_else_is_left_to_the_rest(front: Front, path: str) -> None:
    """Also routes that the table cannot hold, and other methods."""
    assert (await ask(front, path))[0] == "the rest"
    assert (await ask(front, "/plain", "GET"))[0] == "the rest"


async def test_a_proxy_on_this_machine_names_the_client(front: Front) -> None:
    """The nearest address that is not ours; what the client itself wrote further left does not count."""
    answer, headers = await ask(
        front, "/plain", x_forwarded_for="6.6.6.6, 9.9.9.9, 127.0.0.1", x_forwarded_proto="https"
    )
    assert answer == "hot '' https 9.9.9.9"
    assert len(headers["x-baidu-request-id"]) == 24
    assert front.answered == {("/plain", 200): 1}


def test_figures_are_escaped() -> None:
    """A label cannot end its line or its quotes."""
    shown = text([Metric("a_total", "counter", "b", [({"c": 'x"\n\x1b'}, 1), ({}, 2.5)])])
    assert shown.splitlines()[2:] == ['a_total{c="x\\"\\n?"} 1', "a_total 2.5"]


@pytest.mark.parametrize("header", ["status=200", "delay=-1", "delay=nan", "cut", "=1", "boom=1", "drip=1e9"])
def test_a_fault_that_makes_no_sense_is_named(header: str) -> None:
    """Unknown names, and numbers out of range."""
    with pytest.raises(Fault, match="X-Qianfan-Fault"):
        Plan.parse(f"delay=1;{header}")


def test_times_counts_for_each_account_and_header() -> None:
    """The first two of each three, for each account apart; without `times` always."""
    counts = Counts()
    assert [counts.applies(1, "a", 2) for _ in range(6)] == [True, True, False, True, True, False]
    assert counts.applies(2, "a", 2)
    assert all(counts.applies(1, "b", 0) for _ in range(5))
