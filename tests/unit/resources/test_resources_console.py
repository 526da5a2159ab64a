"""Console methods: what goes onto the wire, what is refused before, and what never leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Loopback

from qianfan import Data, FineTune, Model, Prompt, Service
from qianfan.contract import signing
from qianfan.errors import APIError, InvalidArgumentError, RequestError, StorageNeeded
from qianfan.resources import Files
from qianfan.resources.console import consts
from qianfan.resources.console.utils import async_console_api_request, console_api_request
from qianfan.transport.call import Call

DST, DPT, DTT = consts.DataSetType, consts.DataProjectType, consts.DataTemplateType
BOS = consts.DataStorageType.PrivateBos

# the call, the path on the wire, its query, its body
CALLS: list[tuple[Any, str, dict, dict]] = [
    (FineTune.create_task.call("n", description="d"), "finetune/createTask", {}, {"name": "n", "description": "d"}),
    (FineTune.create_task.call("n", "B", "T"), "finetune/createTask", {}, {"name": "n", "baseTrainType": "B", "trainType": "T"}),
    (FineTune.create_job.call({"taskId": 1, "description": None}), "finetune/createJob", {}, {"taskId": 1}),
    (FineTune.get_job.call(1, 2), "finetune/jobDetail", {}, {"taskId": 1, "jobId": 2}),
    (FineTune.stop_job.call("a", "b"), "finetune/stopJob", {}, {"taskId": "a", "jobId": "b"}),
    (FineTune.V2.create_job.call("n", "ERNIE-Speed", consts.TrainMode.SFT), "/v2/finetuning", {"Action": "CreateFineTuningJob"},
     {"name": "n", "model": "ERNIE-Speed", "trainMode": "SFT"}),
    (FineTune.V2.create_task.call("job-1", consts.TrainParameterScale.LoRA, {}, {"versions": []}, "task-0"), "/v2/finetuning",
     {"Action": "CreateFineTuningTask"},
     {"jobId": "job-1", "parameterScale": "LoRA", "hyperParameterConfig": {}, "datasetConfig": {"versions": []}, "incrementTaskId": "task-0"}),
    (FineTune.V2.job_list.call("SFT", marker="m", max_keys=5, page_reverse=True), "/v2/finetuning", {"Action": "DescribeFineTuningJobs"},
     {"trainModel": "SFT", "trainMode": "SFT", "marker": "m", "maker": "m", "maxKeys": 5, "pageReverse": True}),
    (FineTune.V2.task_list.call("job-1"), "/v2/finetuning", {"Action": "DescribeFineTuningTasks"}, {"jobId": "job-1"}),
    (FineTune.V2.task_detail.call("task-1"), "/v2/finetuning", {"Action": "DescribeFineTuningTask"}, {"taskId": "task-1"}),
    (FineTune.V2.task_log.call(3, after=7), "/v2/finetuning", {"Action": "DescribeFineTuningTaskLog"}, {"taskId": 3, "after": 7}),
    (FineTune.V2.delete_task.call("task-1"), "/v2/finetuning", {"Action": "DeleteFineTuningTask"}, {"taskId": "task-1"}),
    (FineTune.V2.delete_job.call("job-1"), "/v2/finetuning", {"Action": "DeleteFineTuningJob"}, {"jobId": "job-1"}),
    (FineTune.V2.stop_task.call("task-1"), "/v2/finetuning", {"Action": "StopFineTuningTask"}, {"taskId": "task-1"}),
    (FineTune.V2.supported_models.call(), "/v2/finetuning", {"Action": "DescribeFineTuningSupportModels"}, {}),
    (FineTune.V2.create_task.call("job-1", "LoRA", {}, {"versions": []}, increment_task_id="task-0", increment_checkpoint_step=5),
     "/v2/finetuning", {"Action": "CreateFineTuningTask"},
     {"jobId": "job-1", "parameterScale": "LoRA", "hyperParameterConfig": {}, "datasetConfig": {"versions": []},
      "incrementTaskId": "task-0", "incrementCheckpointStep": 5}),
    (FineTune.V2.task_ledger.call("task-1", 3, what="dropped"), "/v2/finetuning", {"Action": "DescribeFineTuningTaskLedger"},
     {"taskId": "task-1", "marker": 3, "what": "dropped"}),
    (FineTune.V2.task_sample.call("task-1", 7), "/v2/finetuning", {"Action": "DescribeFineTuningTaskSample"}, {"taskId": "task-1", "sample": 7}),
    (Model.list.call(5862), "modelrepo/modelDetail", {}, {"modelId": 5862}),
    (Model.detail.call(model_version_id="amv-1"), "modelrepo/modelVersionDetail", {}, {"modelVersionId": "amv-1"}),
    (Model.publish.call(is_new=True, model_name="m", version_meta={"taskId": 1, "iterationId": 2}), "modelrepo/publishTrainModel", {},
     {"isNewModel": True, "versionMeta": {"taskId": 1, "iterationId": 2}, "modelName": "m"}),
    (Model.user_list.call(name_filter="x"), "modelrepo/model/user/list", {}, {"pageNo": 1, "pageSize": 20, "nameFilter": "x"}),
    (Model.preset_list.call(), "modelrepo/model/preset/list", {}, {"pageNo": 1, "pageSize": 20}),
    (Model.preset_list.call(model_type=[0], ctx_length=["8k"], language_support=["zh"], expansion=["sft"], order_by="create_time"),
     "modelrepo/model/preset/list", {}, {"pageNo": 1, "pageSize": 20, "modelType": [0], "ctxLength": ["8k"], "languageSupport": ["zh"],
                                         "expansion": ["sft"], "orderBy": "create_time"}),
    (Model.V2.describe_model_set.call("am-1"), "/v2/model", {"Action": "DescribeModelSet"}, {"modelSetId": "am-1"}),
    (Model.V2.describe_model_set.call(model_set_name="m"), "/v2/model", {"Action": "DescribeModelSet"}, {"modelSetName": "m"}),
    (Model.V2.describe_custom_model_sets.call("am-1", 5, True), "/v2/model", {"Action": "DescribeCustomModelSets"},
     {"marker": "am-1", "maxKeys": 5, "pageReverse": True}),
    (Model.V2.create_custom_model.call("am-1", "Train", {"jobId": "job-1", "taskId": "task-1"}), "/v2/model",
     {"Action": "CreateCustomModel"}, {"modelSetId": "am-1", "sourceType": "Train", "trainMeta": {"jobId": "job-1", "taskId": "task-1"}}),
    (Model.V2.create_model_export_task.call("amv-1", format="gguf"), "/v2/model", {"Action": "CreateModelExportTask"},
     {"modelId": "amv-1", "format": "gguf"}),
    (Model.get_evaluation_result_list.call("ame-1", order="asc"), "modelrepo/eval/result/list", {},
     {"id": "ame-1", "pageNo": 1, "pageSize": 20, "order": "asc"}),
    (Model.batch_delete_evaluation_result.call([1]), "modelrepo/eval/delete", {}, {"evalIds": [1]}),
    (Model.batch_delete_model.call([1]), "modelrepo/model/batchDelete", {}, {"modelIDs": [1]}),
    (Model.batch_delete_model_version.call(["amv-1"]), "modelrepo/model/version/batchDelete", {}, {"modelVersionIds": ["amv-1"]}),
    (Model.evaluable_model_list.call(), "modelrepo/eval/model/list", {}, {}),
    (Model.get_evaluation_info.call("ame-1"), "modelrepo/eval/detail", {}, {"id": "ame-1"}),
    (Model.create_evaluation_result_export_task.call(1), "modelrepo/eval/result/export", {},
     {"id": 1, "exportType": "local", "exportOpt": "total", "exportContent": ["prompt", "completion", "prediction", "metrics"]}),
    (Model.get_evaluation_result_export_task_status.call(9), "modelrepo/eval/result/export/info", {}, {"exportID": 9}),
    (Service.create.call(model_id=1, iteration_id=2, name="n", uri="u", replicas=1, pool_type=2), "service/apply", {},
     {"modelId": 1, "modelVersionId": 2, "name": "n", "uri": "u", "replicas": 1, "poolType": 2}),
    (Service.create.call("am-1", "amv-1", "n", "u", 1, consts.DeployPoolType.PublicResource), "service/apply", {},
     {"modelId": "am-1", "modelVersionId": "amv-1", "name": "n", "uri": "u", "replicas": 1, "poolType": 1}),
    (Service.get.call(id=7), "service/detail", {}, {"serviceId": 7}),
    (Service.list.call(["chat", consts.ServiceType.Embeddings]), "service/list", {}, {"apiTypefilter": ["chat", "embeddings"]}),
    (Service.list.call(), "service/list", {}, {}),
    (Service.V2.create_service.call("am-1", "amv-1", "n", "u", {"replicasCount": 2}, {"paymentTiming": "Postpaid"}), "/v2/service",
     {"Action": "CreateService"}, {"modelSetId": "am-1", "modelId": "amv-1", "name": "n", "urlSuffix": "u",
                                   "resourceConfig": {"replicasCount": 2}, "billing": {"paymentTiming": "Postpaid"}}),
    (Service.V2.describe_service.call("svco-1"), "/v2/service", {"Action": "DescribeService"}, {"serviceId": "svco-1"}),
    (Service.V2.describe_services.call(name="n", run_status=("Serving",)), "/v2/service", {"Action": "DescribeServices"},
     {"name": "n", "runStatus": ["Serving"]}),
    (Service.V2.describe_service_metric.call("a", "b", ["svco-1"]), "/v2/service", {"Action": "DescribeServiceMetric"},
     {"startTime": "a", "endTime": "b", "serviceId": ["svco-1"]}),
    (Service.update.call(7, 5, 6), "/v2/service", {"Action": "ModifyService"}, {"serviceId": 7, "modelSetId": 5, "modelId": 6}),
    (Service.scale.call(7, replicas=3), "/v2/service", {"Action": "ScaleService"}, {"serviceId": 7, "replicas": 3}),
    (Service.stop.call(7), "/v2/service", {"Action": "StopService"}, {"serviceId": 7}),
    (Service.start.call(7), "/v2/service", {"Action": "StartService"}, {"serviceId": 7}),
    (Service.delete.call("svco-1"), "/v2/service", {"Action": "DeleteService"}, {"serviceId": "svco-1"}),
    (Data.create_bare_dataset.call("n", DST.TextOnly, DPT.Conversation, DTT.NonSortedConversation, BOS, "bucket", "/a"), "dataset/create", {},
     {"name": "n", "versionId": 1, "projectType": 20, "templateType": 2000, "dataType": 4, "storageType": "usrBos",
      "storageId": "bucket", "rawStoragePath": "/a/"}),
    (Data.create_data_import_task.call("ds-1", True, consts.DataSourceType.PrivateBos, "bos:/local/file-1"), "dataset/import", {},
     {"datasetId": "ds-1", "annotated": True, "importFrom": 1, "files": ["bos:/local/file-1"]}),
    (Data.release_dataset.call(4), "dataset/release", {}, {"datasetId": 4}),
    (Data.get_dataset_info.call("ds-1"), "dataset/info", {}, {"datasetId": "ds-1"}),
    (Data.get_dataset_status_in_batch.call(["ds-1", 2]), "dataset/statusList", {}, {"datasetIds": ["ds-1", 2]}),
    (Data.create_dataset_export_task.call("ds-1", consts.DataExportDestinationType.PlatformBos), "dataset/export", {},
     {"datasetId": "ds-1", "exportFormat": 0, "exportType": 1, "exportTo": 0}),
    (Data.annotate_an_entity.call("e", "ds-1", [{"prompt": "p"}], [{"name": "l"}]), "entity/annotate", {},
     {"id": "e", "datasetId": "ds-1", "content": [{"prompt": "p"}]}),
    (Data.delete_an_entity.call(["e"], "ds-1"), "entity/delete", {}, {"id": ["e"], "datasetId": "ds-1"}),
    (Data.list_all_entity_in_dataset.call("ds-1"), "entity/list", {}, {"datasetId": "ds-1", "offset": 0, "pageSize": 20, "tabType": 0}),
    (Data.create_dataset_etl_task.call("ds-1", "ds-2", {"clean": []}), "etl/create", {},
     {"sourceDatasetId": "ds-1", "destDatasetId": "ds-2", "entityType": 2, "operationsV2": {"clean": []}}),
    (Data.get_dataset_aug_task_list.call("k", True), "enhance/list", {},
     {"isSelfInstruct": True, "offset": 0, "pageSize": 10, "word": "k", "sortField": "startTime", "sortBy": "asc"}),
    (Prompt.create.call("n", "say {word_1} and {word_1}", label_ids=[1]), "prompt/template/create", {},
     {"templateName": "n", "templateContent": "say {word_1} and {word_1}", "variableIdentifier": "{}", "sceneType": 1, "frameworkType": 0,
      "templateVariables": "word_1,word_1", "labelIds": [1]}),
    (Prompt.create.call("n", "((ab)) {x}", "(())", consts.PromptSceneType.Text2Image, negative_template="no ((cd))"), "prompt/template/create", {},
     {"templateName": "n", "templateContent": "((ab)) {x}", "variableIdentifier": "(())", "sceneType": 2, "frameworkType": 0,
      "templateVariables": "ab", "negativeTemplateContent": "no ((cd))", "negativeTemplateVariables": "cd"}),
    (Prompt.info.call(12, word="w"), "prompt/template/info", {}, {"word": "w", "id": "12"}),
    (Prompt.update.call("pt-1", name="", label_ids=[], template="t"), "prompt/template/update", {},
     {"templateId": "pt-1", "templateName": "", "templateContent": "t"}),
    (Prompt.list.call(), "prompt/template/list", {}, {"offset": 0, "pageSize": 10, "labelIds": []}),
    (Prompt.create_optimiztion_task.call("c", [], app_id=3), "prompt/singleOptimize/create", {}, {"content": "c", "operations": [], "appID": 3}),
    (Prompt.evaluation_score.call(1, []), "prompt/evaluate/predict", {}, {"type": 1, "data": []}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "path", "query", "body"), CALLS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_method_says_what_the_platform_expects(
    call: Call, path: str, query: dict, body: dict, server: Loopback, settings: Any
) -> None:
    """Path, query and body as the wire has them; members that are None are not sent."""
    console_api_request(lambda: call)()
    (seen,) = server.seen
    assert seen.method == "POST"
    assert seen.path == (path if path.startswith("/") else f"/wenxinworkshop/{path}")
    assert seen.query == query
    assert seen.json == body


def test_a_call_is_signed_so_that_the_platform_accepts_it(server: Loopback, settings: Any) -> None:
    """The platform's own verifier accepts it; four headers are signed, the host with its port."""
    FineTune.V2.task_detail("task-1")
    (seen,) = server.seen
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"
    assert signing.parse(seen.headers["authorization"]).signed_headers == (
        "content-type", "host", "request-source", "x-bce-date",
    )  # fmt: skip
    assert seen.headers["request-source"].startswith("qianfan_py_sdk_v")
    signed_at = signing.datetime.strptime(seen.headers["x-bce-date"], signing.TIME_FORMAT)
    assert (
        signing.verify(
            seen.headers["authorization"],
            {"access-key-1": "secret-key-1"}.get,
            method="POST",
            raw_path=seen.path,
            query=seen.query.items(),
            headers=seen.headers,
            unix=signed_at.replace(tzinfo=signing.UTC).timestamp(),
        )
        == "access-key-1"
    )


