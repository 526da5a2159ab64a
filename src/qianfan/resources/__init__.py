"""What can be called: models (`llm`) and the platform's console (`console`)."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .console.account import Account as Account
    from .console.batch_inference import BatchInference as BatchInference
    from .console.data import Data as Data
    from .console.evaluation import Evaluation as Evaluation
    from .console.files import Files as Files
    from .console.finetune import FineTune as FineTune
    from .console.model import Model as Model
    from .console.plugin import PluginManager as PluginManager
    from .console.prompt import Prompt as Prompt
    from .console.service import Service as Service
    from .llm.chat import ChatCompletion as ChatCompletion
    from .llm.completion import Completion as Completion
    from .llm.embedding import Embedding as Embedding
    from .llm.function import Function as Function
    from .llm.image2text import Image2Text as Image2Text
    from .llm.messages import Messages as Messages
    from .llm.messages import Role as Role
    from .llm.openai_client import Qianfan as Qianfan
    from .llm.plugin import Plugin as Plugin
    from .llm.reranker import Reranker as Reranker
    from .llm.text2image import Text2Image as Text2Image
    from .llm.tokenizer import Tokenizer as Tokenizer

_NAMES = {
    "ChatCompletion": "llm.chat",
    "Completion": "llm.completion",
    "Embedding": "llm.embedding",
    "Function": "llm.function",
    "Image2Text": "llm.image2text",
    "Plugin": "llm.plugin",
    "Qianfan": "llm.openai_client",
    "Reranker": "llm.reranker",
    "Text2Image": "llm.text2image",
    "Tokenizer": "llm.tokenizer",
    "Messages": "llm.messages",
    "Role": "llm.messages",
    "Account": "console.account",
    "BatchInference": "console.batch_inference",
    "Data": "console.data",
    "Evaluation": "console.evaluation",
    "Files": "console.files",
    "FineTune": "console.finetune",
    "Model": "console.model",
    "PluginManager": "console.plugin",
    "Prompt": "console.prompt",
    "Service": "console.service",
}

__all__ = list(_NAMES)


def __getattr__(name: str) -> object:
    if name in ("console", "llm"):
        return import_module(f"{__name__}.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
