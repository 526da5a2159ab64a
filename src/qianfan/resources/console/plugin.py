"""Plugin applications and the knowledge bases that they ask. Of our platform only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qianfan.contract import routes
from qianfan.contract.enums import DocumentStatus
from qianfan.errors import InvalidArgumentError, QianfanError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .files import Files
from .utils import console_call

POLL_S: Final = 0.3


class PluginManager:
    """Plugins of the platform: a model that may ask knowledge bases and call tools. Ids may be int or string.

    What is made here is asked with `qianfan.Plugin().do(query, endpoint=…)`. Further keywords go into the body;
    every method has `.aio` for asyncio, except where it says otherwise."""

    @console_call
    def create(
        cls,
        /,
        name: str,
        uri: str | None = None,
        knowledge_bases: Sequence[int | str] = (),
        tools: Sequence[dict[str, Any]] = (),
        builtins: Sequence[str] = (),
        model: str | None = None,
        system: str | None = None,
        top_n: int | None = None,
        score: float | None = None,
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Make a plugin; `result.uri` is what `endpoint=` takes, `result.pluginId` its id.

        uri: letters, digits, - and _, unique in the account; None: a random one.
        tools: HTTP services, each {"name", "openapi": a document of OpenAPI 3 (object or text), "server",
        "operations": [operationId, …], "credential": {"kind": "bearer" | "basic" | "header" | "query", "value",
        "name"}}; all but the first two may be left out. builtins: of `clock` and `calculator`.
        model: an endpoint or a model's name; None: the default chat model. system: may hold {{variables}}, which
        a call fills with `input_variables`. top_n: passages used, 1–20 (4). score: 0–1, what passages must
        reach (0.2)."""
        return Call(
            routes.PLUGIN_CREATE,
            {
                **kwargs,
                "name": name,
                "uri": uri,
                "knowledgeBaseIds": [*knowledge_bases],
                "tools": [*tools],
                "builtins": [*builtins],
                "model": model,
                "system": system,
                "topN": top_n,
                "score": score,
                "description": description,
            },
            creates=True,
        )

    @console_call
    def get(cls, /, plugin_id: int | str, **kwargs: Any) -> Call:
        """One plugin with its tools. Credentials are never told."""
        return Call(routes.PLUGIN_DESCRIBE, {**kwargs, "pluginId": plugin_id})

    @console_call
    def list(cls, /, marker: str | None = None, max_keys: int | None = None, **kwargs: Any) -> Call:
        """Plugins, newest first: `result.pluginList`; `result.pageInfo.nextMarker` begins the next page."""
        return Call(routes.PLUGIN_LIST, {**kwargs, "marker": marker, "maxKeys": max_keys})

    @console_call
    def delete(cls, /, plugin_id: int | str, **kwargs: Any) -> Call:
        """Delete a plugin. Its knowledge bases stay."""
        return Call(routes.PLUGIN_DELETE, {**kwargs, "pluginId": plugin_id})

    @console_call
    def create_knowledge_base(cls, /, name: str, description: str | None = None, **kwargs: Any) -> Call:
        """Make an empty knowledge base; its id is `result.knowledgeBaseId`. The name is unique in the account."""
        return Call(
            routes.KNOWLEDGE_BASE_CREATE, {**kwargs, "name": name, "description": description}, creates=True
        )

    @console_call
    def get_knowledge_base(cls, /, knowledge_base_id: int | str, **kwargs: Any) -> Call:
        """One knowledge base: `result.documentCount`, `result.chunkCount`."""
        return Call(routes.KNOWLEDGE_BASE_DESCRIBE, {**kwargs, "knowledgeBaseId": knowledge_base_id})

    @console_call
    def list_knowledge_bases(
        cls, /, marker: str | None = None, max_keys: int | None = None, **kwargs: Any
    ) -> Call:
        """Knowledge bases, newest first: `result.knowledgeBaseList`, paged as `list` is."""
        return Call(routes.KNOWLEDGE_BASE_LIST, {**kwargs, "marker": marker, "maxKeys": max_keys})

    @console_call
    def delete_knowledge_base(cls, /, knowledge_base_id: int | str, **kwargs: Any) -> Call:
        """Delete a knowledge base with its documents. Refused while a plugin asks it."""
        return Call(routes.KNOWLEDGE_BASE_DELETE, {**kwargs, "knowledgeBaseId": knowledge_base_id})

    @console_call
    def add_document(
        cls,
        /,
        knowledge_base_id: int | str,
        text: str | None = None,
        path: str | None = None,
        url: str | None = None,
        name: str | None = None,
        format: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Begin to read a document in; `result.documentId` is its id, see `wait_document`.

        One of: text; path, `bos:/local/<file id>` as `Files.upload` answers it; url, fetched by the platform.
        format: text, markdown or html; None: told by the name and the content. At most 20 MiB."""
        if sum(given is not None for given in (text, path, url)) != 1:
            raise InvalidArgumentError(
                "a document is given by one of text, path and url",
                advice="for a file of this machine: PluginManager.upload_document",
            )
        return Call(
            routes.DOCUMENT_ADD,
            {
                **kwargs,
                "knowledgeBaseId": knowledge_base_id,
                "text": text,
                "path": path,
                "url": url,
                "name": name,
                "format": format,
            },
            creates=True,
        )

    @classmethod
    def upload_document(
        cls, knowledge_base_id: int | str, file: str | Path, name: str | None = None, **kwargs: Any
    ) -> QfResponse:
        """`add_document` of a file of this machine. For asyncio: `aupload_document`."""
        kept = Files.upload(file, name)
        return cls.add_document(
            knowledge_base_id, path=kept["result"]["path"], name=name or Path(file).name, **kwargs
        )

    @classmethod
    async def aupload_document(
        cls, knowledge_base_id: int | str, file: str | Path, name: str | None = None, **kwargs: Any
    ) -> QfResponse:
        """The same for asyncio."""
        kept = await Files.aupload(file, name)
        return await cls.add_document.aio(
            knowledge_base_id, path=kept["result"]["path"], name=name or Path(file).name, **kwargs
        )

    @console_call
    def list_documents(
        cls,
        /,
        knowledge_base_id: int | str,
        document_id: int | str | None = None,
        marker: str | None = None,
        max_keys: int | None = None,
        **kwargs: Any,
    ) -> Call:
        """Documents, newest first: `result.documentList`, each with `status` New, Running, Done or Fail.

        document_id: only that one."""
        return Call(
            routes.DOCUMENT_LIST,
            {
                **kwargs,
                "knowledgeBaseId": knowledge_base_id,
                "documentId": document_id,
                "marker": marker,
                "maxKeys": max_keys,
            },
        )

    @console_call
    def delete_document(cls, /, document_id: int | str, **kwargs: Any) -> Call:
        """Delete a document, also while it is being read."""
        return Call(routes.DOCUMENT_DELETE, {**kwargs, "documentId": document_id})

    @console_call
    def search(
        cls,
        /,
        knowledge_base_id: int | str,
        query: str,
        top_n: int | None = None,
        score: float | None = None,
        **kwargs: Any,
    ) -> Call:
        """The best passages for a question, best first, without a model: `result.responses`.

        top_n: 1–50 (5). score: 0–1, what is below is left out (0)."""
        return Call(
            routes.KNOWLEDGE_SEARCH,
            {
                **kwargs,
                "knowledgeBaseId": knowledge_base_id,
                "query": query,
                "topN": top_n,
                "score": score,
            },
        )

    @classmethod
    def wait_document(
        cls, knowledge_base_id: int | str, document_id: int | str, timeout_s: float = 600.0, **kwargs: Any
    ) -> dict[str, Any]:
        """Wait until a document can be found; returns it. For asyncio: `await_document`.

        Raises QianfanError when it cannot be read, or is not ready within `timeout_s` seconds."""
        until = time.monotonic() + timeout_s
        while True:
            found = cls.list_documents(knowledge_base_id, document_id, **kwargs)["result"]["documentList"][0]
            if _over(found, until, timeout_s):
                return dict(found)
            time.sleep(POLL_S)

    @classmethod
    async def await_document(
        cls, knowledge_base_id: int | str, document_id: int | str, timeout_s: float = 600.0, **kwargs: Any
    ) -> dict[str, Any]:
        """The same for asyncio."""
        until = time.monotonic() + timeout_s
        while True:
            answer = await cls.list_documents.aio(knowledge_base_id, document_id, **kwargs)
            found = answer["result"]["documentList"][0]
            if _over(found, until, timeout_s):
                return dict(found)
            await asyncio.sleep(POLL_S)


def _over(document: dict[str, Any], until: float, timeout_s: float) -> bool:
    """Whether there is nothing more to wait for."""
    status, name = document["status"], document["name"]
    if status == DocumentStatus.Fail.value:
        raise QianfanError(f"the document {name!r} could not be read in: {document['reason']}")
    if status != DocumentStatus.Done.value and time.monotonic() > until:
        raise QianfanError(
            f"the document {name!r} is not ready after {timeout_s:g} s",
            advice="it goes on; look again with PluginManager.list_documents",
        )
    return bool(status == DocumentStatus.Done.value)
