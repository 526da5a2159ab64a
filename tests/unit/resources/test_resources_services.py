"""Models that only the account's list of services names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from answering import PREFIX, documented
from loopback import Answer, Loopback, Seen

from qianfan import ChatCompletion, Completion, Embedding, Service
from qianfan.errors import APIError, InvalidArgumentError
from qianfan.resources.llm.service_list import ServiceLists, read

ASK = [{"role": "user", "content": "你好"}]
LIST = "/wenxinworkshop/service/list"


def service(name: str, kind: str, endpoint: str) -> dict[str, Any]:
    url = f"https://aip.baidubce.com{PREFIX}/{kind}/{endpoint}"
    return {"serviceId": "1", "name": name, "url": url, "apiType": kind, "chargeStatus": "OPENED"}


class Console:
    """Answers the list from `rows`, and models as documented; paths in `gone` do not exist any more."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.gone: set[str] = set()

    def __call__(self, seen: Seen) -> Answer:
        if seen.path == LIST:
            return Answer({"log_id": "1", "result": {"common": self.rows, "custom": []}})
        if seen.path.removeprefix(PREFIX) in self.gone:
            return Answer({"error_code": 3, "error_msg": "Unsupported openapi method"})
        return documented(seen)


@pytest.fixture
def iam(server: Loopback, settings: Any) -> Iterator[Any]:
    """Settings with IAM keys alone, which no other test has."""
    settings.AK = settings.SK = None
    settings.ACCESS_KEY = f"access-{server.port}"
    return settings


def asked(client: Any, is_async: bool, *args: Any, **kwargs: Any) -> Any:
    return asyncio.run(client.ado(*args, **kwargs)) if is_async else client.do(*args, **kwargs)


def paths(server: Loopback) -> list[str]:
    return [seen.path.removeprefix(PREFIX) for seen in server.seen]


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
def test_a_name_that_no_table_has_is_looked_up_once(server: Loopback, iam: Any, is_async: bool) -> None:
    """One signed question for the list, then calls alone; known names ask for nothing."""
    server.always = Console(service("My-Model", "chat", "my%20ep"), service("Emb", "embeddings", "e1"))
    asked(ChatCompletion(), is_async, ASK)
    assert paths(server) == ["/chat/eb-instant"]
    assert asked(ChatCompletion(), is_async, ASK, model="My-Model")["result"] == "你好, world"
    asked(ChatCompletion(model="my-model"), is_async, ASK)
    asked(Embedding(), is_async, ["a"], model="Emb")
    assert paths(server)[1:] == [LIST, "/chat/my%20ep", "/chat/my%20ep", "/embeddings/e1"]
    assert all(seen.headers["authorization"].startswith("bce-auth-v1/") for seen in server.seen)


@both
def test_a_completion_is_sent_as_the_kind_of_its_service_wants(
    server: Loopback, iam: Any, is_async: bool
) -> None:
    """A chat service gets one turn, a completion service the prompt."""
    server.always = Console(service("talks", "chat", "t"), service("writes", "completions", "w"))
    asked(Completion(), is_async, "你好", model="talks")
    asked(Completion(), is_async, "你好", model="writes")
    _, talks, writes = server.seen
    assert (talks.json["messages"], "prompt" in talks.json) == (ASK, False)
    assert (writes.json["prompt"], "messages" in writes.json) == ("你好", False)


@both
def test_a_service_that_moved_is_looked_up_anew_once(server: Loopback, iam: Any, is_async: bool) -> None:
    """Code 3 asks for a fresh list and one more try; then the error stands."""
    server.always = console = Console(service("m", "chat", "old"))
    asked(ChatCompletion(), is_async, ASK, model="m")
    console.gone.add("/chat/old")
    console.rows = [service("m", "chat", "new")]
    asked(ChatCompletion(), is_async, ASK, model="m")
    console.gone.add("/chat/new")
    with pytest.raises(APIError):
        asked(ChatCompletion(), is_async, ASK, model="m")
    assert paths(server)[:5] == [LIST, "/chat/old", "/chat/old", LIST, "/chat/new"]
    assert len(server.seen) == 8


