"""The registry over HTTP: publish, list, look, lineage, export, import, delete, in both generations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qianfan import embedded
from qianfan.cli.main import app
from qianfan.contract import routes
from qianfan.contract.routes import Route
from qianfan.embedded import Embedded
from qianfan.errors import APIError, QianfanError
from qianfan.resources import Data, FineTune, Model, Service
from qianfan.resources.console.download import fetch
from qianfan.resources.console.files import Files
from qianfan.resources.console.utils import console_api_request
from qianfan.transport.call import Call
from qianfan_platform.catalogue import tiny
from qianfan_platform.engines.llamacpp.pack import model_to_gguf

pytestmark = pytest.mark.usefixtures("configured")


@console_api_request
def ask(route: Route, **body: Any) -> Call:
    return Call(route, body)


def until(look: Any, done: Any, seconds: float = 240) -> Any:
    """The first answer of `look()` that is `done`."""
    end = time.monotonic() + seconds
    while not done(answer := look()["result"]):
        assert time.monotonic() < end, answer
        time.sleep(0.1)
    return answer


def ready(version_id: Any) -> Any:
    found = until(lambda: Model.detail(version_id), lambda v: v["state"] != "Creating")
    assert found["state"] == "Ready", found["reason"]
    return found


def train(dataset_id: int, method: str = "LoRA", **config: Any) -> tuple[int, int]:
    """(container, run) of a short run of the tiny model."""
    until(lambda: Data.get_dataset_info(dataset_id), lambda d: d["versionInfo"]["releaseStatus"] == 2)
    task = FineTune.create_task("registry", base_train_type="tiny", train_type="tiny")["result"]["id"]
    job = FineTune.create_job(
        {
            "taskId": task,
            "baseTrainType": "tiny",
            "trainType": "tiny",
            "trainMode": "SFT",
            "peftType": method,
            "trainConfig": {"epoch": 1, "batchSize": 8, "learningRate": 0.002, **config},
            "trainset": [{"type": 1, "id": dataset_id}],
            "trainsetRate": 0,
        }
    )["result"]["id"]
    return task, job


@pytest.fixture(scope="module")
def published(platform: Embedded, dataset_id: int) -> Iterator[dict[str, Any]]:
    """A version that was published while its run still trained, and is Ready now."""
    with embedded.configured(platform.environment):
        task, job = train(dataset_id, checkpointSteps=2, checkpointsKept=2)  # of three steps
        made = Model.publish(
            True, {"taskId": task, "iterationId": job}, model_name="registry_lora", tags=["first", "test"]
        )["result"]
        assert Model.detail(made["versionId"])["result"]["state"] == "Creating"
        ready(made["versionId"])
        yield {**made, "taskId": task, "jobId": job}


def test_publishing_a_running_run_answers_five_ids_and_becomes_ready(published: dict[str, Any]) -> None:
    """Each generation of clients reads other ones of them; int and string ids name the same version."""
    assert isinstance(published["modelId"], int)
    assert published["modelIDStr"].startswith("am-")
    assert published["version"] == "1"
    by_number = Model.detail(published["versionId"])["result"]
    by_text = Model.detail(published["versionIdStr"])["result"]
    assert by_number == by_text
    assert Model.detail(str(published["versionId"]))["result"] == by_number
    assert by_number["sourceExtra"]["trainSourceExtra"]["runId"] == published["jobId"]
    assert by_number["proof"]["tokens"] > 0
    assert by_number["proof"]["mean_difference"] <= by_number["proof"]["bound"]
    assert by_number["params"]["input"]["properties"]["messages"]["type"] == "array"


def test_the_lineage_leads_back_to_run_data_and_base(published: dict[str, Any], dataset_id: int) -> None:
    """Every number can be traced: run, container, seed, data, base."""
    lineage = Model.detail(published["versionId"])["result"]["lineage"]
    assert lineage["run"]["runId"] == published["jobId"]
    assert lineage["run"]["taskId"] == published["taskId"]
    assert [one["datasetId"] for one in lineage["run"]["datasets"]] == [dataset_id]
    assert lineage["run"]["datasets"][0]["records"] == 24
    assert lineage["run"]["startFrom"] is None
    assert lineage["base"]["name"] == "tiny"
    assert lineage["base"]["source"] == "built-in:tiny"


def test_versions_stand_newest_first(published: dict[str, Any]) -> None:
    """Published clients take element 0."""
    second = Model.publish(
        False,
        {"taskId": published["taskId"], "iterationId": published["jobId"]},
        model_id=published["modelIDStr"],
        tags=["second"],
    )["result"]
    assert (second["modelId"], second["version"]) == (published["modelId"], "2")
    ready(second["versionId"])
    detail = Model.list(published["modelIDStr"])["result"]
    assert [one["version"] for one in detail["modelVersionList"]] == ["2", "1"]
    assert detail["tags"] == ["first", "test", "second"]
    assert "params" not in detail["modelVersionList"][0]
    described = ask(routes.MODEL_V2_SET, modelSetName="registry_lora")["result"]
    assert described["modelSetId"] == published["modelIDStr"]
    assert described["modelIds"] == [second["versionIdStr"], published["versionIdStr"]]
    Model.batch_delete_model_version([second["versionIdStr"]])


def test_user_list_filters_orders_and_pages(published: dict[str, Any]) -> None:
    """Names by a part in any case, types in every spelling of published clients."""
    made = [ask(routes.MODEL_V2_CREATE_SET, modelSetName=f"Paging {n}")["result"]["modelSetId"] for n in range(3)]  # fmt: skip
    names = lambda **wish: [row["modelName"] for row in Model.user_list(**wish)["result"]["items"]]  # noqa: E731
    assert names(name_filter="paging", order_by="name", order="asc") == ["Paging 0", "Paging 1", "Paging 2"]
    assert names(name_filter="paging", page_size=2) == ["Paging 2", "Paging 1"]
    assert names(name_filter="paging", page_size=2, page_no=2) == ["Paging 0"]
    assert Model.user_list(name_filter="paging", page_size=1)["result"]["total"] == 3
    for spelling in ("0", 0, [0], "0,1"):
        assert "registry_lora" in names(model_type=spelling)
    assert names(model_type="1") == []
    item = Model.user_list(name_filter="registry_lora")["result"]["items"][0]
    assert item["versionCount"] == len(Model.list(item["modelId"])["result"]["modelVersionList"])
    assert item["latestVersionInfo"]["state"] == "Ready"
    for wish in ({"order_by": "size"}, {"order": "up"}, {"model_type": "text"}):
        with pytest.raises(APIError, match=r"param\[\w+\] invalid"):
            Model.user_list(**wish)  # type: ignore[arg-type]
    Model.batch_delete_model(made)
    assert names(name_filter="paging") == []


def test_preset_list_is_what_the_catalogue_serves_and_names_its_stand_ins() -> None:
    """A documented name says who answers for it; a preset is looked at like a model of one's own."""
    answer = Model.preset_list(name_filter="ERNIE-Bot", page_size=200)["result"]
    named = {item["modelName"]: item for item in answer["items"]}
    item = named["ERNIE-Bot-turbo"]
    assert item["standIn"] is True
    assert item["servedBy"] == "tiny"
    assert "stand-in" in item["description"]
    assert item["versionSummaries"][0]["presetService"] == "eb-instant"
    honest = Model.preset_list(name_filter="tiny")["result"]["items"][0]
    assert honest["standIn"] is False
    assert "FineTuning" in honest["versionSummaries"][0]["supportOptions"]
    for ident in (item["modelId"], item["modelIdStr"]):
        detail = Model.list(ident)["result"]
        assert (detail["modelName"], detail["source"]) == ("ERNIE-Bot-turbo", "PlatformPreset")
    version = Model.detail(item["versionSummaries"][0]["versionIdStr"])["result"]
    assert (version["state"], version["sourceType"]) == ("Ready", "PlatformPreset")
    described = ask(routes.MODEL_V2_DETAIL, modelId=version["modelVersionIdStr"])["result"]
    assert described["modelSetId"] == item["modelIdStr"]


