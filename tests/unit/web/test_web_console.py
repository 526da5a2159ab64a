"""Routes, envelopes, errors, bodies and repeated writes, through a real server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, NotRequired

import orjson
import pytest
from annotated_types import Gt
from sqlalchemy import text
from typing_extensions import TypedDict

from qianfan.contract import routes
from qianfan.contract.errors import NO_PERMISSION, TASK_NOT_FOUND, Fault
from qianfan.contract.routes import Family, Route
from qianfan_platform.web import Call, Router, Source, Visit, build_console
from qianfan_platform.web.access import GATHER_S, masked_query
from qianfan_platform.web.exchange import Exchange

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a91c2e8d64b05"


class TrainConfig(TypedDict):
    epoch: NotRequired[Annotated[int, Gt(0)]]
    peftType: NotRequired[str]


class CreateTask(TypedDict):
    name: str
    description: NotRequired[str]
    trainConfig: NotRequired[TrainConfig]
    taskId: NotRequired[int | str]


class Someone:
    """Account 7."""

    owner, app, kind = 7, "3", "iam"


async def let_in(exchange: Exchange, family: Family) -> Someone:
    if b"deny" in exchange.query:
        raise Fault(NO_PERMISSION)
    return Someone()


class Room:
    """A room with one route of each family; it counts what it did."""

    def __init__(self) -> None:
        self.done = 0
        self.pause: asyncio.Event | None = None
        self.router = router = Router(aliases={"pefttype": "peftType"})

        @router.v1(routes.FINETUNE_CREATE_TASK, CreateTask)
        async def create_task(call: Call) -> dict[str, Any]:
            """Make a task."""
            self.done += 1
            number = self.done
            if self.pause is not None:
                await self.pause.wait()
            if call.body["name"] == "forbidden":
                raise Fault(NO_PERMISSION, "this name is not allowed")
            source = [call.source.language, list(call.source.version)]
            return {
                "number": number,
                "body": call.body,
                "source": source,
                "base": call.base_url,
                "owner": call.owner,
            }

        @router.v2(routes.FINETUNE_V2_CREATE_JOB, CreateTask, strict=True)
        async def create_job(call: Call) -> dict[str, Any]:
            return {"jobId": "job-1", "action": call.query["Action"]}

        @router.v2(routes.FINETUNE_V2_TASK_DETAIL, write=False)
        async def task(call: Call) -> None:
            raise Fault(TASK_NOT_FOUND, "task 7 does not exist")

        @router.v1(routes.DATASET_INFO)
        async def info(call: Call) -> Any:
            return await failing(call)

        @router.v1(routes.PROMPT_INFO, write=False)
        async def prompt(call: Call) -> Any:
            return await failing(call)

        async def failing(call: Call) -> Any:
            if call.body.get("crash") == "full":
                await call.tx.session.execute(text("PRAGMA max_page_count=1"))  # as if the disk ended here
                await call.tx.session.execute(
                    text("CREATE TABLE more AS SELECT randomblob(1000000) AS bytes")
                )
            if call.body.get("crash"):
                raise RuntimeError(f"the secret is {CANARY}")
            if call.body.get("id") == 1:
                return {"id": 1}
            raise Fault(TASK_NOT_FOUND, "it does not exist", "look again")

        @router.raw(routes.FILE_UPLOAD.path)
        async def upload(visit: Visit) -> dict[str, Any]:
            size = 0
            async for chunk in visit.request.stream():
                size += len(chunk)
            return {"size": size, "name": visit.query["name"], "owner": visit.owner}


@pytest.fixture
async def room() -> Room:
    return Room()


@pytest.fixture
async def client(room: Room, small_store: Any, serve: Any) -> AsyncIterator[Any]:
    app = build_console([room.router], store=small_store, authenticate=let_in, platform=None)
    async with serve(app) as client:
        yield client


TASK = routes.FINETUNE_CREATE_TASK.path


async def test_each_family_has_its_own_envelope(client: Any) -> None:
    """A success is wrapped as the clients of its family read it, ids as texts."""
    v1 = await client.ask(TASK, {"name": "a"})
    assert v1.status == 200
    assert v1.json.keys() == {"log_id", "result"}
    assert v1.json["log_id"] == v1.headers["x-baidu-request-id"]
    data = await client.ask(routes.DATASET_INFO.path, {"id": 1})
    assert {**data.json, "log_id": ""} == {"log_id": "", "result": {"id": 1}, "status": 200, "success": True}
    v2 = await client.ask("/v2/finetuning?Action=CreateFineTuningJob", {"name": "a"})
    assert v2.json.keys() == {"requestId", "result"}
    assert v2.json["result"] == {"jobId": "job-1", "action": "CreateFineTuningJob"}


async def test_each_family_has_its_own_error(client: Any) -> None:
    """V1 errors come with HTTP 200, V2 errors with their own status."""
    v1 = await client.ask(TASK, {"name": "forbidden"})
    assert v1.status == 200
    assert v1.json.pop("log_id")
    assert v1.json["error_code"] == 6
    assert v1.json["error_msg"].startswith("this name is not allowed. ")
    data = await client.ask(routes.DATASET_INFO.path, {"id": 2})
    assert data.status == 200
    assert {**data.json, "log_id": ""} == {
        "log_id": "", "status": 400, "success": False, "code": 510202,
        "message": "it does not exist. look again", "result": None,
    }  # fmt: skip
    prompt = await client.ask(routes.PROMPT_INFO.path, {"id": 2})
    assert prompt.json["message"] == {"global": "it does not exist. look again"}
    v2 = await client.ask("/v2/finetuning?Action=DescribeFineTuningTask", {})
    assert v2.status == 404
    assert (v2.json["code"], v2.json.keys()) == ("NoSuchResource", {"requestId", "code", "message"})


async def test_an_unexpected_exception_leaks_nothing_but_its_request_id(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets code 500000 and the id under which the log has the traceback."""
    answer = await client.ask(routes.DATASET_INFO.path, {"crash": True}, Request_id="req-123")
    assert answer.json["code"] == 500000
    assert CANARY.encode() not in answer.raw
    assert answer.headers["x-baidu-request-id"] == "req-123"
    crash = next(record for record in caplog.records if record.exc_info)
    assert "req-123" in crash.getMessage()


