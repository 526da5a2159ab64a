"""The V1 interface on the wire: paths, shapes, frames, headers, errors."""

from __future__ import annotations

import base64
import re
import struct
import time
import zlib
from typing import Any

import pytest

from tests.contract.echoing import Answer, Raw

HI = [{"role": "user", "content": "one two three"}]
WEATHER = {"name": "weather", "description": "of a city", "parameters": {"type": "object", "properties": {}}}


def png(width: int = 20, height: int = 20) -> str:
    """A small grey PNG file in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * width) * height))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")).decode()


def code(answer: Answer) -> int:
    assert answer.status == 200  # published clients read nothing else
    assert answer.headers["content-type"].startswith("application/json")
    assert b"\n" not in answer.raw.strip()  # one line, also when a stream was asked for
    return int(answer.json["error_code"])


def test_a_chat_has_the_documented_members(raw: Raw) -> None:
    """Each with its type; the counts add up."""
    answer = raw.v1("chat/eb-instant", {"messages": HI})
    body = answer.json
    assert re.fullmatch(r"as-[a-z0-9]{10}", body["id"])
    assert abs(body.pop("created") - time.time()) < 60
    assert body == {
        "id": body["id"], "object": "chat.completion", "result": "one two three", "is_truncated": False,
        "need_clear_history": False, "finish_reason": "normal",
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    }  # fmt: skip
    assert answer.headers["X-Qianfan-Served-By"] == "scripted; stand-in"
    assert answer.headers["x-baidu-request-id"]


def test_an_honest_name_says_no_stand_in(raw: Raw) -> None:
    """The catalogue's own names are what they say."""
    assert raw.v1("chat/scripted", {"messages": HI}).headers["X-Qianfan-Served-By"] == "scripted"


def test_a_stream_is_what_published_clients_read(raw: Raw) -> None:
    """`data: ` and one line, one blank line, no end mark; numbers count up, the last has is_end."""
    answer = raw.v1("chat/eb-instant", {"messages": HI, "stream": True})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.raw.endswith(b"}\n\n")
    frames = answer.raw.split(b"\n\n")[:-1]
    assert all(frame.startswith(b'data: {"id":"as-') and b"\n" not in frame for frame in frames)
    found = answer.events
    assert [one["result"] for one in found] == ["one", " two", " three", ""]
    assert [one["sentence_id"] for one in found] == [0, 1, 2, 3]
    assert [one["is_end"] for one in found] == [False, False, False, True]
    assert [one["usage"]["completion_tokens"] for one in found] == [1, 2, 3, 3]
    assert found[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert found[-1]["finish_reason"] == "normal"
    assert len({one["id"] for one in found}) == 1


def test_an_answer_that_is_cut_says_so(raw: Raw) -> None:
    """is_truncated is what lets clients go on by themselves."""
    body = {"messages": HI, "max_output_tokens": 2}
    whole = raw.v1("chat/eb-instant", body).json
    assert (whole["result"], whole["is_truncated"], whole["finish_reason"]) == ("one two", True, "length")
    last = raw.v1("chat/eb-instant", {**body, "stream": True}).events[-1]
    assert (last["is_truncated"], last["finish_reason"]) == (True, "length")


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_asked_for_and_its_result_answered(raw: Raw, stream: bool) -> None:
    """The two halves of a call of a function."""
    asked: list[dict[str, Any]] = [{"role": "user", "content": "weather?"}]
    body = {"messages": asked, "functions": [WEATHER], "stream": stream}
    answer = raw.v1("chat/completions", body)
    first = answer.events[-1] if stream else answer.json
    assert first["finish_reason"] == "function_call"
    assert first["result"] == ""
    call = first["function_call"]
    assert call == {"name": "weather", "thoughts": "", "arguments": '{"city": "北京"}'}
    asked += [
        {"role": "assistant", "content": "", "function_call": call},
        {"role": "function", "name": "weather", "content": "20 degrees"},
    ]
    again = raw.v1("chat/completions", {**body, "messages": asked})
    said = "".join(one["result"] for one in again.events) if stream else again.json["result"]
    assert said == "20 degrees"


def test_a_completion_has_its_own_members(raw: Raw) -> None:
    """`is_safe` as a number, whole and in pieces."""
    body = raw.v1("completions/codellama_7b_instruct", {"prompt": "a b"}).json
    assert {name: body[name] for name in ("object", "result", "is_safe")} == {
        "object": "completion", "result": "a b", "is_safe": 1,
    }  # fmt: skip
    frames = raw.v1("completions/codellama_7b_instruct", {"prompt": "a b", "stream": True}).events
    assert [one["result"] for one in frames] == ["a", " b", ""]
    assert {one["object"] for one in frames} == {"completion"}
    assert frames[-1]["is_safe"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "chat/completions_pro", "chat/completions-pro", "chat/ERNIE-3.5-8K-0205", "chat/ernie_speed/",
        "chat/ernie-speed", "chat/ernie-lite-8k", "chat/completions_preemptible", "chat/eb_turbo_pro",
        "chat/sqlcoder_7b", "chat/Llama-2-70B-chat",
    ],
)  # fmt: skip
def test_every_spelling_of_the_published_clients_answers(raw: Raw, path: str) -> None:
    """Hyphens, capitals, a slash at the end, endpoints that only one client knows."""
    assert raw.v1(path, {"messages": HI}).json["result"] == "one two three"


