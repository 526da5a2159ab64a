"""Rows that are asked of a model that does not answer."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

from qianfan.dataset import Dataset
from qianfan.dataset.asking import OUTPUT, Manner, aask_all, ask_all
from qianfan.errors import APIError, InvalidArgumentError
from qianfan.utils.logging import logger

ROWS = [[{"prompt": f"question {number}", "response": [["yes"]]}] for number in range(6)]


class Silent:
    """Refuses every question, each with a request id of its own."""

    def __init__(self) -> None:
        self.count = itertools.count()

    def do(self, messages: object) -> object:
        raise APIError(3, "no service answers", f"request-{next(self.count)}")

    async def ado(self, messages: object) -> object:
        raise InvalidArgumentError("there is no preset model 'tny'")


@pytest.mark.parametrize("way", ["threads", "asyncio"])
def test_one_reason_is_told_once_and_counted(
    way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a line a question; the rows are all there, without answers."""
    monkeypatch.setattr(logger, "propagate", True)
    manner = Manner.of(Dataset.create_from_pyobj(ROWS), {"worker_num": 1}, is_chat=True, latency=False)
    with caplog.at_level(logging.WARNING):
        if way == "threads":
            rows = ask_all(ROWS, Silent(), manner)
        else:
            rows = asyncio.run(aask_all(ROWS, Silent(), manner))
    assert [row[OUTPUT] for row in rows] == [""] * 6
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "a question has no answer",
        "6 of 6 questions have no answer",
    ]
