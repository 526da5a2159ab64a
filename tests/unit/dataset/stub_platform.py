"""A small platform on the loopback: it answers the console's routes with the least the SDK needs.

What a run, a version, a service or an import becomes over time is a list of words; the last one stays.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qianfan.config import get_config

POLL = {"pollAfter": 0.05}
STORAGE = {"storageId": "", "storageName": "", "storagePath": "", "rawStoragePath": "", "region": "bj"}


class StubPlatform:
    """Start it with `with`; `routes` are the calls in order, `bodies` what came with them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.uploads: list[bytes] = []
        self.takes_uploads = True
        self.keeps_logs = True
        self.refuses: set[str] = set()  # routes
        self.import_words = [1, 2]
        self.falters = 0  # so many answers are of a server in trouble
        self.release_words = [1, 2]
        self.run_words = ["RUNNING", "FINISH"]
        self.v2_words = ["Running", "Done"]
        self.version_words = ["Creating", "Ready"]
        self.service_words = ["New", "Deploying", "Done"]
        self.evaluation_words = ["Pending", "Doing", "DoingWithManualBegin"]
        self.update_words = ["Updating", ""]
        self.export_words = [1, 2]
        self.details: list[dict[str, Any]] = []  # progressDetail of each look at a run; the last one stays
        self.reason = ""
        self.train_type = "ERNIE-Bot-turbo-0725"  # of a run of V1
        self.hint: dict[str, Any] = POLL
        self.template, self.project = 2000, 20
        self.released = False
        self.rows: list[Any] = [[{"prompt": "a", "response": [["b"]]}]]
        self.jobs = 0
        self._seen: dict[str, int] = {}
        self._started: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> StubPlatform:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            # HTTP/1.0 closes each connection: one kept alive would outlive its platform, and a port is soon
            # given to the next one.
            protocol_version = "HTTP/1.0"
            timeout = 20

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with platform._lock:
                    status, answer = platform.answer(self.path, raw)
                self.reply(status, json.dumps(answer).encode(), "application/json")

            def do_GET(self) -> None:
                self.reply(200, platform.archive(), "application/zip")

            def reply(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def routes(self) -> list[str]:
        """The calls so far, by the last part of the path or the action."""
        return [name for name, _ in self.calls]

    def bodies(self, name: str) -> list[dict[str, Any]]:
        """What came with the calls of one name."""
        return [body for route, body in self.calls if route == name]

    def answer(self, target: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        name = query["Action"][0] if "Action" in query else parts.path.removeprefix("/wenxinworkshop/")
        if parts.path == "/v2/files":
            return self.take_file(query, raw)
        if parts.path.startswith("/rpc/"):
            name = "chat"
        body = json.loads(raw or b"{}")
        self.calls.append((name, body))
        handler = getattr(self, "on_" + name.replace("/", "_"), None)
        if self.falters > 0:
            self.falters -= 1
            return 200, {"error_code": 500000, "error_msg": "it starts again", "log_id": "1"}
        if name in self.refuses:
            return 200, {"error_code": 336003, "error_msg": f"{name} is refused", "log_id": "1"}
        if handler is None:
            return 200, {"error_code": 3, "error_msg": f"no route {name}", "log_id": "1"}
        result = handler(body)
        if isinstance(result, tuple):
            return result
        return 200, {"log_id": "1", "requestId": "1", "status": 200, "success": True, "result": result}

    def take_file(self, query: dict[str, list[str]], raw: bytes) -> tuple[int, dict[str, Any]]:
        self.calls.append(("files", {"name": query["name"][0]}))
        if not self.takes_uploads:
            return 404, {"requestId": "1", "code": "NoSuchResource", "message": "no such route"}
        self.uploads.append(raw)
        result = {"path": "bos:/local/file-1", "id": "file-1", "size": len(raw), "sha256": ""}
        return 200, {"requestId": "1", "result": result}

    def next(self, what: str, words: list[Any]) -> Any:
        """The next word of a list; the last one stays."""
        index = self._seen.get(what, 0)
        self._seen[what] = index + 1
        return words[min(index, len(words) - 1)]

    def archive(self) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            archive.writestr("data.jsonl", text)
        return packed.getvalue()

    def on_dataset_create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.template = body["templateType"]
        ids = {"id": 77, "groupId": 7, "groupPK": "dg-1", "datasetId": "ds-0000000000000077"}
        return {**ids, "versionId": 1, "storageInfo": STORAGE, "importStatus": -1}

    def on_dataset_import(self, body: dict[str, Any]) -> bool:
        self._started.add("import")
        return True

    def on_dataset_release(self, body: dict[str, Any]) -> bool:
        self._started.add("release")
        return True

    def on_dataset_export(self, body: dict[str, Any]) -> bool:
        self._started.add("export")
        return True

    def on_dataset_exportRecord(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"downloadUrl": f"{self.url}/download/1.zip?t=a%20b", "finishTime": "2024-01-01 00:00:00"}]

    def on_dataset_info(self, body: dict[str, Any]) -> dict[str, Any]:
        version = {
            "datasetId": 77,
            "datasetPK": "ds-0000000000000077",
            "groupId": 7,
            "versionId": 1,
            "dataType": 4,
            "projectType": self.project,
            "templateType": self.template,
            "storageType": "sysBos",
            "storage": STORAGE,
            "importStatus": self.next("import", self.import_words) if "import" in self._started else 2,
            "exportStatus": self.next("export", self.export_words) if "export" in self._started else -1,
            "releaseStatus": self.release_status(),
            "releaseErrCode": 0,
            "exportRecordCount": 0,
            "entityCount": len(self.rows),
            "modifyTime": "2024-01-01 00:00:00",
            "progressDetail": {**self.hint, "reason": self.reason},
        }
        return {"groupPK": "dg-1", "name": "stub", "versionInfo": version}

    def release_status(self) -> int:
        if self.released:
            return 2
        return self.next("release", self.release_words) if "release" in self._started else 0

    def on_finetune_createTask(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": 301, "uuid": "job-aaaaaaaaaaaa"}

    def on_finetune_createJob(self, body: dict[str, Any]) -> dict[str, Any]:
        self.jobs += 1
        self._seen.pop("run", None)
        if self.run_words in (["STOP"], ["FAIL"]):
            self.run_words = ["RUNNING", "FINISH"]
        return {"id": 400 + self.jobs, "uuid": "task-aaaaaaaaaaaa"}

    def on_finetune_stopJob(self, body: dict[str, Any]) -> bool:
        self.run_words = ["STOP"]
        return True

    def detail(self) -> dict[str, Any]:
        shown = self.next("detail", self.details) if self.details else {}
        return {**self.hint, "reason": self.reason, **shown}

    def on_finetune_jobDetail(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("run", self.run_words)
        told = {"trainType": self.train_type, "progressDetail": self.detail()}
        return {"trainStatus": word, "progress": 50, "vdlLink": "", **told}

    def on_CreateFineTuningJob(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"jobId": "job-bbbbbbbbbbbb"}

    def on_CreateFineTuningTask(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"jobId": body["jobId"], "taskId": "task-bbbbbbbbbbbb"}

    def on_DescribeFineTuningTask(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("v2run", self.v2_words)
        found = {"metrics": {"BLEU-4": "1.00%"}, "checkpointList": [{"step": 5}]} if word == "Done" else {}
        told = {"model": "ERNIE-Speed", "taskId": body["taskId"], "runStatus": word, "runProgress": "50%"}
        return {**told, **found, "vdlLink": "", "progressDetail": self.detail()}

    def on_DescribeFineTuningJobs(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"jobList": [{"jobId": "job-bbbbbbbbbbbb", "name": "mine"}], "pageInfo": {}}

    def on_DescribeFineTuningTasks(self, body: dict[str, Any]) -> dict[str, Any]:
        row = {"taskId": "task-bbbbbbbbbbbb", "jobId": body["jobId"], "jobName": "mine", "model": "tiny"}
        how = {"trainMode": "SFT", "parameterScale": "LoRA", "runStatus": "Done", "createDate": "2026-01-01"}
        return {"taskList": [{**row, **how}], "pageInfo": {}}

    def on_DeleteFineTuningTask(self, body: dict[str, Any]) -> bool:
        return True

    def on_DescribeFineTuningTaskLedger(self, body: dict[str, Any]) -> dict[str, Any]:
        first = int(body.get("marker", 1))
        rows = [{"sample": n, "what": "kept" if n < 3 else "dropped", "why": ""} for n in range(first, 4)]
        rows = [row for row in rows if body.get("what") in (None, row["what"])]
        info = {"nextMarker": str(rows[1]["sample"])} if len(rows) > 1 else {}
        return {"samples": rows[:1], "pageInfo": info}

    def on_DescribeFineTuningTaskSample(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = (("user: hi\n", False), ("hel", True), ("lo", True))
        tokens = [{"text": text, "id": n, "trained": learned} for n, (text, learned) in enumerate(texts)]
        return {"sample": body["sample"], "what": "kept", "sequences": [{"tokens": tokens}]}

    def on_StopFineTuningTask(self, body: dict[str, Any]) -> bool:
        self.v2_words = ["Stopped"]
        return True

    def on_DescribeFineTuningTaskLog(self, body: dict[str, Any]) -> Any:
        if not self.keeps_logs:
            return 400, {"requestId": "1", "code": "InappropriateJSON", "message": "unknown action"}
        lines = [{"n": n, "time": f"12:00:0{n}", "level": "INFO", "text": f"line {n}"} for n in (1, 2, 3)]
        page = [line for line in lines if line["n"] > body["after"]][:2]
        metrics = [{"kind": "step", "step": 1, "loss": 2.0}] if body["after"] == 0 else []
        following = page[-1]["n"] if page else body["after"]
        word = "Done" if body["after"] == 3 else "Running"
        told = {"lines": page, "metrics": metrics, "ledger": {"samples": 1, "kept": 1}, "runStatus": word}
        return {**told, "next": following}

    def on_modelrepo_publishTrainModel(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"modelId": 501, "modelIDStr": "am-aaaaaaaaaaaa", "versionId": 601}

    def on_modelrepo_modelDetail(self, body: dict[str, Any]) -> dict[str, Any]:
        version = {"modelVersionId": 601, "modelVersionIdStr": "amv-aaaaaaaaaaaa", "modelId": 501}
        return {"modelId": 501, "modelVersionList": [version]}

    def on_modelrepo_modelVersionDetail(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("version", self.version_words)
        ids = {"modelId": 501, "modelIdStr": "am-aaaaaaaaaaaa", "modelVersionId": 601, "modelName": "m"}
        return {**ids, "state": word, "reason": self.reason, "progressDetail": self.hint}

    def on_service_apply(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"result": True, "serviceId": 701}

    def on_service_detail(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("service", self.service_words)
        return {
            "id": 701,
            "serviceStatus": word,
            "uri": "abcd_ep",
            "reason": self.reason,
            "progressDetail": self.hint,
        }

    def on_CreateService(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"serviceId": "svco-aaaaaaaaaaaa", "instanceId": "i"}

    def on_DescribeService(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("service", ["New", "Serving"])
        told = {"runStatus": word, "url": f"{self.url}/chat/v2_ep", "progressDetail": self.hint}
        return {**told, "updateStatus": self.next("update", self.update_words), "updateReason": self.reason}

    def changed(self, body: dict[str, Any]) -> bool:
        self._seen.pop("service", None)
        return True

    on_ModifyService = on_ScaleService = on_StopService = on_StartService = on_DeleteService = changed

    def on_modelrepo_eval_create(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"evalId": 801, "evalIdStr": "ame-aaaaaaaaaaaa"}

    def on_modelrepo_eval_detail(self, body: dict[str, Any]) -> dict[str, Any]:
        word = self.next("eval", self.evaluation_words)
        conf = {"resultDatasetId": "ds-0000000000000088"}
        return {"state": word, "evalStandardConf": conf, "progressDetail": self.hint}

    def on_chat(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"id": "1", "object": "chat.completion", "result": "hello", "is_end": True, "usage": {}}


@contextmanager
def pointed_to(url: str) -> Iterator[None]:
    """Settings that point to a platform, while the block runs; polling waits for the platform's hint."""
    config = get_config()
    before = dict(config.__dict__)
    config.BASE_URL = config.CONSOLE_API_BASE_URL = url
    config.ACCESS_KEY, config.SECRET_KEY = "access-key", "secret-key"
    config.AK = config.SK = None
    config.PROGRESS = False
    config.TRAINER_STATUS_POLLING_BACKOFF_FACTOR = 0.0
    try:
        yield
    finally:
        config.__dict__.clear()
        config.__dict__.update(before)
