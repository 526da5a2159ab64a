"""Many calls at once."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from answering import documented
from loopback import Answer, Loopback, Seen

from qianfan import ChatCompletion, Completion, Embedding, Image2Text, Plugin, Reranker, Text2Image
from qianfan.errors import APIError, ArgumentNotFoundError, InvalidArgumentError


def turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def echo(seen: Seen) -> Answer:
    """Answers what was asked, the first ones last; `bad` is refused."""
    text = seen.json["messages"][-1]["content"]
    if text == "bad":
        return Answer({"error_code": 336003, "error_msg": "bad"})
    return Answer({"result": text}, wait_s=0.05 if text == "0" else 0.0)


class Counting:
    """Answers slowly, and remembers how many were asked for at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Answer:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.03)
        with self._lock:
            self.now -= 1
        return Answer({"result": "ok"})


def asked(client: Any, is_async: bool, *args: Any, **kwargs: Any) -> list[Any]:
    """Results of a batch, made in either way."""
    if is_async:
        results: list[Any] = asyncio.run(client.abatch_do(*args, **kwargs))
        return results
    return client.batch_do(*args, **kwargs).results()


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
def test_answers_come_in_order_with_errors_in_place(server: Loopback, settings: Any, is_async: bool) -> None:
    """The slow first one is still first, and the refused one is an exception among the answers."""
    server.always = echo
    got = asked(ChatCompletion(), is_async, [turn("0"), turn("bad"), turn("2")], temperature=0.5)
    assert [got[0]["result"], got[2]["result"]] == ["0", "2"]
    assert isinstance(got[1], APIError)
    assert {seen.json["temperature"] for seen in server.seen} == {0.5}
    assert len(server.seen) == 3


def test_a_batch_tells_how_far_it_is(server: Loopback, settings: Any) -> None:
    """It comes back at once; waiting, counting and iterating over futures work."""
    server.always = echo
    batch = ChatCompletion().batch_do([turn("0"), turn("bad")])
    assert (batch.task_count(), len(batch)) == (2, 2)
    assert batch.finished_count() < 2
    batch.wait()
    assert batch.finished_count() == 2
    first, second = batch
    assert first.result()["result"] == "0"
    with pytest.raises(APIError):
        second.result()
    assert batch[0] is first
    assert "2 of 2" in repr(batch)


@both
def test_no_more_than_worker_num_are_under_way(server: Loopback, settings: Any, is_async: bool) -> None:
    """Two at a time, though ten are asked."""
    server.always = counting = Counting()
    assert len(asked(ChatCompletion(), is_async, [turn("x")] * 10, worker_num=2)) == 10
    assert counting.most == 2


@both
def test_an_empty_list_is_no_call(server: Loopback, settings: Any, is_async: bool) -> None:
    """And the result is an empty list."""
    assert asked(ChatCompletion(), is_async, []) == []
    assert server.seen == []


@both
@pytest.mark.parametrize("wrong", [0, -1, True, 2.5])
def test_a_number_of_workers_below_one_is_refused(settings: Any, is_async: bool, wrong: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgumentError, match="worker_num"):
        asked(ChatCompletion(), is_async, [turn("x")], worker_num=wrong)


@both
def test_one_text_is_no_batch(settings: Any, is_async: bool) -> None:
    """It would be asked letter by letter; and nothing at all is an error, too."""
    with pytest.raises(InvalidArgumentError, match="not one text"):
        asked(Completion(), is_async, "hello")
    with pytest.raises(InvalidArgumentError, match="pair"):
        asked(Image2Text(endpoint="e"), is_async, ["what"])
    with pytest.raises(ArgumentNotFoundError):
        asked(Completion(), is_async)


@both
def test_the_limit_of_the_object_holds_over_all_of_them(
    server: Loopback, settings: Any, is_async: bool
) -> None:
    """Ten a second: four calls leave at 0, 0.1, 0.2 and 0.3 s."""
    asked(ChatCompletion(query_per_second=10, access_token="t"), is_async, [turn("x")] * 4)
    first, *_, last = sorted(seen.at for seen in server.seen)
    assert 0.27 < last - first < 0.8


@both
@pytest.mark.parametrize(
    ("client", "items", "body"),
    [
        (lambda: Completion(), ["你好"], {"messages": turn("你好")}),
        (lambda: Embedding(), [["a", "b"]], {"input": ["a", "b"]}),
        (lambda: Plugin(endpoint="e"), ["q"], {"query": "q"}),
        (lambda: Text2Image(), ["cat"], {"prompt": "cat"}),
        (lambda: Image2Text(endpoint="e"), [("what", "QUJD")], {"prompt": "what", "image": "QUJD"}),
        (lambda: Reranker(), [("q", ["a"])], {"query": "q", "documents": ["a"]}),
    ],
)
def test_every_class_takes_what_its_do_takes_first(
    client: Any, items: list[Any], body: dict, server: Loopback, settings: Any, is_async: bool
) -> None:
    """One item a call; a pair where `do` needs two."""
    server.always = documented
    (got,) = asked(client(), is_async, items)
    assert got.code == 200
    assert body.items() <= server.seen[0].json.items()


def test_older_names_of_the_list_are_taken(server: Loopback, settings: Any) -> None:
    """messages_list=, and body_list= with whole sets of keywords."""
    server.always = echo
    chat = ChatCompletion()
    assert [r["result"] for r in chat.batch_do(messages_list=[turn("1")]).results()] == ["1"]
    bodies = [{"messages": turn("2"), "top_p": 0.1}, {"messages": turn("3"), "model": "ERNIE-Bot"}]
    assert [r["result"] for r in chat.batch_do(body_list=bodies, worker_num=1).results()] == ["2", "3"]
    assert server.seen[1].json["top_p"] == 0.1
    assert server.seen[2].path.endswith("/chat/completions")


def test_streams_may_be_asked_for_in_a_batch(server: Loopback, settings: Any) -> None:
    """Each result is then a stream of its own."""
    server.always = documented
    streams = ChatCompletion().batch_do([turn("a"), turn("b")], stream=True).results()
    assert ["".join(piece["result"] for piece in stream) for stream in streams] == ["你好, world"] * 2
