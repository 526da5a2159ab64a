"""What the answers look like on the wire: every documented member, of the type that typed clients read it as."""

from __future__ import annotations

import re
from typing import Any

NUMBER, TRUTH = int, bool
TEXT, LIST, OBJECT = str, list, dict
LINK = r"https?://\S+"
ISO_CHINA = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00"
ISO_Z = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
PLAIN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def ident(prefix: str, length: int = 12) -> str:
    """A public id: its prefix, and lower-case letters and digits."""
    return f"{prefix}-[a-z0-9]{{{length}}}"


TASK, JOB, MODEL, VERSION, SERVICE = map(ident, ("job", "task", "am", "amv", "svco"))  # in the words of V1
DATASET, GROUP = ident("ds", 16), ident("dg", 16)

DATASET_MADE = {
    "id": NUMBER, "groupId": NUMBER, "groupPK": GROUP, "datasetId": DATASET, "versionId": NUMBER,
    "storageInfo": {"storageId": TEXT, "storagePath": TEXT, "storageName": TEXT},
}  # fmt: skip
DATASET_INFO = {
    "groupPK": GROUP, "name": TEXT,
    "versionInfo": {
        "id": NUMBER, "groupId": NUMBER, "datasetId": NUMBER, "datasetPK": DATASET, "versionId": NUMBER,
        "dataType": NUMBER, "projectType": NUMBER, "templateType": NUMBER, "storageType": TEXT,
        "storage": {"storageId": TEXT, "storageName": TEXT, "storagePath": TEXT, "rawStoragePath": TEXT, "region": TEXT},
        "importStatus": NUMBER, "exportStatus": NUMBER, "releaseStatus": NUMBER, "releaseErrCode": NUMBER,
        "exportRecordCount": NUMBER, "entityCount": NUMBER, "modifyTime": PLAIN,
    },
}  # fmt: skip
TASK_MADE = {"id": NUMBER, "uuid": TASK, "name": TEXT, "description": TEXT, "createTime": PLAIN}
JOB_MADE = {"id": NUMBER, "uuid": JOB}
JOB_DETAIL = {
    "id": NUMBER, "description": TEXT, "taskId": NUMBER, "taskName": TEXT, "version": NUMBER, "jobRunType": NUMBER,
    "trainType": TEXT, "trainMode": TEXT, "peftType": TEXT, "trainStatus": "RUNNING|FINISH|FAIL|STOP",
    "progress": NUMBER, "runTime": NUMBER, "trainTime": NUMBER, "startTime": PLAIN, "finishTime": PLAIN, "vdlLink": LINK,
}  # fmt: skip
TASK_DETAIL = {
    "taskId": JOB, "jobId": TASK, "jobName": TEXT, "jobDescription": TEXT, "model": TEXT, "trainMode": TEXT,
    "parameterScale": "FullFineTuning|PromptTuning|LoRA", "runStatus": TEXT, "runProgress": r"\d+%", "vdlLink": LINK,
    "checkpointList": LIST, "createDate": ISO_Z, "finishDate": ISO_Z,
}  # fmt: skip
SUPPORTED = {"key": TEXT, "type": "int|float|string|boolean", "checkType": "range|choice|mult_choice", "checkValue": LIST,
             "default": object, "name": TEXT, "description": TEXT}  # fmt: skip