OPTIONS = {
    "retry_count": 2,
    "request_timeout": 3,
    "backoff_factor": 0,
    "retry_jitter": 0,
    "retry_err_codes": {7},
    "max_wait_interval": 1,
    "retry_max_wait_interval": 1,
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_options_and_keys_stay_out_of_the_body(server: Loopback, settings: Any, is_async: bool) -> None:
    """Keys and retry settings of one call are used, and are in no body, of no method."""
    settings.ACCESS_KEY = settings.SECRET_KEY = None
    server.answers.append(Answer({"error_code": 7, "error_msg": "again"}))
    keys = {"ak": "mine", "sk": "hidden"}
    for method, arguments in (
        (FineTune.get_job, (1, 2)),
        (Data.get_dataset_info, (1,)),
        (Prompt.evaluation_score, (1, [])),
    ):
        if is_async:
            asyncio.run(method.aio(*arguments, **keys, **OPTIONS))
        else:
            method(*arguments, **keys, **OPTIONS)
    assert len(server.seen) == 4
    for seen in server.seen:
        assert seen.headers["authorization"].startswith("bce-auth-v1/mine/")
        assert b"hidden" not in seen.body
        assert b"mine" not in seen.body
        assert not {"ak", "sk", *OPTIONS} & set(seen.json)
    assert server.seen[0].json == {"taskId": 1, "jobId": 2}
    FineTune.create_job({"taskId": 1, "ak": "mine", "sk": "hidden"}, **keys)
    assert server.seen[-1].json == {"taskId": 1}


def test_further_keywords_go_into_the_body_where_documented(server: Loopback, settings: Any) -> None:
    """FineTune, Service and Prompt pass them on, Data does not."""
    FineTune.get_job(1, 2, extra=3)
    Data.get_dataset_info(1, extra=3)
    assert [seen.json for seen in server.seen] == [{"extra": 3, "taskId": 1, "jobId": 2}, {"datasetId": 1}]


def test_creates_carry_one_key_for_all_their_attempts(server: Loopback, settings: Any) -> None:
    """A repeated create can be recognised; another create has another key, and a look has none."""
    server.answers += [Answer({}, 503), Answer({"result": {"id": 1}})]
    FineTune.create_task("n", retry_count=2, backoff_factor=0, retry_jitter=0)
    FineTune.create_task("n")
    FineTune.get_job(1, 2)
    keys = [seen.headers.get("idempotency-key") for seen in server.seen]
    assert keys[0] == keys[1]
    assert keys[1] != keys[2]
    assert keys[3] is None
    for call in (
        FineTune.create_job.call({}),
        Model.publish.call(True, {}, "m"),
        Service.create.call(1, 2, "n", "u"),
        Data.create_bare_dataset.call("n", DST.TextOnly, DPT.GenericText, DTT.GenericText),
        Data.create_data_import_task.call(1, True, 1, "bos:/x"),
    ):
        assert call.creates


def test_a_stale_connection_is_not_noticed(server: Loopback, settings: Any) -> None:
    """A kept-alive connection that the server had closed costs nothing but a second request."""
    FineTune.get_job(1, 2)
    server.answers.append(Answer(drop=True))
    assert FineTune.get_job(1, 2)["result"] == "ok"
    assert len(server.seen) == 3


def test_missing_keys_say_what_to_set(settings: Any) -> None:
    """Nothing is sent; the names of the settings are in the text."""
    settings.SECRET_KEY = None
    with pytest.raises(InvalidArgumentError, match="QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY"):
        FineTune.get_job(1, 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Data.create_bare_dataset.call("n", DST.TextOnly, DPT.GenericText, DTT.QuerySet), "does not belong"),
        (lambda: Data.create_bare_dataset.call("n", DST.MultiModel, DPT.QuerySet, DTT.QuerySet), "does not fit"),
        (lambda: Data.create_bare_dataset.call("n", DST.TextOnly, DPT.QuerySet, DTT.QuerySet, BOS), "storage_id"),
        (lambda: Data.create_data_import_task.call(1, True, 1, ""), "file_url"),
        (lambda: Data.create_dataset_export_task.call(1, consts.DataExportDestinationType.PrivateBos), "bucket"),
        (lambda: Data.list_all_entity_in_dataset.call(1, import_time_closure=[1]), "import_time_closure"),
        (lambda: Data.create_dataset_augmenting_task.call("n", 1, 2, "s", "u", 3, 11, 1, 0.5), "num_seed_fewshot"),
        (lambda: Data.create_dataset_augmenting_task.call("n", 1, 2, "s", "u", 3, 1, 5001, 0.5), "num_instances"),
        (lambda: Data.create_dataset_augmenting_task.call("n", 1, 2, "s", "u", 3, 1, 1, 1.5), "similarity"),
        (lambda: Model.create_evaluation_task.call("n", [], 1, {}, result_dataset_storage_type=BOS), "your own BOS"),
        (lambda: Model.create_evaluation_result_export_task.call(
            1, consts.EvaluationResultExportDestinationType.PrivateBos), "bos_bucket_id"),
        (lambda: Model.create_evaluation_result_export_task.call(
            1, export_range=consts.EvaluationResultExportRange.Part), "result_ids"),
        (lambda: Model.publish.call(True, {}), "model_name"),
        (lambda: Model.publish.call(False, {}), "model_id"),
        (lambda: Service.create.call(1), "model_version_id, name, uri"),
        (lambda: Service.list.call([7]), "7 is no type"),
        (lambda: Prompt.create.call("n", "{a}"), "'a'"),
        (lambda: Prompt.create.call("n", "{{ab}}"), "'{ab'"),
        (lambda: Prompt.create.call("n", "{1ab}"), "'1ab'"),
        (lambda: Prompt.create.call("n", "x", "<>"), "'<>'"),
        (lambda: FineTune.V2.create_task.call("job-1", "LoRA", {}, None), "dataset_config"),
        (lambda: FineTune.create_job.call("x"), "dictionary"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_it_is_sent(call: Any, says: str) -> None:
    """Each refusal is a ValueError that names what is wrong."""
    with pytest.raises(ValueError, match=says):
        call()


def test_a_train_mode_that_is_no_text_is_a_type_error() -> None:
    """As documented."""
    with pytest.raises(TypeError, match="int"):
        FineTune.V2.create_job.call("n", "m", 3)


def test_the_callers_filter_is_left_as_it_was(server: Loopback, settings: Any) -> None:
    """The list given to `Service.list` is not changed."""
    mine = [consts.ServiceType.Chat]
    Service.list(mine)
    assert mine == [consts.ServiceType.Chat]
    assert type(mine[0]) is consts.ServiceType


def test_errors_of_the_data_and_prompt_routes_are_raised(server: Loopback, settings: Any) -> None:
    """HTTP 200 with `success: false` is an error, with code and message."""
    server.answers.append(
        Answer(
            {"log_id": "l1", "status": 400, "success": False, "code": 3, "message": "no such", "result": None}
        )
    )
    with pytest.raises(APIError, match="no such") as error:
        Data.get_dataset_info("ds-0")
    assert (error.value.error_code, error.value.req_id) == (3, "l1")
    server.answers.append(Answer({"success": False, "message": {"global": "taken"}}))
    with pytest.raises(APIError, match="taken"):
        Prompt.create("n", "t")


def test_users_may_decorate_functions_of_their_own(server: Loopback, settings: Any) -> None:
    """The documented decorators make plain and async functions that return a call send it."""
    from qianfan.contract import routes

    @console_api_request
    def look(id: int, **kwargs: Any) -> Call:
        """Look."""
        return Call(routes.SERVICE_DETAIL, {"serviceId": id, **kwargs})

    @async_console_api_request
    async def alook(id: int) -> Call:
        return Call(routes.SERVICE_DETAIL, {"serviceId": id})

    assert look(1, x=2, ak="a", sk="b")["result"] == "ok"
    assert asyncio.run(look.aio(3)).code == 200
    assert asyncio.run(alook(4, ak="a", sk="b")).code == 200
    assert [seen.json["serviceId"] for seen in server.seen] == [1, 3, 4]
    assert look.__doc__ == "Look."


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_file_is_uploaded_and_named(
    server: Loopback, settings: Any, tmp_path: Path, is_async: bool
) -> None:
    """The raw file, signed like a console call, its name in the query."""
    path = tmp_path / "数据 1.jsonl"
    path.write_bytes(b'[{"prompt": "p", "response": [["r"]]}]\n')
    server.always = Answer({"requestId": "1", "result": {"path": "bos:/local/file-1"}})
    answer = asyncio.run(Files.aupload(path)) if is_async else Files.upload(str(path))
    assert answer["result"]["path"] == "bos:/local/file-1"
    (seen,) = server.seen
    assert (seen.path, seen.query, seen.body) == ("/v2/files", {"name": path.name}, path.read_bytes())
    assert seen.headers["content-type"] == "application/octet-stream"
    Files.upload(b"rows", name="r.jsonl")
    assert (server.seen[1].body, server.seen[1].query) == (b"rows", {"name": "r.jsonl"})


def test_a_platform_without_uploads_asks_for_storage(server: Loopback, settings: Any, tmp_path: Path) -> None:
    """A missing route is told as what is needed instead; other errors stay what they are."""
    server.answers += [Answer({}, 404), Answer({"code": "x", "message": "y"}, 400), Answer({}, 500)]
    for _ in range(2):
        with pytest.raises(StorageNeeded, match="object storage"):
            Files.upload(b"rows")
    with pytest.raises(RequestError):
        Files.upload(b"rows")
    with pytest.raises(InvalidArgumentError, match="no file"):
        Files.upload(tmp_path / "none")
