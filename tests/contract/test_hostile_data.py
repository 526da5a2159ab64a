"""Hostile data at the door of a real platform, over HTTP. Each row of hostile input, and the tests that hold it:

row | input                                         | by functions                               | over HTTP, here
--- | --------------------------------------------- | ------------------------------------------ | ----------------
 1  | addresses and names of metadata               | files/test_files_fetch, test_hostile_urls  | sources
 2  | other spellings of loopback                   | files/test_files_fetch, test_hostile_urls  | sources
 3  | names that change their meaning               | files/test_files_fetch, test_hostile_urls  | –
 4  | redirects                                     | files/test_files_fetch, test_hostile_urls  | servers
 5  | other schemes, files and buckets of others    | files/test_hostile_urls, test_objects      | sources
 6  | URLs that are read two ways                   | files/test_files_fetch, test_hostile_urls  | sources
 7  | servers that are endless, slow, or lie        | files/test_files_fetch, test_hostile_urls  | servers
 8  | bombs                                         | files/test_files_archives, test_hostile_archives | archives
 9  | paths that lead out, links, devices           | files/test_files_archives, test_hostile_archives | archives
10  | members in masses, names that clash           | files/test_files_archives, test_hostile_archives | archives
11  | packed twice, zstd                            | files/test_hostile_archives                | archives, bodies
12  | damage and lies                               | files/test_files_archives, test_hostile_archives | archives
13  | lines, encodings, half characters             | dataset/test_hostile_rows                  | rows
14  | depth, numbers, doubled members               | dataset/test_hostile_rows                  | rows, bodies
15  | members in masses                             | dataset/test_hostile_rows                  | bodies
16  | formulas, quotes, columns                     | dataset/test_hostile_rows                  | rows
17  | mixed types                                   | dataset/test_hostile_rows                  | rows
18  | roles                                         | dataset/test_hostile_rows                  | rows
27  | chat templates                                | engines/test_hostile_templates             | –
28  | tokenizers                                    | engines/test_hostile_templates             | –
31  | traversal in ids, names and paths             | files/test_files_store                     | ids and names

Rows 32 to 36 and 40 to 43 are in test_hostile_gateway, 44 to 48 in test_hostile_inference."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from qianfan.contract import routes
from qianfan.contract.routes import Route
from qianfan_platform.accounts import operations
from qianfan_platform.accounts.vault import Vault, key_file
from qianfan_platform.store import Store

from .served import Answer, Served, serving, within

GOOD = b'[{"prompt": "a", "response": [["b"]]}]\n'
SECOND = 1.0  # what a case may take beside the machine's own pace
_answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """A server that the platform may fetch from; it answers as `_answers` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                _answers[self.path.split("?")[0]](self)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            return None

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@dataclass(frozen=True)
class Door:
    """The platform, asked as any client would."""

    server: Served
    elsewhere: str

    def v1(self, route: Route, body: Any) -> Answer:
        return self.server.ask(route.path, body, headers=self.server.signature("POST", route.path, {}))

    def upload(self, content: bytes, name: str = "rows.jsonl", **headers: str) -> Answer:
        signed = self.server.signature("POST", "/v2/files", {"name": name})
        return self.server.ask(
            f"/v2/files?{urlencode({'name': name}, quote_via=quote)}", content, headers={**signed, **headers}
        )

    def dataset(self, template: int = 2000, **more: Any) -> str:
        body = {
            "name": "hostile",
            "dataType": 4,
            "projectType": template // 100,
            "templateType": template,
            "versionId": 1,
            **more,
        }
        return str(self.v1(routes.DATASET_CREATE, body).json["result"]["datasetId"])

    def import_from(
        self, path: str | list[str], source: int, template: int = 2000, **more: Any
    ) -> dict[str, Any]:
        """What became of an import: the answer when it was refused at once, else the version at its end."""
        ident = self.dataset(template)
        files = [path] if isinstance(path, str) else path
        begun = self.v1(
            routes.DATASET_IMPORT,
            {"datasetId": ident, "annotated": True, "importFrom": source, "files": files, **more},
        )
        if not begun.json.get("success"):
            return {"refused": message(begun)}

        def look() -> Any:
            info = self.v1(routes.DATASET_INFO, {"datasetId": ident}).json["result"]["versionInfo"]
            return info if info["importStatus"] != 1 else None

        return dict(within(30, look))

    def import_of(
        self, content: bytes, name: str = "rows.jsonl", template: int = 2000, **more: Any
    ) -> dict[str, Any]:
        path = self.upload(content, name).json["result"]["path"]
        return self.import_from(path, 1, template, **more)

    def healthy(self) -> bool:
        return self.server.ask("/health", method="GET").status == 200


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, elsewhere: str) -> Iterator[Door]:
    with serving(tmp_path_factory.mktemp("hostile-data"), "--allow-fetch", elsewhere) as server:
        yield Door(server, elsewhere)


