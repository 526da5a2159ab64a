"""Killed on purpose: engines under load, and the server under its services. Desired state survives."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from qianfan.resources import ChatCompletion, Service
from tests.soak.chaos import ASKED, Chaos, Load, Place, within


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A platform with one service."""
    place = Place(Path(tmp_path_factory.mktemp("killed")))
    place.start()
    try:
        place.deploy(place.teach(), "kept")
        yield place
    finally:
        place.stop()
        assert place.left() == [], "ghosts"


def said(place: Place) -> str:
    """The first tokens of an answer: those of which the tuned model is sure, and the base would not say."""
    uri = place.services[0]["uri"]
    return str(ChatCompletion().do(ASKED, endpoint=uri, temperature=0.01, max_output_tokens=4)["result"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_dies_or_hangs_under_load_is_replaced(place: Place, how: signal.Signals) -> None:
    """Who waits for a whole answer gets it from the next engine; a stream that had begun ends with a typed error."""
    load, chaos = Load([place.services[0]["uri"]], clients=4), Chaos(place)
    load.start()
    within(30, lambda: load.answers > 8)
    [before] = place.engines()
    chaos.strike(before, how)
    within(20, lambda: [one for one in place.engines() if one.pid != before.pid])
    answered = load.answers
    within(30, lambda: load.answers > answered + 8)
    load.stop()
    assert load.wrong == []
    assert all(kind.startswith(("APIError", "StreamInterrupted")) for kind in load.errors), load.errors
    assert sum(load.errors.values()) <= 2, "only the two streams can have been broken off"
    assert place.ghosts() == []
    assert place.states() == ["Done"]


def test_services_come_back_with_a_killed_server(place: Place) -> None:
    """kill -9: the next server brings the engine up by itself, and it says what it said."""
    before, files = said(place), place.files()
    for engine in place.engines():
        engine.suspend()  # it cannot see that its server is gone
    place.kill_server()
    within(60, lambda: Service.get(place.services[0]["id"])["result"]["engines"]["state"] == "up")
    assert place.states() == ["Done"]
    assert said(place) == before
    assert place.ghosts() == []
    assert place.files() == files


def test_a_deployment_is_finished_by_the_next_server(place: Place) -> None:
    """Killed right after the request was acknowledged: the service is Done, and there is one of it."""
    detail = place.services[0]
    made = Service.create(detail["modelId"], detail["iterationId"], name="late", uri="late")["result"]
    place.kill_server()
    within(60, lambda: Service.get(made["serviceId"])["result"]["serviceStatus"] == "Done")
    Service.delete(made["serviceId"])
    assert len(Service.list()["result"]["custom"]) == 1