@both
def test_a_name_that_is_nowhere_is_an_error(server: Loopback, iam: Any, is_async: bool) -> None:
    """The list is asked, the model is not; the text names presets and services."""
    server.always = Console(service("mine", "chat", "m"))
    with pytest.raises(InvalidArgumentError, match=r"no preset model 'none'.*ERNIE-Bot.*mine"):
        asked(ChatCompletion(), is_async, ASK, model="none")
    assert paths(server) == [LIST]


def test_of_services_with_one_name_the_newest_that_answers_is_asked() -> None:
    """The list has the newest first; your own come before those of the platform, also when they are stopped."""

    def own(name: str, endpoint: str, status: str) -> dict[str, Any]:
        return {**service(name, "chat", endpoint), "versionList": [{"serviceStatus": status}]}

    custom = [
        own("Bot", "deploying", "Deploying"),
        own("bot", "newest", "Done"),
        own("bot", "oldest", "Done"),
        own("away", "mine", "Stopped"),
    ]
    common = [service("bot", "chat", "preset"), service("away", "chat", "preset")]
    found = read({"result": {"common": common, "custom": custom}})["chat"]
    assert found == {"bot": ("bot", "/chat/newest"), "away": ("away", "/chat/mine")}


def test_with_an_api_key_pair_no_list_is_asked(server: Loopback, settings: Any) -> None:
    """The table alone counts, as it always did."""
    with pytest.raises(InvalidArgumentError):
        ChatCompletion().do(ASK, model="none")
    assert server.seen == []


def test_the_list_is_kept_for_the_interval_of_the_settings(server: Loopback, iam: Any) -> None:
    """And then asked for again."""
    server.always = Console(service("m", "chat", "e"))
    now = [100.0]
    lists = ServiceLists(clock=lambda: now[0])
    keys = (iam.ACCESS_KEY, iam.SECRET_KEY)
    first = lists.get(*keys)
    now[0] += 599
    assert lists.get(*keys) is first
    now[0] += 1
    assert lists.get(*keys) is not first
    iam.INFER_RESOURCE_REFRESH_INTERVAL = 0
    lists.get(*keys)
    assert len(server.seen) == 3


def test_names_of_the_account_are_models_too(server: Loopback, iam: Any, caplog: Any) -> None:
    """With IAM keys alone; without an answer, only the presets, and the log says why."""
    server.always = Console(service("m", "chat", "e"), service("c", "completions", "e"))
    assert "m" in ChatCompletion.models()
    assert {"m", "c"} <= Completion.models()
    assert Embedding.models() == {"Embedding-V1", "bge-large-en", "bge-large-zh", "tao-8k"}
    assert paths(server) == [LIST]
    iam.ACCESS_KEY += "-other"
    server.always = Answer({"error_code": 1, "error_msg": "no"})
    assert "m" not in ChatCompletion.models()
    assert "list of services" in caplog.text


def test_a_list_is_read_as_other_clients_read_it() -> None:
    """Your own services win, addresses may be short, and what cannot be read is left out."""
    common = [service("A", "chat", "one"), {"name": "B", "url": "two", "apiType": "chat"}, {"name": "C"}, {}]
    assert read({"result": {"common": common, "custom": [service("a", "chat", "mine")]}}) == {
        "chat": {"a": ("a", "/chat/mine"), "b": ("B", "/chat/two")}
    }
    assert read({"result": {"common": None}}) == read({}) == {}


def test_the_list_itself_can_be_asked_for(server: Loopback, settings: Any) -> None:
    """The console method and its filter."""
    Service.list(api_type_filter=["chat"])
    assert (server.seen[0].path, server.seen[0].json) == (LIST, {"apiTypefilter": ["chat"]})


def test_many_callers_ask_for_the_list_once(server: Loopback, iam: Any) -> None:
    """Threads and tasks alike wait for the one question that is under way."""
    server.always = Console(service("m", "chat", "e"))
    chat = ChatCompletion(model="m")
    assert [answer.code for answer in chat.batch_do([ASK] * 20).results()] == [200] * 20
    iam.ACCESS_KEY += "-other"
    answers = asyncio.run(ChatCompletion(model="m").abatch_do([ASK] * 20))
    assert [answer.code for answer in answers] == [200] * 20
    assert paths(server).count(LIST) == 2