def test_preset_list_filters_by_vendor_context_and_language() -> None:
    """Each list keeps what has one of its values; nobody claims an advantage here."""
    list_of = lambda **wish: ask(routes.MODEL_PRESET_LIST, pageSize=200, **wish)["result"]["items"]  # noqa: E731
    assert {item["vendor"] for item in list_of(modelVersionVendor=["baidu"])} == {"Baidu"}
    assert {item["ctxLength"] for item in list_of(ctxLength=["1k"])} == {1024}
    assert all("en" in item["languageSupport"] for item in list_of(languageSupport=["English"]))
    assert list_of(languageSupport=["中文"])
    assert {item["modelType"] for item in list_of(modelType=[4])} == {4}
    assert list_of(modelAdvantage=["fast"]) == []


def test_system_sets_come_in_pages_that_follow_one_another() -> None:
    """A marker is the first of its page; all pages together are all presets, none twice."""
    seen: list[str] = []
    marker = None
    while True:
        body = {"maxKeys": 40, **({"marker": marker} if marker else {})}
        page = ask(routes.MODEL_V2_SYSTEM_SETS, **body)["result"]
        seen += [one["modelSetId"] for one in page["systemModelSetList"]]
        marker = page["pageInfo"].get("nextMarker")
        if not page["pageInfo"]["isTruncated"]:
            break
    assert len(seen) == len(set(seen)) == Model.preset_list()["result"]["total"]