@pytest.fixture(autouse=True)
def still_whole(door: Door) -> Iterator[None]:
    """Whatever was sent, the platform answers, and nothing stays in its work folder."""
    yield
    assert door.healthy()
    work = door.server.data / "work"
    assert not [path for path in work.glob("*") if path.name.startswith("import")] if work.exists() else True


def message(answer: Answer) -> str:
    """What an error of the console says; it is an error of the caller, never one of ours."""
    said = answer.json
    assert answer.status in (200, 400, 404, 413), said
    assert not said.get("success"), said
    code, text = said.get("code"), str(said.get("message"))
    assert code not in (None, 0, 500000, 336000), said
    assert "internal" not in text.lower()
    return text


def refused(found: dict[str, Any], *words: str) -> str:
    """An import that came to nothing, with its reason; returns the reason."""
    if "refused" in found:
        text = str(found["refused"])
    else:
        assert (found["importStatus"], found["entityCount"]) == (3, 0), found
        text = json.dumps(found["importErrorInfo"], ensure_ascii=False)
    assert any(word in text for word in words), text
    return text


# ── sources: rows 1, 2, 5, 6 ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
          ("http://2130706433/", "loopback"), ("http://[::ffff:127.0.0.1]/", "loopback"),
         ("http://[::1%25lo]/", "host or port"), ("http://１２７.0.0.1/", "loopback"), ("file:///etc/passwd", "only http"),
         ("bos:/../../etc/passwd", "http"), ("s3://other/x", "http"), ("http://u:pass-word-9@x/", "user name"),
        ("http:///#/../etc", "fragment"), ("http://x\\@y/", "backslash"), ("http://x/\r\nHost: y", "control"), ("/etc/passwd", "only http"), ("", ""),
    ],
)  # fmt: skip
def test_rows_1_2_5_6_an_address_inside_is_not_fetched(door: Door, url: str, why: str) -> None:
    """The import is Failed, or refused at the call, with the rule; nothing of a credential is repeated."""
    text = refused(door.import_from(url, 2), why)
    assert "pass-word-9" not in text
    assert "root:" not in text


@pytest.mark.parametrize(
    "path",
    [
        "bos:/../secret", "bos:/local/../../etc/passwd", "bos:/local/file-00000000000000000000", "bos:/other-tenant/rows.jsonl", "s3://other-tenant/rows.jsonl",
        "bos:/local/", "/etc/passwd", "bos:/local/credentials.json", "local/file-aaaaaaaaaaaaaaaaaaaa/../x", "bos://local/x", "file:///etc/passwd", "bos:/local/%2e%2e/x",
    ],
)  # fmt: skip
def test_row_5_a_path_that_is_no_own_file_is_refused(door: Door, path: str) -> None:
    """Files of nobody, of others, outside of everything: one kind of answer, and no content."""
    text = refused(
        door.import_from(path, 1), "does not exist", "object store", "no path", "connected", "bucket"
    )
    assert "root:" not in text


