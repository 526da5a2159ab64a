"""Open Qianfan: the SDK. Names load on first use, so importing costs milliseconds and opens nothing."""

from __future__ import annotations

__version__ = VERSION = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import AK as AK
    from .config import SK as SK
    from .config import AccessKey as AccessKey
    from .config import AccessToken as AccessToken
    from .config import SecretKey as SecretKey
    from .config import get_config as get_config
    from .config import get_config_with_kwargs as get_config_with_kwargs
    from .resources.console.data import Data as Data
    from .resources.console.finetune import FineTune as FineTune
    from .resources.console.model import Model as Model
    from .resources.console.prompt import Prompt as Prompt
    from .resources.console.service import Service as Service
    from .resources.llm.chat import ChatCompletion as ChatCompletion
    from .resources.llm.completion import Completion as Completion
    from .resources.llm.embedding import Embedding as Embedding
    from .resources.llm.function import Function as Function
    from .resources.llm.image2text import Image2Text as Image2Text
    from .resources.llm.messages import Messages as Messages
    from .resources.llm.messages import Role as Role
    from .resources.llm.openai_client import Qianfan as Qianfan
    from .resources.llm.plugin import Plugin as Plugin
    from .resources.llm.reranker import Reranker as Reranker
    from .resources.llm.text2image import Text2Image as Text2Image
    from .resources.llm.tokenizer import Tokenizer as Tokenizer
    from .transport.response import QfResponse as QfResponse
    from .utils.logging import disable_log as disable_log
    from .utils.logging import enable_log as enable_log

    QfMessages = Messages
    QfRole = Role
    Response = QfResponse

# name → (module, name inside it)
_NAMES = {
    "AK": ("config", "AK"),
    "SK": ("config", "SK"),
    "AccessKey": ("config", "AccessKey"),
    "SecretKey": ("config", "SecretKey"),
    "AccessToken": ("config", "AccessToken"),
    "get_config": ("config", "get_config"),
    "get_config_with_kwargs": ("config", "get_config_with_kwargs"),
    "ChatCompletion": ("resources.llm.chat", "ChatCompletion"),
    "Completion": ("resources.llm.completion", "Completion"),
    "Embedding": ("resources.llm.embedding", "Embedding"),
    "Function": ("resources.llm.function", "Function"),
    "Image2Text": ("resources.llm.image2text", "Image2Text"),
    "Plugin": ("resources.llm.plugin", "Plugin"),
    "Qianfan": ("resources.llm.openai_client", "Qianfan"),
    "Reranker": ("resources.llm.reranker", "Reranker"),
    "Text2Image": ("resources.llm.text2image", "Text2Image"),
    "Tokenizer": ("resources.llm.tokenizer", "Tokenizer"),
    "Messages": ("resources.llm.messages", "Messages"),
    "QfMessages": ("resources.llm.messages", "Messages"),
    "Role": ("resources.llm.messages", "Role"),
    "QfRole": ("resources.llm.messages", "Role"),
    "Response": ("transport.response", "QfResponse"),
    "QfResponse": ("transport.response", "QfResponse"),
    "FineTune": ("resources.console.finetune", "FineTune"),
    "Model": ("resources.console.model", "Model"),
    "Service": ("resources.console.service", "Service"),
    "Data": ("resources.console.data", "Data"),
    "Prompt": ("resources.console.prompt", "Prompt"),
    "enable_log": ("utils.logging", "enable_log"),
    "disable_log": ("utils.logging", "disable_log"),
}
_MODULES = ("config", "dataset", "embedded", "errors", "resources", "trainer", "utils")

__all__ = [*_NAMES, "VERSION", "embedded", "errors"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _NAMES:
        module, attribute = _NAMES[name]
        value: object = getattr(import_module(f"{__name__}.{module}"), attribute)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module 'qianfan' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_MODULES})
