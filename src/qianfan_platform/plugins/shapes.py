"""Answers of plugins as they go over the wire: the plugin's own shape, and those of EBPlugin and EBPluginV2."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from qianfan.contract import sse
from qianfan.contract.ids import random_word
from qianfan_platform.inference.frames import quoted

from .asking import Event, Found, Said
from .operations import CALCULATOR, CLOCK, KNOWLEDGE
from .toolbox import Used

VERSION: Final = "1.0.0"
_NAMES: Final = {KNOWLEDGE: "知识库", CLOCK: "时钟", CALCULATOR: "计算器"}


def log_id() -> int:
    """A number that tells calls apart, below 2**53 so that every JSON reader keeps it."""
    return time.time_ns() // 1_000_000 * 1_000 + secrets.randbelow(1_000)


def _text(text: str) -> str:
    whole: str = orjson.loads(quoted(text))
    return whole


class _Shape:
    """What all shapes share: the head, the text, the counts, the end."""

    def __init__(self) -> None:
        self._head = {
            "id": f"as-{random_word(10)}",
            "object": "chat.completion",
            "created": int(time.time()),
        }
        self._number = 0
        self._texts: list[str] = []
        self._last = Said()

    def _take(self, said: Said) -> None:
        self._texts.append(said.text)
        self._last = said

    def _usage(self) -> dict[str, Any]:
        prompt, completion = self._last.prompt_tokens, self._last.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _end(self) -> dict[str, Any]:
        reason = self._last.finish_reason
        end: dict[str, Any] = {"is_truncated": reason == "length", "need_clear_history": False}
        return {**end, "finish_reason": reason} if reason else end

    def _piece(self, text: str) -> dict[str, Any]:
        """A frame, and its number."""
        number, self._number = self._number, self._number + 1
        over = self._last.finish_reason is not None
        return {
            **self._head,
            "sentence_id": number,
            "is_end": over,
            "result": _text(text),
            **self._end(),
            "usage": self._usage(),
        }


class PluginShape(_Shape):
    """The answer of a plugin application. verbose: with `meta_info`."""

    def __init__(self, query: str, *, verbose: bool) -> None:
        super().__init__()
        self._query = query
        self._meta: dict[str, Any] = {}
        self._verbose = verbose
        self._log_id = log_id()

    def frames(self, event: Event) -> Iterator[bytes]:
        """Frames of a stream; the first and the last have `meta_info`."""
        if not isinstance(event, Said):
            self._note(event)
            return
        self._take(event)
        if not event.text and event.finish_reason is None:
            return
        first = self._number == 0
        frame = {**self._piece(event.text), "log_id": self._log_id}
        if self._verbose and (first or event.finish_reason):
            frame["meta_info"] = self._meta
        yield sse.encode(orjson.dumps(frame))

    def take(self, event: Event) -> None:
        """Gather an event of an answer that is told whole."""
        if isinstance(event, Said):
            self._take(event)
        else:
            self._note(event)

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        body = {**self._head, "result": _text("".join(self._texts)), **self._end(), "usage": self._usage()}
        return {**body, **({"meta_info": self._meta} if self._verbose else {}), "log_id": self._log_id}

    def _note(self, event: Found | Used) -> None:
        if isinstance(event, Found):
            self._meta.update(meta_of(event, self._query))
        elif event.output is not None:
            self._meta.setdefault("plugin_id", event.tool)
            self._meta["action"] = event.operation
            self._meta["action_input"] = _text(event.arguments)
            self._meta["action_output"] = _text(event.output)


def meta_of(found: Found, query: str) -> dict[str, Any]:
    """`meta_info` of a question to knowledge bases."""
    responses = [
        {
            "content": _text(hit.text),
            "docId": hit.document_id,
            "docName": hit.document_name,
            "kbId": hit.base_id,
            "kbName": hit.base_name,
            "score": hit.score,
            "shardId": str(hit.chunk_id),
            "shardIndex": hit.number,
        }
        for hit in found.hits
    ]
    return {
        "plugin_id": KNOWLEDGE,
        "request": {
            "query": _text(query),
            "kbIds": list(found.bases),
            "score": found.score,
            "topN": found.top_n,
        },
        "response": {
            "retCode": 0,
            "message": "success" if responses else "nothing was found",
            "result": {"responses": responses},
            "doc_nums": len({hit.document_id for hit in found.hits}),
        },
    }


class MessagesShape(_Shape):
    """The answer of EBPlugin and, with `event:` lines in a stream, of EBPluginV2."""

    def __init__(self, query: str, plugins: Sequence[str], *, named: bool) -> None:
        super().__init__()
        self._query, self._plugins, self._named = query, list(plugins), named
        self._info: list[dict[str, Any]] = []

    def begin(self) -> Iterator[bytes]:
        """What comes before the first event."""
        if self._named:
            yield sse.encode(orjson.dumps({**self._head, "plugin_metas": self._metas()}), "pluginMeta")

    def frames(self, event: Event) -> Iterator[bytes]:
        """Frames of a stream."""
        if isinstance(event, Said):
            self._take(event)
            if event.text or event.finish_reason is not None:
                frame = self._piece(event.text)
                if not self._named and event.finish_reason is not None:
                    frame = {**frame, "plugin_info": self._info, "plugin_metas": self._metas()}
                yield sse.encode(orjson.dumps(frame), "chat" if self._named else None)
            return
        for info in self._noted(event):
            if self._named:
                yield sse.encode(orjson.dumps({**self._head, "plugin_info": [info]}), "plugin")

    def take(self, event: Event) -> None:
        """Gather an event of an answer that is told whole."""
        if isinstance(event, Said):
            self._take(event)
        else:
            self._noted(event)

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        body = {**self._head, "result": _text("".join(self._texts)), **self._end(), "usage": self._usage()}
        return {**body, "plugin_info": self._info, "plugin_metas": self._metas()}

    def _usage(self) -> dict[str, Any]:
        used = dict.fromkeys(info["plugin_name"] for info in self._info)
        counts = {"parse_tokens": 0, "abstract_tokens": 0, "search_tokens": 0, "total_tokens": 0}
        return {**super()._usage(), "plugins": [{"name": name, **counts} for name in used]}

    def _noted(self, event: Found | Used) -> list[dict[str, Any]]:
        """Frames of `plugin_info` that an event makes: begun ("1"), done ("2")."""
        if isinstance(event, Found):
            meta = meta_of(event, self._query)
            asked = orjson.dumps(meta["request"]).decode()
            done = self._told(KNOWLEDGE, "search", asked, orjson.dumps(meta["response"]).decode())
            self._info.append(done)
            return [{**done, "plugin_resp": "", "status": "1"}, done]
        if event.output is None:
            return [self._told(event.tool, event.operation, event.arguments, None)]
        done = self._told(event.tool, event.operation, event.arguments, event.output)
        self._info.append(done)
        return [done]

    @staticmethod
    def _told(tool: str, operation: str, asked: str, answered: str | None) -> dict[str, Any]:
        response = "" if answered is None else answered
        if answered is not None and tool != KNOWLEDGE:
            response = orjson.dumps({"result": _text(answered)}).decode()
        return {
            "plugin_id": f"{tool}:{VERSION}",
            "plugin_name": tool,
            "plugin_req": _text(asked),
            "plugin_resp": response,
            "status": "1" if answered is None else "2",
            "api_id": f"{tool}.{operation}",
        }

    def _metas(self) -> list[dict[str, Any]]:
        return [
            {
                "pluginId": f"{name}:{VERSION}",
                "pluginNameForHuman": _NAMES.get(name, name),
                "pluginNameForModel": name,
                "operationId": name,
                "apiId": f"{name}.{name}",
                "pluginVersion": VERSION,
                "logoUrl": "",
                "uiMeta": {},
                "runtimeMetaInfo": {},
            }
            for name in self._plugins
        ]
