"""Signatures: what published clients sent, and what any request must keep."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.contract import signing

AK, SK = "ALTAKexampleAccessKey0001", "0123456789abcdef0123456789abcdef"
UNIX = 1704164645
STAMP = "2024-01-02T03:04:05Z"
MODEL_API = "/rpc/2.0/ai_custom/v1/wenxinworkshop"
CONSOLE = {
    "Content-Type": "application/json",
    "Host": "qianfan.baidubce.com",
    "request-source": "qianfan_py_sdk_v0.3.0",
    "x-bce-date": STAMP,
}
INFERENCE = {
    "Content-Type": "application/json",
    "Host": "aip.baidubce.com",
    "Request_id": "sdk-py-0.3.0-0000000000000000",
    "x-bce-date": STAMP,
}

# name, method, path, query, headers, expiry, signature, names in the order of the client
VECTORS = [
    ("console, V1", "POST", "/wenxinworkshop/service/detail", {}, CONSOLE, 300,
     "6456ca761ca135dd91c73cd292ead1422f85c1d79ad26c608ef90ac7671b8013", "host;content-type;x-bce-date;request-source"),
    ("console, V2 action", "POST", "/v2/finetuning", {"Action": "CreateFineTuningJob"}, CONSOLE, 300,
     "40a7e3d268d598c8dda9e7aabe5239a09c04bd784953dac9682e53202b1be399", "host;content-type;x-bce-date;request-source"),
    ("inference", "POST", f"{MODEL_API}/chat/eb-instant", {}, INFERENCE, 300,
     "d10a5523806fe1ca974aa0353dfdafca95e24053ae5adf34c67145fd99376e82", "host;content-type;x-bce-date;request_id"),
    ("a query that needs encoding", "POST", f"{MODEL_API}/chat/completions",
     {"备注": "中 文/&=+~*()'!", "b": "", "A": "Z"}, INFERENCE, 300,
     "ede5904d0ebcbb980330b87a66f800a7b954494d46815e78f70afeb951a89ee4", "host;content-type;x-bce-date;request_id"),
    ("a path that is not ASCII", "POST", f"{MODEL_API}/chat/我的 服务", {}, INFERENCE, 300,
     "aa29596838093589f2bfa6ef108281cacc1c3165c0bc128a535906b17ee87999", "host;content-type;x-bce-date;request_id"),
    ("a host with a port", "POST", f"{MODEL_API}/embeddings/embedding-v1", {},
     {**INFERENCE, "Host": "127.0.0.1:8866"}, 300,
     "c3d1bcab502e2b75d207f9ad9df617b93a2f9283677329acdcf7001eee2cc40f", "host;content-type;x-bce-date;request_id"),
    ("empty and padded header values", "POST", f"{MODEL_API}/chat/eb-instant", {},
     {**INFERENCE, "Request_id": "r/1 a", "X-Empty": "", "X-Pad": "  v  "}, 300,
     "52f673ec29679f32faac57879506d372318157dd922193abaed6ea619b76f9b8",
     "x-bce-date;request_id;content-type;x-empty;host;x-pad"),
    ("a life of 1800 seconds", "POST", "/wenxinworkshop/finetune/jobDetail", {},
     {**CONSOLE, "Host": "127.0.0.1:8866"}, 1800,
     "27943e03c55f3802c805c37708f0a8a172761a6403c7b738b8f90c87a5e0779e", "host;content-type;x-bce-date;request-source"),
    ("a console query that is not ASCII", "POST", "/v2/dataset",
     {"Action": "DescribeDatasets", "keyword": "数据 集"}, CONSOLE, 1800,
     "aea22f38dc84896b353cb26719f38613c658bf1f3ea7138b29543232ce541f30", "host;content-type;x-bce-date;request-source"),
    ("bearer token", "GET", "/v1/BCE-BEARER/token", {"expireInSeconds": "43200"},
     {**CONSOLE, "Host": "iam.bj.baidubce.com"}, 300,
     "cb89e8ac64cb8a910f1e973c72691d9b28315550d9c43258c7a42b0aef09ddc4", "host;content-type;x-bce-date;request-source"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "expiry_s", "signature", "names"),
    [vector[1:] for vector in VECTORS],
    ids=[vector[0] for vector in VECTORS],
)
def test_a_request_is_signed_as_the_python_clients_sign_it(
    method: str, path: str, query: dict, headers: dict, expiry_s: int, signature: str, names: str
) -> None:
    """Known requests give known signatures, and these verify whatever the order of the signed names."""
    made = signing.sign(
        AK, SK, method=method, path=path, query=query, headers=headers, unix=UNIX, expiry_s=expiry_s
    )
    assert made.rsplit("/", 1)[1] == signature
    theirs = f"bce-auth-v1/{AK}/{STAMP}/{expiry_s}/{names}/{signature}"
    for authorization in (made, theirs):
        assert (
            signing.verify(
                authorization,
                {AK: SK}.get,
                method=method,
                raw_path=quote(path, safe="/-._~"),
                query=query.items(),
                headers={name.lower(): value for name, value in headers.items()},
                unix=UNIX + 10,
            )
            == AK
        )


MY_ENDPOINT = f"{MODEL_API}/chat/%E6%88%91%E7%9A%84%20ep"
JSON_TYPE = {"content-type": "application/json"}

# client, method, path on the wire, query, received headers, Authorization
CAPTURED = [
    ("Go, inference", "POST", f"{MODEL_API}/chat/ernie-lite-8k-dyn", {},
     {**JSON_TYPE, "host": "127.0.0.1:18082", "x-bce-date": "2026-11-21T09:15:30Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:15:30Z/300/content-type;host;x-bce-date/"
     "988f4f386956bd5f736b55dfc3972dc20fc49fe9a38d99dc17e09c5b7d487af5"),
    ("Go, an endpoint that is not ASCII", "POST", MY_ENDPOINT, {},
     {**JSON_TYPE, "host": "127.0.0.1:18082", "x-bce-date": "2026-11-21T09:15:30Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:15:30Z/300/content-type;host;x-bce-date/"
     "9e836ccc99591497c8db5791acdf185c4312e529df890a3ff9aac68419eaabc1"),
    ("Go, bearer token", "GET", "/v1/BCE-BEARER/token", {"expireInSeconds": "3600"},
     {**JSON_TYPE, "host": "127.0.0.1:18082", "x-bce-date": "2026-11-21T09:15:30Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:15:30Z/300/content-type;host;x-bce-date/"
     "5b0a76909a74d7ddac137cb5c0a5cf08cf74a97ceb7ea2a8d147cc466bf299fe"),
    ("Java, inference", "POST", f"{MODEL_API}/chat/ernie-lite-8k", {},
     {"host": "127.0.0.1:18083", "x-bce-date": "2026-11-21T09:16:53Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:16:53Z/1800/host;x-bce-date/"
     "e0212408ed151623398df5afa1d682467215ffd5ee0f7cdbf84289c2dfc7b2eb"),
    ("JavaScript, an endpoint that is not ASCII", "POST", MY_ENDPOINT, {},
     {**JSON_TYPE, "content-length": "111", "host": "127.0.0.1:18081", "x-bce-date": "2026-11-21T09:11:40Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:11:40Z/1800/content-length;content-type;host;x-bce-date/"
     "6d21c9777a7c0c639cb88ed03906f5ef8386920b00f64a713e5564356397bf95"),
    ("JavaScript, console", "POST", "/wenxinworkshop/service/list", {},
     {**JSON_TYPE, "content-length": "26", "host": "127.0.0.1:18081", "x-bce-date": "2026-11-21T09:11:39Z"},
     "bce-auth-v1/ALTAKx/2026-11-21T09:11:39Z/1800/content-length;content-type;host;x-bce-date/"
     "eaa979adcb6acd61ac0e430368548a5dd2b95db49d8049cdb18ad42662172f2d"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "raw_path", "query", "headers", "authorization"),
    [capture[1:] for capture in CAPTURED],
    ids=[capture[0] for capture in CAPTURED],
)
def test_what_other_clients_sent_verifies(
    method: str, raw_path: str, query: dict, headers: dict, authorization: str
) -> None:
    """Requests recorded from the Go, Java and JavaScript clients are accepted, and only with the right key."""

    def check(secret: str) -> str:
        return signing.verify(
            authorization,
            lambda _: secret,
            method=method,
            raw_path=raw_path,
            query=query.items(),
            headers=headers,
            unix=datetime.fromisoformat(headers["x-bce-date"].replace("Z", "+00:00")).timestamp() + 5,
        )

    assert check("secret") == "ALTAKx"
    with pytest.raises(signing.SignatureError) as refused:
        check("another")
    assert refused.value.reason == "mismatch"


text = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
token = st.text(st.sampled_from("abcXYZ019-._~"), min_size=1, max_size=20)
header_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@st.composite
def requests(draw: st.DrawFn) -> dict:
    segments = draw(st.lists(text.filter(lambda s: s not in (".", "..")), max_size=4))
    headers = draw(st.dictionaries(token.map(lambda name: f"x-{name}".lower()), header_values, max_size=4))
    return {
        "method": draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"])),
        "path": "/" + "/".join(segments),
        "query": draw(st.dictionaries(text, text, max_size=4)),
        "headers": {**headers, "host": draw(st.sampled_from(["a.example", "127.0.0.1:8866", "[::1]:80"]))},
    }


@given(
    request=requests(),
    access_key=token,
    secret_key=text,
    life=st.integers(1, signing.LONGEST_S),
    late=st.floats(0, 1),
)
def test_whatever_is_signed_verifies(
    request: dict, access_key: str, secret_key: str, life: int, late: float
) -> None:
    """verify(sign(r)) is r's access key, for any method, path, query and headers, until its life ends."""
    made = signing.sign(access_key, secret_key, **request, unix=UNIX, expiry_s=life)
    received = {
        "method": request["method"],
        "raw_path": quote(request["path"], safe="/-._~"),
        "query": list(request["query"].items()),
        "headers": request["headers"],
    }
    assert (
        signing.verify(made, {access_key: secret_key}.get, **received, unix=UNIX + life * late) == access_key
    )
    with pytest.raises(signing.SignatureError) as expired:
        signing.verify(made, {access_key: secret_key}.get, **received, unix=UNIX + life + 1)
    assert expired.value.reason == "expired"
    with pytest.raises(signing.SignatureError) as changed:
        signing.verify(
            made,
            {access_key: secret_key}.get,
            **{**received, "query": [*received["query"], ("more", "1")]},
            unix=UNIX,
        )
    assert changed.value.reason == "mismatch"
