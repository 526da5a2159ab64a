"""Services on V1 and V2: deployed, found, changed, scaled, stopped, started, deleted; the state is what is true."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from qianfan import embedded
from qianfan.cli.main import app
from qianfan.contract import signing
from qianfan.embedded import Embedded
from qianfan.errors import QianfanError
from qianfan.resources import Data, FineTune, Model, Service
from tests.contract.echoing import Raw
from tests.processes import family

HI = [{"role": "user", "content": "question 1"}]
FIELDS = set(
    re.findall(
        r"\w+",
        "id name description creator modelId modelName modelType templateType iterationId modelVersion version "
        "applyStatus serviceStatus sourceType onlineTime createTime modifyTime callUnitPrice devApiId apiId vmConfig "
        "timeout qps noAuthAccess hasDeploying openDcl payType",
    )
)
SERVER = "engines.llamacpp.server"


@pytest.fixture(scope="module")
def versions(platform: Embedded, dataset_id: int) -> list[tuple[str, str]]:
    """(model, version) of two LoRA runs of the tiny model that learned different things."""
    with embedded.configured(platform.environment):
        wait(lambda: Data.get_dataset_info(dataset_id)["result"]["versionInfo"]["releaseStatus"], 2)
        runs = []
        for name, epochs in (("first", 2), ("second", 4)):
            task = FineTune.create_task(name=name)["result"]["id"]
            spec = {
                "taskId": task,
                "trainType": "tiny",
                "trainMode": "SFT",
                "peftType": "LoRA",
                "trainConfig": {"epoch": epochs, "batchSize": 8, "learningRate": 5e-3},
                "trainset": [{"type": 1, "id": dataset_id}],
                "trainsetRate": 0,
            }
            runs.append((task, FineTune.create_job(spec)["result"]["id"]))
        made = [
            Model.publish(
                is_new=True, model_name=f"m{run}", version_meta={"taskId": task, "iterationId": run}
            )["result"]
            for task, run in runs
        ]
        for one in made:
            wait(lambda one=one: Model.detail(one["versionIdStr"])["result"]["state"], "Ready")
        return [(one["modelIDStr"], one["versionIdStr"]) for one in made]


def wait(look: Callable[[], Any], good: Any, seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while (value := look()) != good:
        assert time.monotonic() < until, f"{value!r} instead of {good!r}"
        assert value not in ("Failed", "Fail"), value
        time.sleep(0.05)
    return value


def state(ident: Any) -> str:
    return str(Service.get(ident)["result"]["serviceStatus"])


def deploy(version: tuple[str, str], name: str = "svc", **more: Any) -> dict[str, Any]:
    """A service that is Done, as its detail shows it."""
    made = Service.create(*version, name=name, uri="ep", **more)["result"]
    wait(lambda: state(made["serviceId"]), "Done")
    return dict(Service.get(made["serviceId"])["result"])


def ask(raw: Raw, endpoint: str, **more: Any) -> Any:
    return raw.v1(f"chat/{endpoint}", {"messages": HI, "temperature": 0.01, **more}).json


@pytest.fixture(scope="module")
def real(platform: Embedded) -> Raw:
    return Raw(platform)


@pytest.fixture(scope="module")
def service(platform: Embedded, versions: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    with embedded.configured(platform.environment):
        yield deploy(versions[0], "kept")


def test_the_detail_has_every_field(configured: Embedded, service: dict[str, Any], versions: Any) -> None:
    """As the published clients read it; the endpoint is eight random characters and what was asked for."""
    assert re.fullmatch(r"[a-z0-9]{8}_ep", service["uri"])
    assert service["fullUri"].endswith(f"/chat/{service['uri']}")
    assert service.keys() >= FIELDS
    assert service["vmConfig"]["instanceCount"] == 1
    assert (service["poolType"], service["payType"]) == (2, 3)
    assert service["engines"] == {"state": "up", "running": 1, "wanted": 1, "warning": ""}
    assert Model.detail(versions[0][1])["result"]["modelVersionIdStr"] == versions[0][1]


def test_the_list_and_the_detail_name_the_same_endpoint(
    configured: Embedded, service: dict[str, Any]
) -> None:
    """Both lists are there, whichever spelling of the filter is used."""
    for body in ({}, {"apiTypefilter": ["chat"]}, {"apiTypeFilter": ["chat"]}):
        result = Service.list(**body)["result"]
        assert result["common"]
        mine = next(row for row in result["custom"] if row["serviceId"] == str(service["id"]))
        assert mine["url"].endswith(f"/chat/{service['uri']}")
        assert mine["versionList"][0]["serviceStatus"] == "Done"
    assert Service.list(["embeddings"])["result"]["custom"] == []


def test_v2_tells_the_same_service_in_its_own_words(
    configured: Embedded, service: dict[str, Any], versions: list[tuple[str, str]]
) -> None:
    """Serving for Done; int and string ids; the last segments of the url are type and endpoint."""
    for ident in (service["id"], service["serviceUuid"]):
        told = Service.V2.describe_service(ident)["result"]
        assert (told["runStatus"], told["serviceId"]) == ("Serving", service["serviceUuid"])
        assert (told["modelSetId"], told["modelId"]) == versions[0]
        assert told["url"].split("/")[-2:] == ["chat", service["uri"]]
        assert told["resourceConfig"]["replicasCount"] == 1


def test_v2_lists_in_pages_and_by_filters(configured: Embedded, service: dict[str, Any]) -> None:
    """Markers lead through all; filters keep those that match."""
    found, marker = [], None
    while True:
        page = Service.V2.describe_services(marker=marker, max_keys=1)["result"]
        found += [row["serviceId"] for row in page["serviceList"]]
        marker = page["pageInfo"].get("nextMarker")
        assert page["pageInfo"]["isTruncated"] == bool(marker)
        if marker is None:
            break
    assert service["serviceUuid"] in found
    assert len(found) == len(set(found))
    one = Service.V2.describe_services(name="kep", run_status=["Serving"])["result"]["serviceList"]
    assert [row["serviceId"] for row in one] == [service["serviceUuid"]]
    for nothing in (
        {"run_status": ["Stopped"], "name": "kept"},
        {"service_type": ["embeddings"]},
        {"creator": ["x"]},
    ):
        assert Service.V2.describe_services(**nothing)["result"]["serviceList"] == []


def test_presets_are_services_too(configured: Embedded) -> None:
    """With ids by which they are found again."""
    every = Service.V2.describe_preset_services()["result"]["serviceList"]
    assert any(row["endpoint"] == "eb-instant" and row["standIn"] for row in every)
    [one] = Service.V2.describe_preset_services([every[3]["serviceId"]])["result"]["serviceList"]
    assert one == every[3]


def test_the_metric_counts_calls_and_tokens(configured: Embedded, service: dict[str, Any], real: Raw) -> None:
    """By app, from what was really used, at most about a second late."""
    today = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime())

    def used() -> tuple[int, int]:
        rows = Service.V2.describe_service_metric(today, today, [service["id"]])["result"]["serviceList"]
        apps = rows[0]["appList"]
        return (
            sum(row["metric"]["succeedCallTotal"] for row in apps),
            sum(row["metric"]["outputTokensTotal"] for row in apps),
        )

    before = used()
    tokens = ask(real, service["uri"], max_output_tokens=3)["usage"]["completion_tokens"]
    wait(lambda: used()[0] - before[0], 1, seconds=10)
    assert used()[1] - before[1] == tokens


def test_the_apps_are_listed_without_their_secrets(configured: Embedded) -> None:
    """A signed GET; the secret key is nobody's to read again."""
    given, path = configured.environment, "/wenxinworkshop/service/appList"
    host = given["QIANFAN_BASE_URL"].split("//")[1]
    now = time.time()
    signed = {"host": host, "x-bce-date": signing.timestamp(now)}
    mark = signing.sign(
        given["QIANFAN_ACCESS_KEY"], given["QIANFAN_SECRET_KEY"], method="GET", path=path, query={}, headers=signed, unix=now
    )  # fmt: skip
    answer = Raw(configured).request("GET", path, headers={**signed, "Authorization": mark}).json
    [app] = answer["result"]["appList"]
    assert app["ak"] == given["QIANFAN_AK"]
    assert app["sk"] == ""


