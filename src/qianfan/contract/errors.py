"""The table of errors: the server sends the code, the client raises the class.

`Fault` is what an operation of the platform raises; `web` writes it in the shape of the route's family.
Codes and texts: the V1 inference interface (below 336999), the console (5xxxxx), and string codes for V2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class ErrorRow:
    """One documented error. `status` is the HTTP status on V2 routes; V1 answers errors with 200."""

    code: int
    v2: str
    status: int
    exception: str  # name of the class in qianfan.errors
    text: str
    advice: str
    advice_zh: str


def _row(
    code: int, v2: str, status: int, text: str, advice: str, advice_zh: str, exception: str = "APIError"
) -> ErrorRow:
    return ErrorRow(code, v2, status, exception, text, advice, advice_zh)


UNKNOWN = _row(1, "internal_error", 500, "Unknown error", "try again; if it stays, look into the server's log", "请重试；若仍失败，请查看服务端日志")  # fmt: skip
UNAVAILABLE = _row(2, "internal_error", 500, "Service temporarily unavailable", "try again in a moment", "服务暂不可用，请稍后重试")  # fmt: skip
UNSUPPORTED_METHOD = _row(3, "invalid_model", 400, "Unsupported openapi method", "check the endpoint's name; `Service.list()` shows those that exist", "请检查 endpoint 名称；可用 Service.list() 查看")  # fmt: skip
REQUEST_LIMIT = _row(4, "cluster_rate_limit_exceeded", 429, "Open api request limit reached", "slow down or raise the quota", "请降低请求频率或提升配额")  # fmt: skip
NO_PERMISSION = _row(6, "access_denied", 403, "No permission to access data", "use the keys of an application that may call this service", "请使用有权限的应用密钥")  # fmt: skip
SERVICE_TOKEN = _row(13, "internal_error", 500, "Get service token failed", "try again in a moment", "获取服务令牌失败，请稍后重试")  # fmt: skip
IAM_FAILED = _row(14, "invalid_iam_token", 401, "IAM Certification failed", "check the access key, the secret key and the clock of this machine", "请检查 Access Key、Secret Key 以及本机时间")  # fmt: skip
APP_MISSING = _row(15, "invalid_appid", 401, "app not exists or create failed", "check the app id; `appid` may be left out", "请检查应用 ID，也可不传 appid")  # fmt: skip
DAILY_LIMIT = _row(17, "user_rate_limit_exceeded", 429, "Open api daily request limit reached", "wait until tomorrow (UTC), or raise the quota; on the cloud the service may not be opened for payment, or the account be in arrears", "当日额度已用完，请明日再试或提升配额；若使用云服务，请确认该服务已开通付费且账户未欠费")  # fmt: skip
QPS_LIMIT = _row(18, "rpm_rate_limit_exceeded", 429, "Open api qps request limit reached", "set query_per_second, or retry_count above 1", "请设置 query_per_second 或提高 retry_count")  # fmt: skip
TOTAL_LIMIT = _row(19, "user_rate_limit_exceeded", 429, "Open api total request limit reached", "raise the quota", "总额度已用完，请提升配额")  # fmt: skip
INVALID_PARAMETER = _row(100, "invalid_argument", 400, "Invalid parameter", "check the parameter that the message names", "请检查提示中的参数")  # fmt: skip
TOKEN_INVALID = _row(110, "invalid_iam_token", 401, "Access token invalid or no longer valid", "fetch a new token; the SDK does this by itself when ak and sk are set", "请重新获取 access_token；设置 ak、sk 后 SDK 会自动获取", "AccessTokenExpiredError")  # fmt: skip
TOKEN_EXPIRED = _row(111, "invalid_iam_token", 401, "Access token expired", "fetch a new token; the SDK does this by itself when ak and sk are set", "请重新获取 access_token；设置 ak、sk 后 SDK 会自动获取", "AccessTokenExpiredError")  # fmt: skip
INTERNAL = _row(336000, "internal_error", 500, "Internal error", "try again; if it stays, look into the server's log under this request id", "请重试；若仍失败，请用请求 ID 查服务端日志")  # fmt: skip
INVALID_ARGUMENT = _row(336001, "invalid_argument", 400, "Invalid Argument", "check the member that the message names", "请检查提示中的字段")  # fmt: skip
INVALID_JSON = _row(336002, "malformed_json", 400, "Invalid JSON", "send a JSON object", "请求体须为 JSON 对象")  # fmt: skip
PARAMETER = _row(336003, "invalid_argument", 400, "Invalid parameter", "check the parameter that the message names", "请检查提示中的参数")  # fmt: skip
API_PERMISSION = _row(336004, "access_denied", 403, "no permission to use this API", "use the keys of an application that may call it", "请使用有权限的应用密钥")  # fmt: skip
API_UNKNOWN = _row(336005, "invalid_model", 400, "the API does not exist", "check the path", "请检查接口路径")  # fmt: skip
MESSAGES = _row(336006, "invalid_messages", 400, "the messages are not well formed", "messages alternate user, assistant, …, user: an odd number, beginning and ending with the user", "messages 须为奇数条，user 与 assistant 交替，首尾均为 user")  # fmt: skip
TOO_LONG = _row(336007, "characters_too_long", 400, "the input is too long", "shorten the messages, or use a model with a longer context", "请缩短输入或使用上下文更长的模型")  # fmt: skip
BUSY = _row(336100, "internal_error", 500, "the server is experiencing high load", "try again in a moment; retry_count above 1 does so by itself", "服务繁忙，请稍后重试；retry_count 大于 1 时会自动重试")  # fmt: skip
WRONG_METHOD = _row(336101, "method_not_supported", 405, "method not supported", "use POST", "请使用 POST 方法")  # fmt: skip
CONTENT_REFUSED = _row(336102, "invalid_argument", 400, "the content is not accepted", "check the content", "内容不被接受，请检查")  # fmt: skip
TOKENS_TOO_LONG = _row(336103, "tokens_too_long", 400, "Prompt tokens too long", "shorten the messages, or use a model with a longer context", "请缩短输入或使用上下文更长的模型")  # fmt: skip
SYSTEM_INVALID = _row(336104, "invalid_argument", 400, "the system text is not valid", "system is a text of at most 1024 characters", "system 须为不超过 1024 字符的文本")  # fmt: skip
USER_SETTING_INVALID = _row(336105, "invalid_argument", 400, "the user_setting is not valid", "user_setting is a text", "user_setting 须为文本")  # fmt: skip
UNSAFE = _row(336117, "system_unsafe", 403, "the request contains unsafe content", "change the text", "内容不安全，请修改")  # fmt: skip
IMAGE_INTERNAL = _row(336200, "internal_error", 500, "the image service failed", "try again in a moment", "图像服务出错，请稍后重试")  # fmt: skip
IMAGE_SIZE = _row(336201, "invalid_argument", 400, "the image size is not valid", "use one of the sizes that the message names", "请使用提示中的尺寸")  # fmt: skip
IMAGE_SAMPLER = _row(336202, "invalid_argument", 400, "the sampler is not valid", "use one of the samplers that the message names", "请使用提示中的采样器")  # fmt: skip
IMAGE_UNSAFE = _row(336203, "invalid_image_genration_prompt", 400, "the prompt is not accepted", "change the prompt", "提示词不被接受，请修改")  # fmt: skip
RPM_LIMIT = _row(336501, "rpm_rate_limit_exceeded", 429, "Rate limit reached for RPM", "slow down (request_per_minute), or set retry_count above 1", "请降低请求频率（request_per_minute）或提高 retry_count")  # fmt: skip
TPM_LIMIT = _row(336502, "tpm_rate_limit_exceeded", 429, "Rate limit reached for TPM", "slow down (token_per_minute), or set retry_count above 1", "请降低 token 用量（token_per_minute）或提高 retry_count")  # fmt: skip

CONSOLE_INTERNAL = _row(500000, "InternalError", 500, "internal error", "try again; if it stays, look into the server's log under this request id", "请重试；若仍失败，请用请求 ID 查服务端日志")  # fmt: skip
CONSOLE_PARAMETER = _row(500001, "InappropriateJSON", 400, "invalid parameter", "check the member that the message names", "请检查提示中的字段")  # fmt: skip
CONSOLE_ACCESS = _row(500002, "AccessDenied", 403, "auth failed, no access", "check the access key and the secret key", "请检查 Access Key 与 Secret Key")  # fmt: skip
NOT_FOUND = _row(500003, "NoSuchResource", 404, "no such resource", "check the id; a thing of another account is not visible", "请检查 ID；其他账号的资源不可见")  # fmt: skip
NAME_TAKEN = _row(500004, "ResourceConflict", 409, "the name is taken", "choose another name", "名称已存在，请更换")  # fmt: skip
WRONG_STATE = _row(500005, "WrongState", 409, "the state does not allow this", "look at the state, and try again when it has changed", "当前状态不允许该操作")  # fmt: skip
NOT_BUILT = _row(500006, "NotImplemented", 501, "this route is not built yet", "see the list of routes in docs/reference/routes.md", "该接口尚未实现，参见 docs/reference/routes.md")  # fmt: skip
MISSING_EXTRA = _row(500007, "MissingExtra", 501, "this server lacks a part it needs", "install the extra that the message names, then start the server again", "请安装提示中的扩展后重启服务")  # fmt: skip
GATE_CLOSED = _row(500008, "GateClosed", 409, "the gate of this model is closed", "evaluate the version beside its baseline; see docs/guides/evaluate.md", "该模型的门禁未通过，请先与基线一起评估", "GateRefusal")  # fmt: skip
TOO_FEW_ENTITIES = _row(510101, "InappropriateJSON", 400, "the dataset has too few records", "add records", "请增加数据")  # fmt: skip
BAD_DATASET = _row(510102, "InappropriateJSON", 400, "the dataset cannot be used", "name a dataset that is there and released", "数据集不可用，请使用存在且已发布的数据集")  # fmt: skip
TASK_NAME_TAKEN = _row(510201, "ResourceConflict", 409, "a task of this name exists", "choose another name", "任务名称已存在，请更换")  # fmt: skip
TASK_NOT_FOUND = _row(510202, "NoSuchResource", 404, "no such task", "check the task id", "请检查任务 ID")  # fmt: skip
RUN_NOT_FOUND = _row(510301, "NoSuchResource", 404, "no such run", "check the ids of task and run", "请检查任务与运行 ID")  # fmt: skip
RUN_STATE = _row(510302, "WrongState", 409, "the run's status does not allow this", "look at the run's status", "运行状态不允许该操作")  # fmt: skip
BAD_TRAIN_CONFIG = _row(510401, "InappropriateJSON", 400, "the training configuration cannot be used", "`qianfan finetune models` lists what can be trained, and with which values", "训练参数不可用；`qianfan finetune models` 列出可训练的模型与取值")  # fmt: skip
NO_INCREMENT = _row(510404, "InappropriateJSON", 400, "the run cannot be trained further", "start from the base model", "该运行不支持增量训练")  # fmt: skip

ROWS: Final[dict[int, ErrorRow]] = {
    row.code: row for row in list(globals().values()) if isinstance(row, ErrorRow)
}
TOKEN_CODES: Final = frozenset({TOKEN_INVALID.code, TOKEN_EXPIRED.code})

# V2 speaks in words. Most are in the rows; these mean the same as one of them.
WORDS: Final[dict[str, ErrorRow]] = {
    **{row.v2: row for row in reversed(ROWS.values())},  # of several rows with one word, the first
    "rpm_rate_limit_exceeded": RPM_LIMIT,
    "preemptible_rpm_rate_limit_exceeded": RPM_LIMIT,
    "preemptible_tpm_rate_limit_exceeded": TPM_LIMIT,
    "invalid_iam_token": IAM_FAILED,
    "no_parameter_permission": API_PERMISSION,
    "account_overdue": DAILY_LIMIT,
    "model_offline": UNSUPPORTED_METHOD,
    "dispatch_internal_error": UNAVAILABLE,
    "functions_unsafe": UNSAFE,
    "user_setting_unsafe": UNSAFE,
    "invalid_image_genration_refer_image": IMAGE_UNSAFE,
    "invalid_image_url": INVALID_PARAMETER,
    "invalid_plugin_argument": INVALID_PARAMETER,
}

PASSING: Final = frozenset(row.code for row in (BUSY, QPS_LIMIT, RPM_LIMIT, TPM_LIMIT, REQUEST_LIMIT))
"""Codes of refusals that pass by themselves: nobody is free, or a quota is used up for the moment."""


class Fault(Exception):
    """An operation cannot be done: says what happened, to what, and what to do next.

    `row` picks the codes; `message` replaces the row's text. advice: None takes the row's, "" gives none."""

    def __init__(self, row: ErrorRow, message: str = "", advice: str | None = None) -> None:
        self.row = row
        self.message = message or row.text
        self.advice = row.advice if advice is None else advice
        super().__init__(self.message)

    @property
    def text(self) -> str:
        """Message and advice in one line, as sent to the client."""
        return f"{self.message}. {self.advice}" if self.advice else self.message


def row_of(code: Any) -> ErrorRow | None:
    """The row of a code, a number or a word of V2; None when the table does not know it."""
    return ROWS.get(code) if isinstance(code, int) else WORDS.get(code) if isinstance(code, str) else None