@pytest.mark.parametrize(
    "path", ["completions/eb-instant", "completions/completions-pro", "completions/scripted"]
)
def test_a_chat_model_completes_prompts_too(raw: Raw, path: str) -> None:
    """Whoever knows only its endpoint may use either path."""
    assert raw.v1(path, {"prompt": "hi"}).json["object"] == "completion"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/no_such_service", {"messages": HI}),
        ("chat/embedding-v1", {"messages": HI}),
        ("embeddings/eb-instant", {"input": ["a"]}),
        ("reranker/embedding-v1", {"query": "a", "documents": ["a"]}),
        ("text2image/eb-instant", {"prompt": "a"}),
        ("audio/whisper", {}),
        ("chat", {"messages": HI}),
        ("", {}),
    ],
)
def test_an_endpoint_under_the_wrong_path_is_unknown(raw: Raw, path: str, body: Any) -> None:
    """Code 3, as the cloud answers it; whether a stream is asked for or not."""
    assert code(raw.v1(path, body)) == 3
    assert code(raw.v1(path, {**body, "stream": True})) == 3


def test_another_method_is_refused_in_the_v1_shape(raw: Raw) -> None:
    """Code 336101 with HTTP 200."""
    for method in ("GET", "PUT", "DELETE"):
        assert code(raw.v1("chat/eb-instant", method=method)) == 336101


def test_embeddings_have_one_vector_for_each_text(raw: Raw) -> None:
    """In the order of the texts."""
    body = raw.v1("embeddings/embedding-v1", {"input": ["a b", "c", "a b"], "stream": False}).json
    assert body["object"] == "embedding_list"
    assert [one["index"] for one in body["data"]] == [0, 1, 2]
    assert body["data"][0]["embedding"] == body["data"][2]["embedding"] != body["data"][1]["embedding"]
    assert body["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


def test_documents_come_back_in_the_order_of_relevance(raw: Raw) -> None:
    """Cut to top_n; `index` is where each stood."""
    asked = {"query": "red apple", "documents": ["blue sky", "red apple", "red sky"], "top_n": 2}
    body = raw.v1("reranker/bce_reranker_base", asked).json
    assert body["object"] == "reranker_list"
    assert [one["index"] for one in body["results"]] == [1, 2]
    assert body["results"][0]["document"] == "red apple"
    assert body["results"][0]["relevance_score"] > body["results"][1]["relevance_score"]


def test_images_are_made(raw: Raw) -> None:
    """As many as asked for, of the size asked for, numbered from 1."""
    body = raw.v1("text2image/sd_xl", {"prompt": "a cat", "n": 2, "size": "768x768", "seed": 7}).json
    assert body["object"] == "image"
    assert [one["index"] for one in body["data"]] == [1, 2]
    image = base64.b64decode(body["data"][0]["b64_image"])
    assert image.startswith(b"\x89PNG")
    assert struct.unpack(">II", image[16:24]) == (768, 768)


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"size": "9x9"}, 336201),
        ({"sampler_index": "?"}, 336202),
        ({"n": 9}, 336003),
        ({"prompt": ""}, 336003),
    ],
)
def test_an_image_that_cannot_be_is_refused(raw: Raw, member: dict[str, Any], expected: int) -> None:
    """With the codes of the image service."""
    assert code(raw.v1("text2image/sd_xl", {"prompt": "a cat", **member})) == expected


@pytest.mark.parametrize("stream", [False, True])
def test_an_image_is_read(raw: Raw, stream: bool) -> None:
    """A question about it, answered as a chat that is safe."""
    answer = raw.v1("image2text/fuyu_8b", {"prompt": "what is it?", "image": png(), "stream": stream})
    body = answer.events[-1] if stream else answer.json
    assert body["object"] == "chat.completion"
    assert body["is_safe"] == 1
    assert ("what is it?" in answer.raw.decode()) is not stream


def test_tokens_are_counted_by_the_engine(raw: Raw) -> None:
    """The echo engine counts words; a model may be named by name or endpoint."""
    for model in ("ERNIE-Bot", "ernie-3.5-8k", "eb-instant", None):
        body = raw.v1("tokenizer/erniebot", {"prompt": "one two", "model": model}).json
        assert body["object"] == "tokenizer.erniebot"
        assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert code(raw.v1("tokenizer/erniebot", {"prompt": "one", "model": "no such"})) == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"not json", 336002),
        (b"[1]", 336002),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 336002),
        ({"messages": HI, "stream": "yes"}, 336003),
        ({"messages": [*HI, *HI]}, 336006),
        ({"messages": [{"role": "user", "content": "x" * 20_000}]}, 336007),
        ({"messages": [{"role": "user", "content": "x " * 5_000}]}, 336103),
        ({"messages": HI, "system": 1}, 336104),
        ({"messages": HI, "user_setting": 1}, 336105),
        ({"messages": [*HI, {"role": "assistant", "content": "", "function_call": {"name": ""}}, *HI]}, 336003),
    ],
)  # fmt: skip
def test_errors_have_their_documented_codes(raw: Raw, body: Any, expected: int) -> None:
    """On one line with an id."""
    answer = raw.v1("chat/eb-instant", body)
    assert code(answer) == expected
    assert answer.json["id"].startswith("as-")
    assert set(answer.json) == {"error_code", "error_msg", "id"}