PUBLISHED = {
    "modelId": NUMBER,
    "modelIDStr": MODEL,
    "version": r"\d+",
    "versionId": NUMBER,
    "versionIdStr": VERSION,
}
SOURCE = {
    "taskId": NUMBER, "taskIdStr": TASK, "taskName": TEXT, "iterationVersion": NUMBER, "runId": NUMBER, "runIdStr": JOB,
    "devType": NUMBER, "modelType": NUMBER, "templateType": NUMBER,
}  # fmt: skip
VERSION_ITEM = {
    "modelId": NUMBER, "modelIdStr": MODEL, "modelName": TEXT, "modelVersionId": NUMBER, "modelVersionIdStr": VERSION,
    "version": r"\d+", "description": TEXT, "sourceType": "Train|PlatformPreset|Import",
    "sourceExtra": {"sourceType": TEXT, "trainSourceExtra": SOURCE}, "framework": TEXT, "algorithm": TEXT, "modelNet": TEXT,
    "state": "Creating|Ready|Fail", "ioMode": TEXT, "ioLength": TEXT, "copyright": TEXT, "property": OBJECT,
    "createTime": ISO_CHINA, "modifyTime": ISO_CHINA, "deployResource": LIST, "supportOptions": LIST, "trainType": TEXT,
}  # fmt: skip
VERSION_DETAIL = {**VERSION_ITEM, "params": {"input": OBJECT, "output": OBJECT}}
MODEL_DETAIL = {
    "modelId": NUMBER, "modelIdStr": MODEL, "modelName": TEXT, "source": "UserCreate|PlatformPreset", "modelType": NUMBER,
    "createUserId": NUMBER, "createUser": TEXT, "createTime": ISO_CHINA, "modifyTime": ISO_CHINA, "description": TEXT,
    "trainType": TEXT, "modelVersionList": LIST,
}  # fmt: skip
USER_ITEM = {
    "modelName": TEXT, "modelId": NUMBER, "modelIdStr": MODEL, "modelType": NUMBER, "tags": (list, type(None)),
    "createTime": TEXT, "versionCount": NUMBER, "trainType": TEXT,
    "latestVersionInfo": {"state": TEXT, "version": r"\d+", "sourceType": TEXT, "sourceExtra": OBJECT, "versionId": NUMBER,
                          "versionIdStr": VERSION},
}  # fmt: skip
PRESET_ITEM = {
    "modelId": NUMBER, "modelIdStr": MODEL, "modelName": TEXT, "modelType": NUMBER, "description": TEXT,
    "versionCount": NUMBER, "modifyTime": TEXT, "isStarModel": TRUTH, "isNewest": TRUTH,
    "modelAdvantage": (list, type(None)), "versionSummaries": LIST,
}  # fmt: skip
PRESET_VERSION = {
    "versionId": NUMBER, "versionIdStr": VERSION, "version": r"\d+", "algorithm": TEXT, "framework": TEXT,
    "apiDocLink": TEXT, "presetService": TEXT, "supportOptions": LIST,
}  # fmt: skip
EVALUABLE = {
    "modelId": NUMBER, "modelIdStr": MODEL, "modelName": TEXT, "source": TEXT, "modelType": NUMBER, "trainType": TEXT,
    "modelVersionList": LIST,
}  # fmt: skip
EVALUABLE_VERSION = {
    "modelVersionId": NUMBER, "modelVersionIdStr": VERSION, "version": r"\d+", "sourceType": TEXT, "framework": TEXT,
    "algorithm": TEXT, "modelNet": TEXT, "trainType": TEXT, "description": TEXT,
}  # fmt: skip
MODEL_SET = {"modelSetId": MODEL, "modelSetName": TEXT, "source": TEXT, "modelType": TEXT, "createTime": ISO_Z,
             "modifyTime": ISO_Z, "modelIds": LIST}  # fmt: skip
SYSTEM_SET = {"modelSetId": MODEL, "modelSetName": TEXT, "modelType": TEXT, "description": TEXT, "modelCount": NUMBER,
              "modelIds": LIST, "modelNames": LIST, "modifyTime": TEXT}  # fmt: skip
MODEL_OF_SET = {"modelId": VERSION, "modelSetId": MODEL, "sourceType": TEXT, "isSupportModelComp": TRUTH,
                "sourceInfo": {"trainTaskId": JOB}}  # fmt: skip