async def test_a_full_disk_is_told_in_a_word(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What the database cannot write is no riddle: neither to the caller nor, in one line, to the operator."""
    answer = await client.ask(routes.DATASET_INFO.path, {"crash": "full"}, Request_id="req-124")
    assert answer.json["code"] == 500000
    assert b"the disk of the platform is full" in answer.raw
    (line,) = [
        record
        for record in caplog.records
        if "req-124" in record.getMessage() and record.levelname == "ERROR"
    ]
    assert not line.exc_info


async def test_an_unknown_action_names_those_that_exist(client: Any) -> None:
    """A wrong `Action` is HTTP 400 with the list of the right ones."""
    for query in ("?Action=Nonsense", "", "?Action="):
        answer = await client.ask(f"/v2/finetuning{query}", {})
        assert answer.status == 400
        assert answer.json["code"] == "InappropriateJSON"
        assert "CreateFineTuningJob" in answer.json["message"]


async def test_a_route_that_is_not_built_says_so(client: Any) -> None:
    """Every documented route answers in its family's shape; none is a 404."""
    documented = [route for route in vars(routes).values() if isinstance(route, Route)]
    built = {TASK, routes.DATASET_INFO.path, routes.PROMPT_INFO.path, routes.FILE_UPLOAD.path}
    assert len(documented) > 60
    for route in documented:
        if route.path in built or route.action in ("CreateFineTuningJob", "DescribeFineTuningTask"):
            continue
        query = f"?Action={route.action}" if route.action else ""
        answer = await client.ask(route.path + query, {}, method=route.method)
        assert answer.status == (501 if route.family in ("v2", "openai", "token") else 200), route
        assert b"is not built yet" in answer.raw
        assert route.path.encode() in answer.raw


async def test_an_unknown_path_is_answered_in_the_shape_its_clients_read(client: Any) -> None:
    """Code 3 with HTTP 200 below the inference prefix, a V2 error elsewhere."""
    inference = await client.ask(f"{routes.INFERENCE_PREFIX}/chat/nothing", {})
    assert (inference.status, inference.json["error_code"]) == (200, 3)
    other = await client.ask("/v2/nothing?Action=X", {})
    assert (other.status, other.json["code"]) == (404, "NoSuchResource")
    wrong_method = await client.ask(TASK, method="GET")
    assert wrong_method.json["error_code"] == 336101


async def test_bodies_lose_secrets_nulls_and_unknown_members(client: Any) -> None:
    """What clients leak or send as null never reaches a handler; other spellings become the right one."""
    answer = await client.ask(
        TASK,
        {
            "name": "a", "ak": CANARY, "SK": CANARY, "description": None, "zzz": 1,
            "trainConfig": {"pefttype": "LoRA", "epoch": "3", "nothing": None},
        },
    )  # fmt: skip
    assert answer.json["result"]["body"] == {
        "name": "a",
        "trainConfig": {"peftType": "LoRA", "epoch": 3},
    }
    assert CANARY.encode() not in answer.raw


async def test_an_invalid_member_is_named_without_its_value(client: Any) -> None:
    """The message has the form `param[trainConfig.epoch] invalid: …`."""
    answer = await client.ask(TASK, {"trainConfig": {"epoch": CANARY}})
    assert answer.json["error_code"] == 500001
    assert "param[name] invalid: it is required" in answer.json["error_msg"]
    assert "param[trainConfig.epoch] invalid: " in answer.json["error_msg"]
    assert CANARY.encode() not in answer.raw
    strict = await client.ask("/v2/finetuning?Action=CreateFineTuningJob", {"name": "a", "nmae": 1})
    assert strict.status == 400
    assert "param[nmae] invalid: this route knows no such member" in strict.json["message"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[1]", "not an object"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1e999}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"name": "a\\u0000b"}', "the character NUL"),
        (b'{"name": "a", "taskId": 18446744073709551615}', "does not fit 64 bits"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nests deeper"),
        (b'{"a": "' + b"x" * (8 * 1024 * 1024) + b'"}', "larger than"),
    ],
)
async def test_a_hostile_body_is_refused_with_words(client: Any, raw: bytes, why: str) -> None:
    """Broken, deep and huge bodies are parameter errors, not crashes."""
    answer = await client.ask(TASK, raw)
    assert answer.json["error_code"] == 500001
    assert why in answer.json["error_msg"]


@pytest.mark.parametrize("raw", [b"", b"null", b" "])
async def test_no_body_counts_as_an_empty_object(client: Any, raw: bytes) -> None:
    """Go sends `null`, JavaScript nothing."""
    answer = await client.ask(routes.DATASET_INFO.path, raw)
    assert answer.json["code"] == 510202


async def test_a_raw_route_streams_and_is_wrapped(client: Any) -> None:
    """An upload larger than the JSON cap arrives whole."""
    answer = await client.ask("/v2/files?name=a.jsonl", b"x" * (9 * 1024 * 1024))
    assert answer.json["result"] == {"size": 9 * 1024 * 1024, "name": "a.jsonl", "owner": 7}
    denied = await client.ask("/v2/files?name=a&deny=1", b"x")
    assert (denied.status, denied.json["code"]) == (403, "access_denied")


async def test_the_same_key_does_a_write_once(room: Room, both_stores: Any, serve: Any) -> None:
    """The second answer is the first again; another body or account is another matter; a failure is forgotten."""
    app = build_console([room.router], store=both_stores, authenticate=let_in, platform=None)
    async with serve(app) as client:
        first = await client.ask(TASK, {"name": "a", "ak": "1"}, Idempotency__Key="k1")
        again = await client.ask(TASK, {"name": "a", "ak": "2"}, Idempotency__Key="k1")
        assert again.json["result"] == first.json["result"]
        assert again.headers["idempotency-replayed"] == "true"
        assert room.done == 1
        other = await client.ask(TASK, {"name": "b"}, Idempotency__Key="k1")
        assert other.json["error_code"] == 500004
        assert "another body" in other.json["error_msg"]
        for done in (2, 3):
            await client.ask(TASK, {"name": "forbidden"}, Idempotency__Key="k2")
            assert room.done == done
        too_long = await client.ask(TASK, {"name": "a"}, Idempotency__Key="k" * 256)
        assert too_long.json["error_code"] == 500001


async def test_two_requests_with_one_key_at_the_same_time_get_one_answer(
    room: Room, both_stores: Any, serve: Any
) -> None:
    """The loser of the race waits, then finds the winner's answer."""
    app = build_console([room.router], store=both_stores, authenticate=let_in, platform=None)
    room.pause = asyncio.Event()
    async with serve(app) as client:
        asked = [asyncio.create_task(client.ask(TASK, {"name": "a"}, Idempotency__Key="k")) for _ in range(4)]
        await asyncio.sleep(0.3)
        room.pause.set()
        answers = await asyncio.gather(*asked)
    assert [answer.json["result"] for answer in answers] == [answers[0].json["result"]] * 4
    assert room.done == 1


async def test_source_and_base_url_are_what_the_client_says(client: Any) -> None:
    """The header `request-source` tells language and version; the base URL is made of the Host header."""
    answer = await client.ask(
        TASK, {"name": "a"}, request__source="qianfan_py_sdk_v0.3.0", Host="api.example:81"
    )
    assert answer.json["result"]["source"] == ["python", [0, 3, 0]]
    assert answer.json["result"]["base"] == "http://api.example:81"
    body = await client.ask(
        TASK, {"name": "a", "extra_parameters": {"request_source": "qianfan_go_sdk_v0.0.15"}}, Host="a b/<c>"
    )
    assert body.json["result"]["source"] == ["go", [0, 0, 15]]
    assert body.json["result"]["base"] == f"http://127.0.0.1:{client.port}"
    assert Source.parse("curl/8") == Source("", ())


async def test_the_access_log_has_one_json_line_without_secrets(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Request id, route, owner, status and time are there; query values that may be secret are not."""
    caplog.set_level(logging.INFO)
    answer = await client.ask(
        f"/v2/finetuning?Action=CreateFineTuningJob&access_token={CANARY}&client_secret={CANARY}",
        {"name": "a", "sk": CANARY},
        Authorization=f"Bearer {CANARY}",
    )
    await asyncio.sleep(GATHER_S + 0.1)
    lines = [record.getMessage() for record in caplog.records if record.name == "qianfan_platform.access"]
    assert len(lines) == 1
    line = orjson.loads(lines[0])
    assert line["request_id"] == answer.headers["x-baidu-request-id"]
    assert line["route"] == "/v2/finetuning?Action=CreateFineTuningJob"
    assert (line["owner"], line["status"]) == (7, 200)
    assert line["ms"] > 0
    assert CANARY not in caplog.text


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "a\tb", "<script>", ""])
async def test_a_strange_request_id_is_replaced(client: Any, sent: str) -> None:
    """Only short plain ids are taken over."""
    answer = await client.ask(TASK, {"name": "a"}, Request_id=sent)
    assert answer.headers["x-baidu-request-id"] not in ("", sent)


async def test_openapi_lists_routes_actions_and_raw_paths(client: Any) -> None:
    """Each action is an operation with the schema of its body."""
    document = (await client.ask("/openapi.json", method="GET")).json
    job = document["paths"]["/v2/finetuning?Action=CreateFineTuningJob"]["post"]
    schema = job["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["name"]
    assert document["components"]["schemas"]["TrainConfig"]["properties"].keys() == {"epoch", "peftType"}
    assert document["paths"][TASK]["post"]["summary"] == "Make a task."
    assert routes.FILE_UPLOAD.path in document["paths"]


def test_registering_a_route_twice_or_in_the_wrong_family_is_refused() -> None:
    """A slip in a room is found when it is imported."""
    router = Router()

    async def handler(call: Call) -> None:
        return None

    router.v1(routes.FINETUNE_STOP_JOB)(handler)
    with pytest.raises(ValueError, match="twice"):
        router.v1(routes.FINETUNE_STOP_JOB)
    with pytest.raises(ValueError, match="register it with v2"):
        router.v1(routes.FINETUNE_V2_STOP_TASK)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"Action=X&access_token=abc", "Action=X&access_token=***"),
        (b"sig=%2F&after=3", "sig=***&after=3"),
        (b"", ""),
    ],
)
def test_query_values_are_hidden_unless_known_to_be_harmless(query: bytes, shown: str) -> None:
    """What is not on the list may be a secret."""
    assert masked_query(query) == shown