def test_what_can_be_evaluated_are_ready_models_and_chatting_presets(published: dict[str, Any]) -> None:
    """A list, not an object."""
    found = Model.evaluable_model_list()["result"]
    own = next(model for model in found if model["modelIdStr"] == published["modelIDStr"])
    assert own["source"] == "UserCreate"
    assert published["versionId"] in [one["modelVersionId"] for one in own["modelVersionList"]]
    assert any(model["source"] == "PlatformPreset" and model["modelName"] == "ERNIE-Bot" for model in found)


def test_the_second_generation_publishes_and_describes_over_the_same_rows(published: dict[str, Any]) -> None:
    """CreateCustomModel of a run is what publishing is; a V1 version is a V2 model."""
    own = ask(routes.MODEL_V2_CREATE_SET, modelSetName="v2 set", modelType="Text2Text", labels=["x"])[
        "result"
    ]
    run = Model.detail(published["versionId"])["result"]["sourceExtra"]["trainSourceExtra"]["runIdStr"]
    made = ask(
        routes.MODEL_V2_CREATE,
        modelSetId=own["modelSetId"],
        sourceType="Train",
        trainMeta={"taskId": run},
        description="again",
    )["result"]
    ready(made["modelId"])
    shown = ask(routes.MODEL_V2_DETAIL, modelId=made["modelId"])["result"]
    assert shown["sourceInfo"]["trainTaskId"] == run
    assert shown["isSupportModelComp"] is False
    assert shown["modelSetName"] == "v2 set"
    sets = ask(routes.MODEL_V2_CUSTOM_SETS, maxKeys=100)["result"]["customModelSetList"]
    assert next(one for one in sets if one["modelSetName"] == "v2 set")["modelIds"] == [made["modelId"]]
    ask(routes.MODEL_V2_DELETE, modelId=made["modelId"])
    assert ask(routes.MODEL_V2_SET, modelSetId=own["modelSetId"])["result"]["modelIds"] == []
    ask(routes.MODEL_V2_DELETE_SET, modelSetId=own["modelSetId"])
    with pytest.raises(QianfanError, match="NoSuchResource"):
        ask(routes.MODEL_V2_SET, modelSetId=own["modelSetId"])


def test_what_this_platform_does_not_do_is_refused_in_words() -> None:
    """Compression and start commands are the cloud's."""
    with pytest.raises(QianfanError, match="InappropriateJSON: models are not compressed here"):
        ask(routes.MODEL_V2_CREATE_COMPRESSION, name="x", sourceModelId="amv-x", modelSetId="am-x", config={})
    with pytest.raises(QianfanError, match="start commands"):
        ask(routes.MODEL_V2_SYSTEM_ADVANCED_CONF, modelApplicationType="x", modelFormat="y")


def test_a_failed_run_is_not_published(dataset_id: int) -> None:
    """510302, with the reason."""
    task, job = train(dataset_id)
    FineTune.stop_job(task, job)
    with pytest.raises(APIError, match="ended as Stop") as refused:
        Model.publish(True, {"taskId": task, "iterationId": job}, model_name="never")
    assert refused.value.error_code == 510302


def test_a_checkpoint_of_a_run_is_published_by_its_step(published: dict[str, Any]) -> None:
    """What the run looked like then, proved like any other; a step that was not kept says which were."""
    meta = {"taskId": published["taskId"], "iterationId": published["jobId"], "step": 2}
    made = Model.publish(True, meta, model_name="early")["result"]
    version = ready(made["versionId"])
    assert version["lineage"]["step"] == 2
    assert version["proof"]["tokens"] > 0
    other = Model.publish(False, {**meta, "step": 99}, model_id=made["modelId"])["result"]
    failed = until(lambda: Model.detail(other["versionId"]), lambda v: v["state"] != "Creating")
    assert failed["state"] == "Fail"
    assert "no checkpoint of step 99; it kept 2, 3" in failed["reason"]