def test_row_5_a_file_or_a_dataset_of_another_account_is_not_there(door: Door) -> None:
    """Their ids answer like ids that were never given, word for word."""

    async def second() -> operations.Credentials:
        store = await Store.open(f"sqlite:///{door.server.data / 'platform.db'}")
        try:
            async with store.transaction() as tx:
                return await operations.create_account(
                    tx, "b", vault=Vault.open(key_file(door.server.data, {}))
                )
        finally:
            await store.close()

    given = asyncio.run(second())
    keys = {name: getattr(given, name) for name in ("ak", "sk", "access_key", "secret_key")}
    other = Door(replace(door.server, keys=keys, _token=""), door.elsewhere)
    path = door.upload(GOOD).json["result"]["path"]
    nobodys = "bos:/local/file-" + "0" * 20
    assert refused(other.import_from(path, 1), "does not exist").replace(path[11:], "") == refused(
        other.import_from(nobodys, 1), "does not exist"
    ).replace(nobodys[11:], "")
    mine = door.dataset()
    assert message(other.v1(routes.DATASET_INFO, {"datasetId": mine})).replace(mine, "") == message(
        other.v1(routes.DATASET_INFO, {"datasetId": "ds-" + "0" * (len(mine) - 3)})
    ).replace("ds-" + "0" * (len(mine) - 3), "")
    assert other.import_from(other.upload(GOOD).json["result"]["path"], 1)["entityCount"] == 1


# ── servers: rows 4 and 7 ────────────────────────────────────────────────────────────────────────


def said(head: bytes, body: bytes = b"") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 " + head + b"\r\n\r\n" + body)
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said(b"302 Found\r\nLocation: http://127.0.0.1:9/x"), "loopback"), (said(b"302 Found\r\nLocation: file:///etc/passwd"), "only http"),
        (said(b"302 Found\r\nLocation: /x"), "more than 5 redirects"), (said(b"302 Found\r\nLocation: gopher://x/"), "only http"),
        (said(b"200 OK\r\nContent-Length: 99999999999999"), "larger than"), (said(b"200 OK\r\nContent-Length: 100", GOOD), "less than it announced"),
        (said(b"200 OK\r\nContent-Encoding: gzip", gzip.compress(GOOD)), "compressed"), (said(b"500 Oh"), "HTTP 500"), (said(b"\0"), "connection failed"),
        (said(b"200 OK", b"<html>not found</html>"), "JSON"),
    ],
    ids=["inside", "file", "loop", "gopher", "huge", "short", "encoded", "broken", "noise", "page"],
)  # fmt: skip
def test_rows_4_and_7_a_server_that_lies_fails_the_import_with_the_reason(
    door: Door, answer: Callable[[BaseHTTPRequestHandler], None], why: str
) -> None:
    """Each hop is judged, each length compared; the job says what happened."""
    _answers["/x"] = answer
    text = refused(door.import_from(f"http://{door.elsewhere}/x?signature=canary-77", 2), why)
    assert "canary-77" not in text


def test_a_server_that_tells_the_truth_is_fetched_from(door: Door) -> None:
    """The gate is no wall."""
    _answers["/good"] = said(b"200 OK", GOOD)
    assert door.import_from(f"http://{door.elsewhere}/good", 2)["entityCount"] == 1