def test_a_service_answers_on_while_it_is_updated(
    configured: Embedded, versions: list[tuple[str, str]], real: Raw
) -> None:
    """ModifyService under load: no request fails, streaming or not, and afterwards the new version answers."""
    first, second = (deploy(version, f"rolling{n}") for n, version in enumerate(versions))
    assert first["uri"] != second["uri"], "an endpoint is nobody else's, though both asked for the same"
    said = [ask(real, one["uri"], max_output_tokens=12)["result"] for one in (first, second)]
    assert said[0] != said[1], "the two versions must be told apart"
    over, failures, answers = threading.Event(), [], []

    def client(stream: bool) -> None:
        while not over.is_set():
            answer = real.v1(
                f"chat/{first['uri']}",
                {"messages": HI, "temperature": 0.01, "max_output_tokens": 12, "stream": stream},
            )
            parts = answer.events if stream else [answer.json]
            if any("error_code" in part for part in parts) or (stream and not parts[-1]["is_end"]):
                failures.append(parts)
            answers.append("".join(part.get("result", "") for part in parts))

    threads = [threading.Thread(target=client, args=(n % 2 == 0,)) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        told = Service.update(first["id"], *versions[1])["result"]
        assert (told["runStatus"], told["updateStatus"]) == ("Serving", "Updating")
        wait(lambda: Service.V2.describe_service(first["id"])["result"]["modelId"], versions[1][1])
        wait(lambda: answers[-1], said[1], seconds=20)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert {said[0], said[1]} <= set(answers), "both have answered, one after the other"
    assert (
        Service.get(first["id"])["result"]["iterationId"]
        == Service.get(second["id"])["result"]["iterationId"]
    )
    for one in (first, second):
        Service.delete(one["id"])


def test_replicas_run_as_processes(configured: Embedded, service: dict[str, Any], real: Raw) -> None:
    """Two are two processes, as far as this machine has processors; back to one, the other ends."""

    def processes() -> int:
        return len(family(SERVER, configured.process.pid))

    alone = processes()
    Service.scale(service["id"], 2)
    wait(lambda: Service.get(service["id"])["result"]["engines"]["running"], 2)
    assert processes() == alone + 1
    assert "error_code" not in ask(real, service["uri"], max_output_tokens=3)
    told = Service.scale(service["id"], 64)["result"]["engines"]
    wait(lambda: "processors" in Service.get(service["id"])["result"]["engines"]["warning"], True)
    assert told["wanted"] == 64
    Service.scale(service["id"], 1)
    wait(processes, alone)


def test_a_stopped_service_answers_nobody_until_it_is_started(
    configured: Embedded, versions: list[tuple[str, str]], real: Raw
) -> None:
    """The error says what to do; its version may be deleted only when nothing uses it."""
    one = deploy(versions[1], "pausing", pool_type=1)
    assert (one["poolType"], one["payType"]) == (1, 1), "a public pool; the other service has the private one"
    assert Service.stop(one["id"])["result"]["runStatus"] == "Stopped"
    assert state(one["id"]) == "Stopped"
    wait(lambda: "start it again" in str(ask(real, one["uri"])), True, seconds=5)
    assert Service.start(one["id"])["result"]["runStatus"] == "Deploying"
    with pytest.raises(QianfanError, match="deployed"):
        Model.batch_delete_model_version([versions[1][1]])
    wait(lambda: state(one["id"]), "Done")
    wait(lambda: "result" in ask(real, one["uri"]), True, seconds=5)
    Service.delete(one["serviceUuid"])
    with pytest.raises(QianfanError, match="does not exist"):
        Service.get(one["id"])
    wait(lambda: "error_code" in ask(real, one["uri"]), True, seconds=5)


def test_what_belongs_to_others_or_to_nobody_is_refused(
    configured: Embedded, service: dict[str, Any], versions: list[tuple[str, str]]
) -> None:
    """Ids that do not belong together, names that cannot stand in a path, too many replicas."""
    (first, _), (_, other) = versions
    with pytest.raises(QianfanError, match="belongs to model"):
        Service.create(first, other, name="x", uri="ep")
    with pytest.raises(QianfanError, match="letters, digits"):
        Service.create(*versions[0], name="x", uri="a/b")
    with pytest.raises(QianfanError, match="replicas"):
        Service.scale(service["id"], 65)
    with pytest.raises(QianfanError, match="does not exist"):
        Service.stop("svco-nobodyshere1")


def test_the_command_line_deploys_changes_and_deletes(
    configured: Embedded, versions: list[tuple[str, str]]
) -> None:
    """Each command with --json is one object; what cannot be is raised for the command's exit code."""

    def qianfan(*arguments: str) -> str:
        return CliRunner().invoke(app, ["service", *arguments], catch_exceptions=False).stdout

    made = json.loads(qianfan("create", versions[0][1], "--name", "typed", "--uri", "typed", "--json"))
    assert (made["runStatus"], made["engines"]["state"]) == ("Serving", "up")
    ident = made["serviceId"]
    assert made["endpoint"][:6] in qianfan("list", "--name", "typed", "--status", "Serving")
    changed = json.loads(qianfan("update", ident, versions[1][1], "--json"))
    assert (changed["modelId"], changed["updateStatus"]) == (versions[1][1], "")
    assert json.loads(qianfan("scale", ident, "2", "--json"))["resourceConfig"]["replicasCount"] == 2
    assert "Stopped" in qianfan("stop", ident)
    assert json.loads(qianfan("start", ident, "--no-wait", "--json"))["runStatus"] in ("Deploying", "Serving")
    assert json.loads(qianfan("delete", ident, "--yes", "--json")) == {"deleted": ident}
    with pytest.raises(QianfanError, match="does not exist"):
        qianfan("show", ident)
    assert any(row["standIn"] for row in json.loads(qianfan("list", "--presets", "--json"))["serviceList"])
