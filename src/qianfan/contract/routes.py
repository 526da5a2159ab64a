"""Every route by name. A V2 route is a path and an action; the rest are paths alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

Family = Literal["finetune", "model", "service", "data", "prompt", "v2", "inference", "openai", "token"]

INFERENCE_PREFIX: Final = "/rpc/2.0/ai_custom/v1/wenxinworkshop"
CONSOLE_PREFIX: Final = "/wenxinworkshop"


@dataclass(frozen=True)
class Route:
    """Where a call goes. `family` decides the shapes of answer and error, and how the call is signed."""

    path: str
    family: Family
    action: str | None = None
    method: str = "POST"


def _v1(family: Family, tail: str) -> Route:
    return Route(f"{CONSOLE_PREFIX}/{tail}", family)


def _v2(area: str, action: str) -> Route:
    return Route(f"/v2/{area}", "v2", action)


TOKEN = Route("/oauth/2.0/token", "token")
BEARER_TOKEN = Route("/v1/BCE-BEARER/token", "token", method="GET")

FINETUNE_CREATE_TASK = _v1("finetune", "finetune/createTask")
FINETUNE_CREATE_JOB = _v1("finetune", "finetune/createJob")
FINETUNE_JOB_DETAIL = _v1("finetune", "finetune/jobDetail")
FINETUNE_STOP_JOB = _v1("finetune", "finetune/stopJob")

FINETUNE_V2_PATH: Final = "/v2/finetuning"
FINETUNE_V2_CREATE_JOB = _v2("finetuning", "CreateFineTuningJob")
FINETUNE_V2_CREATE_TASK = _v2("finetuning", "CreateFineTuningTask")
FINETUNE_V2_JOB_LIST = _v2("finetuning", "DescribeFineTuningJobs")
FINETUNE_V2_TASK_LIST = _v2("finetuning", "DescribeFineTuningTasks")
FINETUNE_V2_TASK_DETAIL = _v2("finetuning", "DescribeFineTuningTask")
FINETUNE_V2_STOP_TASK = _v2("finetuning", "StopFineTuningTask")
FINETUNE_V2_SUPPORT_MODELS = _v2("finetuning", "DescribeFineTuningSupportModels")
FINETUNE_V2_DELETE_TASK = _v2("finetuning", "DeleteFineTuningTask")
FINETUNE_V2_DELETE_JOB = _v2("finetuning", "DeleteFineTuningJob")
FINETUNE_V2_TASK_LOG = _v2("finetuning", "DescribeFineTuningTaskLog")  # from here on of this platform only
FINETUNE_V2_TASK_LEDGER = _v2("finetuning", "DescribeFineTuningTaskLedger")
FINETUNE_V2_TASK_SAMPLE = _v2("finetuning", "DescribeFineTuningTaskSample")

MODEL_DETAIL = _v1("model", "modelrepo/modelDetail")
MODEL_VERSION_DETAIL = _v1("model", "modelrepo/modelVersionDetail")
MODEL_PUBLISH = _v1("model", "modelrepo/publishTrainModel")
MODEL_USER_LIST = _v1("model", "modelrepo/model/user/list")
MODEL_PRESET_LIST = _v1("model", "modelrepo/model/preset/list")
MODEL_BATCH_DELETE = _v1("model", "modelrepo/model/batchDelete")
MODEL_VERSION_BATCH_DELETE = _v1("model", "modelrepo/model/version/batchDelete")
MODEL_EVALUABLE_LIST = _v1("model", "modelrepo/eval/model/list")
MODEL_V2_CREATE_SET = _v2("model", "CreateCustomModelSet")
MODEL_V2_SYSTEM_SETS = _v2("model", "DescribeSystemModelSets")
MODEL_V2_CUSTOM_SETS = _v2("model", "DescribeCustomModelSets")
MODEL_V2_SET = _v2("model", "DescribeModelSet")
MODEL_V2_DELETE_SET = _v2("model", "DeleteModelSet")
MODEL_V2_CREATE = _v2("model", "CreateCustomModel")
MODEL_V2_DETAIL = _v2("model", "DescribeModel")
MODEL_V2_DELETE = _v2("model", "DeleteModel")
MODEL_V2_EXPORT = _v2("model", "CreateModelExportTask")
MODEL_V2_EXPORT_INFO = _v2("model", "DescribeModelExportTask")
MODEL_V2_CUSTOM_CONF = _v2("model", "CreateModelCustomConf")
MODEL_V2_SYSTEM_ADVANCED_CONF = _v2("model", "DescribeModelSystemAdvancedConf")
MODEL_V2_CUSTOM_ADVANCED_CONF = _v2("model", "DescribeModelCustomAdvancedConf")
MODEL_V2_CREATE_COMPRESSION = _v2("model", "CreateModelCompTask")
MODEL_V2_COMPRESSIONS = _v2("model", "DescribeModelCompTasks")
MODEL_V2_COMPRESSION = _v2("model", "DescribeModelCompTask")
MODEL_V2_CANCEL_COMPRESSION = _v2("model", "CancelModelCompTask")
MODEL_V2_DELETE_COMPRESSION = _v2("model", "DeleteModelCompTask")
MODEL_GATE_SET = _v2("model", "SetModelGate")  # gates are of this platform only
MODEL_GATE_DESCRIBE = _v2("model", "DescribeModelGate")
MODEL_GATE_DELETE = _v2("model", "DeleteModelGate")
EVAL_CREATE = _v1("model", "modelrepo/eval/create")
EVAL_DETAIL = _v1("model", "modelrepo/eval/detail")
EVAL_REPORT = _v1("model", "modelrepo/eval/report")
EVAL_CANCEL = _v1("model", "modelrepo/eval/cancel")
EVAL_EXPORT = _v1("model", "modelrepo/eval/result/export")
EVAL_EXPORT_INFO = _v1("model", "modelrepo/eval/result/export/info")
EVAL_RESULT_LIST = _v1("model", "modelrepo/eval/result/list")
EVAL_DELETE = _v1("model", "modelrepo/eval/delete")
EVAL_LIST = _v2("eval", "DescribeEvalTasks")
EVAL_V2_CREATE = _v2("eval", "CreateEvalTask")
EVAL_V2_DETAIL = _v2("eval", "DescribeEvalTask")
EVAL_V2_REPORT = _v2("eval", "DescribeEvalTaskReport")
EVAL_V2_DELETE = _v2("eval", "DeleteEvalTask")
EVAL_SCORING = _v2("eval", "DescribeEvalScoring")  # from here on of this platform only
EVAL_SCORE = _v2("eval", "ScoreEvalResults")
EVAL_SCORING_FINISH = _v2("eval", "FinishEvalScoring")
EVAL_VERDICT_CREATE = _v2("eval", "CreateEvalVerdict")
EVAL_VERDICTS = _v2("eval", "DescribeEvalVerdicts")
BATCH_CREATE = _v2("batchinference", "CreateBatchInferenceTask")
BATCH_DETAIL = _v2("batchinference", "DescribeBatchInferenceTask")
BATCH_LIST = _v2("batchinference", "DescribeBatchInferenceTasks")
BATCH_STOP = _v2("batchinference", "StopBatchInferenceTask")

SERVICE_APPLY = _v1("service", "service/apply")
SERVICE_DETAIL = _v1("service", "service/detail")
SERVICE_LIST = _v1("service", "service/list")
SERVICE_APP_LIST = Route(f"{CONSOLE_PREFIX}/service/appList", "service", method="GET")
SERVICE_V2_CREATE = _v2("service", "CreateService")
SERVICE_V2_DETAIL = _v2("service", "DescribeService")
SERVICE_V2_LIST = _v2("service", "DescribeServices")
SERVICE_V2_MODIFY = _v2("service", "ModifyService")
SERVICE_V2_METRIC = _v2("service", "DescribeServiceMetric")
SERVICE_V2_PRESETS = _v2("service", "DescribePresetServices")
SERVICE_V2_SCALE = _v2("service", "ScaleService")  # from here on of this platform only
SERVICE_V2_STOP = _v2("service", "StopService")
SERVICE_V2_START = _v2("service", "StartService")
SERVICE_V2_DELETE = _v2("service", "DeleteService")

DATASET_CREATE = _v1("data", "dataset/create")
DATASET_IMPORT = _v1("data", "dataset/import")
DATASET_RELEASE = _v1("data", "dataset/release")
DATASET_INFO = _v1("data", "dataset/info")
DATASET_STATUS_LIST = _v1("data", "dataset/statusList")
DATASET_EXPORT = _v1("data", "dataset/export")
DATASET_EXPORT_RECORD = _v1("data", "dataset/exportRecord")
DATASET_DELETE = _v1("data", "dataset/delete")
DATASET_IMPORT_ERROR_DETAIL = _v1("data", "dataset/importErrorDetail")
DATASET_V2_CREATE = _v2("dataset", "CreateDataset")
DATASET_V2_LIST = _v2("dataset", "DescribeDatasets")
DATASET_V2_DELETE = _v2("dataset", "DeleteDataset")
DATASET_V2_CREATE_VERSION = _v2("dataset", "CreateDatasetVersion")
DATASET_V2_VERSIONS = _v2("dataset", "DescribeDatasetVersions")
DATASET_V2_VERSION = _v2("dataset", "DescribeDatasetVersion")
DATASET_V2_DELETE_VERSION = _v2("dataset", "DeleteDatasetVersion")
DATASET_V2_PUBLISH = _v2("dataset", "PublishDatasetVersion")
DATASET_V2_IMPORT = _v2("dataset", "CreateImportTask")
DATASET_V2_IMPORT_INFO = _v2("dataset", "DescribeImportTask")
DATASET_V2_EXPORT = _v2("dataset", "CreateExportTask")
DATASET_V2_EXPORT_INFO = _v2("dataset", "DescribeExportTask")
ENTITY_ANNOTATE = _v1("data", "entity/annotate")
ENTITY_DELETE = _v1("data", "entity/delete")
ENTITY_LIST = _v1("data", "entity/list")
ETL_CREATE = _v1("data", "etl/create")
ETL_DETAIL = _v1("data", "etl/detail")
ETL_LIST = _v1("data", "etl/list")
ETL_DELETE = _v1("data", "etl/delete")
ENHANCE_CREATE = _v1("data", "enhance/create")
ENHANCE_LIST = _v1("data", "enhance/list")
ENHANCE_DETAIL = _v1("data", "enhance/detail")
ENHANCE_DELETE = _v1("data", "enhance/delete")
ENHANCE_STOP = _v1("data", "enhance/stop")  # of this platform only
AUGMENT_V2_CREATE = _v2("dataprocessing", "CreateTextAugmentTask")
AUGMENT_V2_DETAIL = _v2("dataprocessing", "DescribeTextAugmentTask")
AUGMENT_V2_LIST = _v2("dataprocessing", "DescribeTextAugmentTasks")
AUGMENT_V2_STOP = _v2("dataprocessing", "StopTextAugmentTask")  # from here on of this platform only
AUGMENT_V2_DELETE = _v2("dataprocessing", "DeleteTextAugmentTask")

PROMPT_CREATE = _v1("prompt", "prompt/template/create")
PROMPT_INFO = _v1("prompt", "prompt/template/info")
PROMPT_UPDATE = _v1("prompt", "prompt/template/update")
PROMPT_DELETE = _v1("prompt", "prompt/template/delete")
PROMPT_LIST = _v1("prompt", "prompt/template/list")
PROMPT_LABEL_LIST = _v1("prompt", "prompt/label/list")
PROMPT_OPTIMIZE_CREATE = _v1("prompt", "prompt/singleOptimize/create")
PROMPT_OPTIMIZE_INFO = _v1("prompt", "prompt/singleOptimize/info")
PROMPT_EVALUATE_SCORE = _v1("prompt", "prompt/evaluate/predict")
PROMPT_EVALUATE_SUMMARY = _v1("prompt", "prompt/evaluate/summary")
PROMPT_V2_CREATE = _v2("promptTemplates", "CreatePromptTemplate")
PROMPT_V2_INFO = _v2("promptTemplates", "DescribePromptTemplate")
PROMPT_V2_UPDATE = _v2("promptTemplates", "ModifyPromptTemplate")
PROMPT_V2_DELETE = _v2("promptTemplates", "DeletePromptTemplate")
PROMPT_V2_LIST = _v2("promptTemplates", "DescribePromptTemplates")
PROMPT_LABEL_V2_CREATE = _v2("promptLabels", "CreatePromptLabel")
PROMPT_LABEL_V2_LIST = _v2("promptLabels", "DescribePromptLabels")
PROMPT_LABEL_V2_DELETE = _v2("promptLabels", "DeletePromptLabel")

# Of this platform only: the body is the file, the answer's `result` has `path` (`bos:/local/<file id>`),
# `id`, `size` (bytes) and `sha256`. The ordinary dataset import takes the path.
FILE_UPLOAD = Route("/v2/files", "v2")

V2_CHAT = Route("/v2/chat/completions", "openai")
V2_EMBEDDINGS = Route("/v2/embeddings", "openai")
V2_RERANKERS = Route("/v2/rerankers", "openai")
V2_IMAGES = Route("/v2/images/generations", "openai")
V2_MODELS = Route("/v2/models", "openai", method="GET")

EB_PLUGIN = Route(f"{INFERENCE_PREFIX}/erniebot/plugins", "inference")
EB_PLUGIN_V2 = Route(f"{INFERENCE_PREFIX}/erniebot/plugin", "inference")
TOKENIZER = Route(f"{INFERENCE_PREFIX}/tokenizer/erniebot", "inference")

# Of this platform only: accounts and their keys, what was used, and how fast each account and app may go.
ACCOUNT_CREATE = _v2("account", "CreateAccount")
ACCOUNT_LIST = _v2("account", "DescribeAccounts")
KEY_CREATE = _v2("account", "CreateKey")
KEY_LIST = _v2("account", "DescribeKeys")
KEY_DELETE = _v2("account", "DeleteKey")
KEY_RENEW = _v2("account", "RenewKey")
USAGE_DESCRIBE = _v2("account", "DescribeUsage")
LIMITS_DESCRIBE = _v2("account", "DescribeLimits")
LIMITS_SET = _v2("account", "SetLimits")
FAULTS_SET = _v2("account", "SetFaults")

# Of this platform only: plugin applications and the knowledge bases that they ask.
PLUGIN_CREATE = _v2("plugin", "CreatePlugin")
PLUGIN_DESCRIBE = _v2("plugin", "DescribePlugin")
PLUGIN_LIST = _v2("plugin", "DescribePlugins")
PLUGIN_DELETE = _v2("plugin", "DeletePlugin")
KNOWLEDGE_BASE_CREATE = _v2("plugin", "CreateKnowledgeBase")
KNOWLEDGE_BASE_DESCRIBE = _v2("plugin", "DescribeKnowledgeBase")
KNOWLEDGE_BASE_LIST = _v2("plugin", "DescribeKnowledgeBases")
KNOWLEDGE_BASE_DELETE = _v2("plugin", "DeleteKnowledgeBase")
DOCUMENT_ADD = _v2("plugin", "AddDocument")
DOCUMENT_LIST = _v2("plugin", "DescribeDocuments")
DOCUMENT_DELETE = _v2("plugin", "DeleteDocument")
KNOWLEDGE_SEARCH = _v2("plugin", "SearchKnowledgeBase")


def inference_path(kind: str, endpoint: str) -> str:
    """Path of a service: `kind` is `chat`, `completions`, `embeddings`, `plugin`, …"""
    tail = f"{INFERENCE_PREFIX}/{kind}/{quote(endpoint, safe='-_.~')}"
    return f"{tail}/" if kind == "plugin" else tail