# ── archives: rows 8 to 12 ───────────────────────────────────────────────────────────────────────


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(*infos: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def linked(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("rows.jsonl")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


WHOLE = zipped({"a.jsonl": GOOD * 100, "b.jsonl": GOOD * 100})
ARCHIVES: dict[str, tuple[bytes, str]] = {
    "8 bomb": (zipped({"rows.jsonl": bytes(64 * 2**20)}), "200 times"),
    "8 nested": (zipped({"rows.zip": zipped({"rows.jsonl": GOOD})}), "archive"),
    "9 out": (zipped({"good.jsonl": GOOD, "../rows.jsonl": GOOD}), "unsafe path"),
    "9 link": (tarred(linked(tarfile.SYMTYPE)), "link"),
    "10 case": (zipped({"rows.jsonl": GOOD, "ROWS.jsonl": GOOD}), "two members"),
    "11 twice": (gzip.compress(gzip.compress(GOOD)), "packed twice"),
    "11 zstd": (b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(50), "zstd"),
    "12 torn": (WHOLE[:200] + b"\xff" * 40 + WHOLE[240:], "damaged"),
    "12 encrypted": (
        WHOLE.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "encrypted",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_rows_8_to_12_an_archive_that_is_none_brings_no_row(door: Door, name: str) -> None:
    """Refused whole with the reason, though other members were good."""
    raw, why = ARCHIVES[name]
    refused(door.import_of(raw, "data.zip"), why)


def test_an_archive_that_is_one_is_taken(door: Door) -> None:
    """Both members, all rows."""
    assert door.import_of(WHOLE, "data.zip")["entityCount"] == 200


# ── rows: 13, 14, 16, 17, 18 ─────────────────────────────────────────────────────────────────────

PLAIN = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
LINES: dict[str, tuple[bytes, str]] = {
    "13 half a character": (b'[{"prompt": "\\ud83d", "response": [["x"]]}]', "not valid JSON"),
    "13 no UTF-8": (b'[{"prompt": "\xff\xfa\x81", "response": [["x"]]}]', "UTF-8"),
    "13 NUL": (b"\0\0\0", "not valid JSON"),
    "14 depth": (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
    "14 1e999": (b'[{"prompt": 1e999, "response": [["x"]]}]', "not valid JSON"),
    "14 NaN": (b'[{"prompt": NaN, "response": [["x"]]}]', "not valid JSON"),
    "14 digits": (b'[{"prompt": ' + b"9" * 100_000 + b"}]", "not valid JSON"),
    "14 deep": (b'[{"prompt": ' + b"[" * 1000 + b"]" * 1000 + b"}]", "fix"),
    "14 twice": (b'[{"prompt": "a", "prompt": "b", "response": [["x"]]}]', "'prompt' twice"),
    "17 number": (b'[{"prompt": 7, "response": [["x"]]}]', "prompt is a number"),
    "18 roles": (json.dumps({"messages": PLAIN["messages"][::-1]}).encode(), "assistant comes first"),
    "18 system last": (
        json.dumps({"messages": [*PLAIN["messages"], {"role": "system", "content": "x"}]}).encode(),
        "system message is last",
    ),
    "18 tool": (
        json.dumps({"messages": [PLAIN["messages"][0], {"role": "tool", "content": "1"}]}).encode(),
        "without a call",
    ),
    "18 empty": (
        json.dumps({"messages": [PLAIN["messages"][0], {"role": "assistant", "content": ""}]}).encode(),
        "empty",
    ),
}


def test_rows_13_to_18_bad_lines_are_named_each_and_the_good_ones_may_be_taken(door: Door) -> None:
    """By default nothing is taken; with a share allowed the others are. Each bad line has number, reason and fix."""
    raw = b"".join(GOOD + line + b"\n" for line, _ in LINES.values())
    refused(door.import_of(raw), "not valid JSON")
    taken = door.import_of(raw, badShare=0.5)
    assert (taken["importStatus"], taken["entityCount"]) == (2, len(LINES)), taken["importErrorInfo"]
    detail = door.v1(routes.DATASET_IMPORT_ERROR_DETAIL, {"datasetId": taken["datasetId"]}).json["result"][
        "content"
    ]
    told = {problem["line"]: problem for problem in detail}
    assert sorted(told) == [2 * number for number in range(1, len(LINES) + 1)]
    for number, (name, (_, why)) in enumerate(LINES.items(), 1):
        assert why in f"{told[2 * number]['what']} fix", (name, told[2 * number])
        assert told[2 * number]["fix"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_row_13_other_encodings_are_read(door: Door, encoding: str) -> None:
    """With its mark, or by what its characters are."""
    text = '[{"prompt": "你好，世界", "response": [["今天的天气很好"]]}]'
    found = door.import_of(text.encode(encoding))
    assert (found["importStatus"], found["entityCount"]) == (2, 1), found["importErrorInfo"]


def test_row_16_columns_without_number_are_refused(door: Door) -> None:
    """By the header, with the limit."""
    header = b",".join(b"%d" % number for number in range(200_000))
    refused(door.import_of(header + b"\n" + b"," * 199_999 + b"\n", "wide.csv"), "columns")


def test_row_17_texts_and_parts_of_texts_in_one_file_are_taken_and_reported(door: Door) -> None:
    """Both records; what was read in another form is in progressDetail."""
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, PLAIN["messages"][1]]}
    found = door.import_of(json.dumps(PLAIN).encode() + b"\n" + json.dumps(parts).encode())
    assert (found["importStatus"], found["entityCount"]) == (2, 2), found["importErrorInfo"]
    assert found["progressDetail"]["import"]["notes"]


# ── bodies: rows 11, 14, 15 ──────────────────────────────────────────────────────────────────────

BODIES: dict[str, bytes] = {
    "14 depth": b'{"datasetId": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "14 half depth": b'{"datasetId": ' + b"[" * 900 + b"]" * 900 + b"}",
    "14 open": b'{"datasetId": ' + b"[" * 100_000,
    "14 1e999": b'{"datasetId": 1e999}',
    "14 NaN": b'{"datasetId": NaN}',
    "14 digits": b'{"datasetId": ' + b"9" * 100_000 + b"}",
    "14 20 digits": b'{"datasetId": 99999999999999999999}',
    "14 400 digits": b'{"datasetId": 1' + b"0" * 300 + b"}",
    "14 twice": b'{"datasetId": "ds-1", "datasetId": "ds-2"}',
    "14 twice inside": b'{"datasetId": "ds-1", "x": {"a": 1, "a": 2}}',
    "14 NUL": b'{"datasetId": "ds-\\u0000"}',
    "14 half a character": b'{"datasetId": "\\ud83d"}',
    "14 no object": b'["datasetId"]',
    "15 colliding": b"{" + b",".join(b'"%d":1' % ((2**61 - 1) * n) for n in range(1, 20_000)) + b"}",
    "15 members": b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}",
}


@pytest.mark.parametrize("name", BODIES)
def test_rows_14_and_15_a_body_that_nobody_can_mean_is_refused_in_words(door: Door, name: str) -> None:
    """The same on every console route: an error of the caller, never of ours, and soon."""
    for route in (routes.DATASET_INFO, routes.DATASET_IMPORT):
        started = time.monotonic()
        answer = door.v1(route, BODIES[name])
        assert time.monotonic() - started < 5 * SECOND
        assert message(answer)
    chat = door.server.chat(BODIES[name].replace(b'"datasetId"', b'"messages"'))
    assert chat.json["error_code"] in (336002, 336003, 336006, 336103), chat.json


@pytest.mark.parametrize("coding", ["gzip", "zstd", "br", "deflate", "gzip, gzip"])
def test_row_11_a_body_that_is_packed_is_not_unpacked(door: Door, coding: str) -> None:
    """Whatever it is packed with; also an upload."""
    body = gzip.compress(gzip.compress(b'{"datasetId": 1}'))
    signed = door.server.signature("POST", routes.DATASET_INFO.path, {})
    answer = door.server.ask(routes.DATASET_INFO.path, body, headers={**signed, "Content-Encoding": coding})
    assert "compressed" in message(answer)


# ── ids and names: row 31 ────────────────────────────────────────────────────────────────────────

TRAVERSALS = (
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "ds-../x", "....//x", "ds-abc\0def", "ds-\u202egnp", "C:\\x", "file-" + "a" * 20,
    "ds-' OR 1=1 --", "%00", "ds-" + "a" * 5000, "１", "-1", "0", " 1", "1e3", "",
)  # fmt: skip


@pytest.mark.parametrize("ident", TRAVERSALS)
@pytest.mark.parametrize(
    "route",
    [routes.DATASET_INFO, routes.DATASET_DELETE, routes.DATASET_EXPORT_RECORD, routes.DATASET_RELEASE],
)
def test_row_31_an_id_is_no_path(door: Door, route: Route, ident: str) -> None:
    """Unknown, like any id that was never given."""
    answer = door.v1(route, {"datasetId": ident})
    assert "root:" not in message(answer)


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fcredentials.json", "../credentials.json", "file-..%2f..%2fx", "%2e%2e/credentials.json", "file-" + "a" * 20, "incoming", "%00", "file-" + "a" * 20 + ".json"],
)  # fmt: skip
def test_row_31_a_download_is_of_a_file_that_was_given(door: Door, path: str) -> None:
    """403 or 404 for everything else, whatever it spells."""
    for query in ("", "?until=99999999999&mark=x", "?until=" + "9" * 5000 + "&mark=x", "?until=²&mark=x"):
        answer = door.server.ask(f"/v2/files/{path}{quote(query, safe='?=&')}", method="GET")
        assert answer.status in (400, 403, 404), (query, answer.status, answer.body)
        assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "name",
    ["../../x.jsonl", "/etc/cron.d/x", "C:\\x.jsonl", "x\r\nX-Evil: 1", "\u202elnosj.x", "x\0.jsonl", "a" * 5000, "", ".", "..", "=cmd|x", '";x="', "<script>.jsonl"],
)  # fmt: skip
def test_row_31_a_name_of_a_file_is_shown_and_nothing_else(door: Door, name: str) -> None:
    """Kept under an id of ours, read by what is in it; nothing appears outside."""
    before = sorted(path.name for path in door.server.data.iterdir())
    answer = door.upload(GOOD, name, **{"Content-Disposition": 'attachment; filename="../../evil"'})
    assert answer.status == 200
    assert "X-Evil" not in answer.raw_headers
    path = answer.json["result"]["path"]
    assert path.startswith("bos:/local/file-")
    if name.startswith((".", "x", "<")):
        assert door.import_from(path, 1)["entityCount"] in (0, 1)
    assert sorted(path.name for path in door.server.data.iterdir()) == before


@pytest.mark.parametrize(
    "path", ["../../etc", "/../x", "bos:/../x/", "/local/ds-x/../../", "\\\\host\\share", "\0", "/etc"]
)
def test_row_31_a_storage_path_is_no_place_on_the_disk(door: Door, path: str) -> None:
    """Private storage needs a bucket that an operator connected; a path never leads to a folder of the machine."""
    body = {
        "name": "x",
        "dataType": 4,
        "projectType": 20,
        "templateType": 2000,
        "storageType": "usrBos",
        "storageId": "bucket",
        "storagePath": path,
    }
    assert message(door.v1(routes.DATASET_CREATE, body))
    ours = {**body, "storageType": "sysBos"}
    made = door.v1(routes.DATASET_CREATE, ours).json
    assert not made["success"] or path not in json.dumps(made["result"]["storageInfo"])


def test_row_31_what_is_exported_has_plain_names(door: Door, tmp_path: Path) -> None:
    """The archive of an export, and the header it comes with, hold no name that a caller gave."""
    path = door.upload(GOOD, "../../evil.jsonl").json["result"]["path"]
    ident = door.dataset(name="../../evil")
    door.v1(routes.DATASET_IMPORT, {"datasetId": ident, "annotated": True, "importFrom": 1, "files": [path]})
    within(
        30,
        lambda: (
            door.v1(routes.DATASET_INFO, {"datasetId": ident}).json["result"]["versionInfo"]["importStatus"]
            == 2
        ),
    )
    door.v1(
        routes.DATASET_EXPORT,
        {"datasetId": ident, "exportFormat": 0, "exportTo": 0, "exportType": 1, "storageId": "local"},
    )
    [record] = within(30, lambda: door.v1(routes.DATASET_EXPORT_RECORD, {"datasetId": ident}).json["result"])
    answer = door.server.ask(record["downloadUrl"].removeprefix(door.server.url), method="GET")
    assert answer.status == 200
    assert "evil" not in answer.headers["content-disposition"]
    assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["data.jsonl"]