def test_unknown_members_are_ignored(raw: Raw) -> None:
    """Published clients leak all kinds of them."""
    body = {
        "messages": HI, "headers": {}, "endpoint": "", "model": "X", "request_id": "r", "ak": "a", "sk": "s",
        "extra_parameters": {"request_source": "qianfan_py_sdk_v0.3.0"}, "user_id": 7, "enable_trace": True,
    }  # fmt: skip
    assert raw.v1("chat/eb-instant", body).json["result"] == "one two three"


def test_what_only_the_cloud_has_is_named_as_ignored(raw: Raw) -> None:
    """The chat goes on without; a header says what is missing from it."""
    body = {
        "messages": HI,
        "enable_citation": True,
        "disable_search": True,
        "tools": [{"type": "web_search"}],
    }
    answer = raw.v1("chat/eb-instant", body)
    assert answer.json["result"] == "one two three"
    assert answer.headers["X-Qianfan-Ignored"] == "enable_citation, web_search"
    assert "X-Qianfan-Ignored" not in raw.v1("chat/eb-instant", {"messages": HI}).headers


def test_limits_are_told_in_the_spelling_that_clients_look_for(raw: Raw) -> None:
    """Whole and streamed, and in the error as well."""

    def limit(**limits: int | None) -> None:
        path = f"/v2/account?Action=SetLimits&access_token={raw.token}"
        assert "result" in raw.request("POST", path, limits).json

    limit(requestsPerMinute=3, tokensPerMinute=100_000)
    try:
        for stream in (False, True):
            headers = raw.v1("chat/eb-instant", {"messages": HI, "stream": stream}).headers
            assert headers["X-Ratelimit-Limit-Requests"] == "3"
            assert headers["X-Ratelimit-Limit-Tokens"] == "100000"
        codes = [raw.v1("chat/eb-instant", {"messages": HI}).json.get("error_code") for _ in range(5)]
        assert codes[-1] in (18, 336501)
    finally:
        limit(requestsPerMinute=0, tokensPerMinute=0)


def test_the_list_of_services_leads_published_clients_here(raw: Raw) -> None:
    """Each name with a URL on this very address, whose end is `/<type>/<endpoint>`."""
    answer = raw.request(
        "POST", f"/wenxinworkshop/service/list?access_token={raw.token}", {"apiTypefilter": ["chat"]}
    )
    result = answer.json["result"]
    assert isinstance(answer.json["log_id"], str)
    assert result["custom"] == []
    rows = {row["name"]: row for row in result["common"]}
    lite = rows["ERNIE-Lite-8K"]
    assert lite["serviceId"].isdigit()
    assert lite["url"].startswith(raw.running.base_url)
    assert lite["url"].endswith("/wenxinworkshop/chat/ernie-lite-8k")
    assert {row["apiType"] for row in rows.values()} == {"chat"}
    every = raw.request("POST", f"/wenxinworkshop/service/list?access_token={raw.token}", {}).json["result"]
    kinds = {row["apiType"] for row in every["common"]}
    assert kinds == {"chat", "completions", "embeddings", "reranker", "text2image", "image2text"}
    same = next(row for row in every["common"] if row["name"] == "ERNIE-Lite-8K" and row["apiType"] == "chat")
    assert same["serviceId"] == lite["serviceId"]


def test_what_the_list_names_answers(raw: Raw) -> None:
    """Every URL of it, for one kind."""
    listed = raw.request(
        "POST", f"/wenxinworkshop/service/list?access_token={raw.token}", {"apiTypefilter": ["image2text"]}
    )
    rows = listed.json["result"]["common"]
    assert {"scripted", "Fuyu-8B"} <= {row["name"] for row in rows}
    for row in rows:
        path = row["url"].removeprefix(raw.running.base_url)
        answer = raw.request("POST", f"{path}?access_token={raw.token}", {"prompt": "what", "image": png()})
        assert answer.json["result"] == "what", row


def test_usage_is_metered_also_when_the_reader_leaves(raw: Raw) -> None:
    """Tokens that were sent count; what the reader did not wait for is not made."""
    raw.leave_after(5, "chat/slow", {"messages": [{"role": "user", "content": "word " * 400}]})
    deadline = time.monotonic() + 10
    while not (used := usage_of(raw, "slow")).get("cut") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert used["cut"] == 1
    assert 5 <= used["completionTokens"] < 60
    assert used["promptTokens"] > 0


def usage_of(raw: Raw, model: str) -> dict[str, Any]:
    answer = raw.request("POST", f"/v2/account?Action=DescribeUsage&access_token={raw.token}", {})
    return next((row for row in answer.json["result"]["usage"] if row["model"] == model), {})