SERVICE_DETAIL = {
    "id": NUMBER, "name": TEXT, "description": TEXT, "creator": TEXT, "modelId": NUMBER, "modelName": TEXT,
    "modelType": NUMBER, "templateType": NUMBER, "iterationId": NUMBER, "modelVersion": TEXT, "version": TEXT,
    "uri": r"[a-z0-9]{8}_\S+", "fullUri": LINK, "applyStatus": NUMBER,
    "serviceStatus": "New|Deploying|Done|Failed|Stopped", "sourceType": NUMBER, "onlineTime": NUMBER, "createTime": NUMBER,
    "modifyTime": NUMBER, "callUnitPrice": TEXT, "devApiId": NUMBER, "apiId": NUMBER,
    "vmConfig": {"resourceId": TEXT, "instanceCount": NUMBER, "CPUNum": NUMBER, "memory": NUMBER, "GPUType": TEXT,
                 "GPUNum": NUMBER, "volumeId": TEXT},
    "timeout": NUMBER, "qps": NUMBER, "noAuthAccess": TRUTH, "hasDeploying": TRUTH, "openDcl": TRUTH, "payType": NUMBER,
}  # fmt: skip
SERVICE_ITEM = {"serviceId": r"\d{1,10}", "serviceUuid": r"svco-[a-z0-9]{12}", "name": TEXT, "url": LINK, "apiType": TEXT,
                "chargeStatus": "NOTOPEN|OPENED|STOP|FREE", "versionList": LIST}  # fmt: skip
SERVICE_V2 = {
    "serviceId": SERVICE, "modelSetId": MODEL, "modelId": VERSION, "modelVersionId": VERSION, "baseModel": TEXT,
    "name": TEXT, "description": TEXT, "url": LINK, "endpoint": TEXT, "serviceType": TEXT,
    "runStatus": "New|Deploying|Serving|Failed|Stopped", "updateStatus": TEXT, "chargeType": TEXT, "payType": TEXT,
    "chargeStatus": TEXT, "createTime": ISO_Z, "resourceConfig": {"type": TEXT, "replicasCount": NUMBER},
}  # fmt: skip
SERVICE_MADE = {"result": TRUTH, "serviceId": NUMBER, "serviceUuid": SERVICE}
SERVICE_MADE_V2 = {"serviceId": SERVICE, "instanceId": TEXT}

ANSWER = {
    "id": TEXT, "object": "chat.completion", "created": NUMBER, "result": TEXT, "is_truncated": TRUTH,
    "need_clear_history": TRUTH, "usage": {"prompt_tokens": NUMBER, "completion_tokens": NUMBER, "total_tokens": NUMBER},
}  # fmt: skip
CHUNK = ANSWER | {"sentence_id": NUMBER, "is_end": TRUTH}


def fits(told: Any, shape: dict[str, Any], where: str = "result") -> Any:
    """`told`, which has every member of `shape`: a type, some types, a pattern of the whole text, or a shape again."""
    assert isinstance(told, dict), f"{where} is {told!r}"
    for name, wanted in shape.items():
        assert name in told, f"{where}.{name} is missing"
        value, place = told[name], f"{where}.{name}"
        if isinstance(wanted, dict):
            fits(value, wanted, place)
        elif isinstance(wanted, str):
            assert isinstance(value, str), f"{place} is {value!r}"
            assert re.fullmatch(wanted, value), f"{place} is {value!r}, not {wanted}"
        else:
            assert isinstance(value, wanted), f"{place} is {value!r}"
            assert wanted is not NUMBER or not isinstance(value, bool), f"{place} is {value!r}"
    return told


def unfinished(shape: dict[str, Any]) -> dict[str, Any]:
    """The shape of a run that goes on: nought where its end would be told."""
    nought = {"finishTime": "0000-00-00 00:00:00", "finishDate": "0000-00-00T00:00:00Z"}
    return shape | {name: text for name, text in nought.items() if name in shape}