def folder_of(platform: Embedded, wanted: str) -> set[str]:
    """Names of the blobs of one kind that the platform keeps."""
    pages = (platform.data / "files").glob("*/file-*.json")
    return {page.stem for page in pages if json.loads(page.read_bytes())["name"] == wanted}


def test_a_deleted_version_leaves_no_file(platform: Embedded, published: dict[str, Any]) -> None:
    """Its package goes with it, also when it was deleted while it was made."""
    before = folder_of(platform, "package")
    meta = {"taskId": published["taskId"], "iterationId": published["jobId"]}
    first = Model.publish(True, meta, model_name="to be deleted")["result"]
    ready(first["versionId"])
    assert len(folder_of(platform, "package")) == len(before) + 1
    second = Model.publish(False, meta, model_id=first["modelId"])["result"]
    Model.batch_delete_model([first["modelId"]])
    end = time.monotonic() + 30
    while folder_of(platform, "package") != before:
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(APIError, match="does not exist"):
        Model.detail(second["versionId"])
    with pytest.raises(APIError, match="does not exist"):
        Model.batch_delete_model([first["modelId"]])


def cli(*arguments: str) -> Any:
    """One command of `qianfan`, in this process, with --json; returns what it printed."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("format", "extra", "files"),
    [
        ("safetensors", "--merged", {"config.json", "model.safetensors", "tokenizer.json"}),
        ("safetensors", "--adapter", {"adapter_config.json", "adapter_model.safetensors"}),
        ("ollama", "--merged", {"Modelfile", "model.gguf"}),
        ("gguf", "--adapter", {"adapter.gguf", "base.gguf"}),
    ],
)
def test_an_export_is_written_compared_and_downloaded(
    published: dict[str, Any], tmp_path: Path, format: str, extra: str, files: set[str]
) -> None:
    """Each format has the files that others expect, and its proof compares tokens of what was written."""
    told = cli(
        "model", "export", published["versionIdStr"], "--format", format, extra, "--out", str(tmp_path)
    )
    assert told["proof"]["tokens"] > 0
    assert told["proof"]["mean_difference"] <= told["proof"]["bound"]
    assert files <= {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {one["name"] for one in told["files"]}
    if format == "ollama":
        text = (tmp_path / "Modelfile").read_text()
        assert text.startswith("FROM ./model.gguf\nTEMPLATE ")
        assert 'PARAMETER stop "<|im_end|>"' in text
        assert "PARAMETER num_ctx 1024" in text


def exported(version: str) -> Any:
    """A new export of a version in Hugging Face layout."""
    task = Model.V2.create_model_export_task(version)["result"]["exportTaskId"]
    return until(
        lambda: Model.V2.describe_model_export_task(exportTaskId=task),
        lambda row: row["status"] in ("succeeded", "failed"),
    )


def test_an_export_takes_the_place_of_the_one_before(platform: Embedded, published: dict[str, Any]) -> None:
    """The newest of a kind is kept; the model names it."""
    first = exported(published["versionIdStr"])
    second = exported(published["versionIdStr"])
    newest = Model.V2.describe_model_export_task(published["versionIdStr"])["result"]
    assert newest["exportTaskId"] == second["exportTaskId"]
    with pytest.raises(QianfanError, match="NoSuchResource"):
        Model.V2.describe_model_export_task(exportTaskId=first["exportTaskId"])
    end = time.monotonic() + 30
    while len(folder_of(platform, "export-safetensors")) > 2:  # with the adapter's, of another test
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_interrupted_download_goes_on(published: dict[str, Any], tmp_path: Path) -> None:
    """What is there already is not asked for again; a damaged rest is refused."""
    row = exported(published["versionIdStr"])
    file = next(one for one in row["files"] if one["name"] == "model.safetensors")
    out, asked = tmp_path / "m", []
    fetch(file["downloadUrl"], out, size=file["size"], sha256=file["sha256"])
    whole = out.read_bytes()
    out.unlink()
    (tmp_path / "m.part").write_bytes(whole[:1000])
    fetch(file["downloadUrl"], out, size=file["size"], sha256=file["sha256"], on_bytes=asked.append)
    assert asked == [1000, file["size"] - 1000]
    assert out.read_bytes() == whole
    out.unlink()
    (tmp_path / "m.part").write_bytes(b"x" * 1000)
    with pytest.raises(QianfanError, match="came damaged"):
        fetch(file["downloadUrl"], out, size=file["size"], sha256=file["sha256"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(QianfanError, match="403"):
        fetch(file["downloadUrl"][:-4] + "0000", out, size=file["size"], sha256=file["sha256"])


@pytest.mark.parametrize("shape", ["folder", "gguf"])
def test_an_import_answers_and_can_be_exported_again(tmp_path: Path, platform: Embedded, shape: str) -> None:
    """A folder of safetensors, and one GGUF file: checked, packed, Ready, and no upload is left over."""
    tiny.build(tmp_path / "tiny")
    source = tmp_path / "tiny"
    if shape == "gguf":
        source = tmp_path / "tiny.gguf"
        model_to_gguf(tmp_path / "tiny", source, dtype="f32")
    version = cli("model", "import", str(source), "--name", f"import {shape}")
    assert (version["state"], version["sourceType"]) == ("Ready", "Import")
    assert version["lineage"]["origin"]["names"]
    ident = version["modelVersionIdStr"]
    narrow = cli(
        "model", "export", ident, "--format", "gguf", "--dtype", "q8_0", "--out", str(tmp_path / "q8")
    )
    told = cli("model", "export", ident, "--format", "gguf", "--out", str(tmp_path / "out"))
    assert (narrow["dtype"], told["dtype"]) == ("q8_0", "")
    assert told["proof"]["mean_difference"] <= told["proof"]["bound"]
    assert cli("model", "show", ident)["modelVersionIdStr"] == ident
    service = Service.create(
        version["modelId"], version["modelVersionId"], f"imported {shape}", f"imp{shape}", 1, 1
    )["result"]
    found = until(
        lambda: Service.get(service["serviceId"]), lambda s: s["serviceStatus"] in ("Done", "Failed")
    )
    assert found["serviceStatus"] == "Done", found.get("reason")
    with pytest.raises(APIError, match="deployed as a service"):
        Model.batch_delete_model([version["modelId"]])
    blobs = {path.stem for path in (platform.data / "files").glob("*/file-*.json")}
    names = {json.loads((platform.data / "files" / b[5:7] / f"{b}.json").read_bytes())["name"] for b in blobs}
    assert not {"tokenizer.json", "model.safetensors", "tiny.gguf"} & names


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("pytorch_model.bin", b"\x80\x04", "may hold code"),
        ("../config.json", b"{}", "no plain file name"),
        ("notes.md", b"hi", "no file of a model"),
    ],
)
def test_files_that_are_not_weights_are_refused_at_once(name: str, content: bytes, why: str) -> None:
    """Pickles, paths and strangers never get as far as a job."""
    own = Model.V2.create_custom_model_set("hostile")["result"]["modelSetId"]
    path = Files.upload(content)["result"]["path"]
    with pytest.raises(QianfanError, match=why):
        Model.V2.create_custom_model(own, "Import", import_meta={"files": [{"name": name, "path": path}]})
    Model.V2.delete_model_set(own)


def test_a_renamed_pickle_fails_with_the_reason(platform: Embedded) -> None:
    """Its bytes are read as what the name says, found wrong, and deleted."""
    own = Model.V2.create_custom_model_set("hostile too")["result"]["modelSetId"]
    path = Files.upload(b"\x80\x04\x95" + b"\0" * 200)["result"]["path"]
    made = Model.V2.create_custom_model(
        own, "Import", import_meta={"files": [{"name": "model.gguf", "path": path}]}
    )["result"]["modelId"]
    found = until(lambda: Model.detail(made), lambda v: v["state"] != "Creating")
    assert found["state"] == "Fail"
    assert "is not a GGUF file" in found["reason"]
    end = time.monotonic() + 30
    while list((platform.data / "files").glob(f"*/{path.rsplit('/', 1)[-1]}*")):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_command_line_lists_shows_publishes_and_deletes(published: dict[str, Any]) -> None:
    """Tables for people, JSON for programs."""
    made = cli("model", "publish", str(published["jobId"]), "--name", "by hand")
    assert made["state"] == "Ready"
    listed = cli("model", "list", "--name", "by hand")["models"]
    assert [row["modelName"] for row in listed] == ["by hand"]
    table = CliRunner().invoke(app, ["model", "show", made["modelVersionIdStr"]])
    assert "dataset" in table.stdout
    assert "tokens differ by" in table.stdout
    assert "by hand" in CliRunner().invoke(app, ["model", "list"]).stdout
    assert "stand-in" in CliRunner().invoke(app, ["model", "list", "--preset"]).stdout
    assert cli("model", "delete", made["modelIdStr"], "--yes")["deleted"] == [made["modelIdStr"]]
    assert cli("model", "list", "--name", "by hand")["models"] == []
