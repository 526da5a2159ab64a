"""What can be done with plugins and knowledge bases: create, look, list, delete, add documents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Final, TypeVar

import orjson
from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select, update

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.plugins import (
    AddDocument,
    CreateKnowledgeBase,
    CreatePlugin,
    PluginToolSpec,
    ToolCredential,
)
from qianfan_platform import jobs
from qianfan_platform.datasets.operations import LOCAL_PREFIX, local_file
from qianfan_platform.files.addresses import checked_url
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering
from qianfan_platform.store import Row, Tx

from . import openapi, reading
from .tables import Chunk, Document, KnowledgeBase, PluginApp, PluginTool

ASSISTANT: Final = "assistant"  # the endpoint that every account has
CLOCK: Final = "clock"
CALCULATOR: Final = "calculator"
KNOWLEDGE: Final = "uuid-zhishiku"  # how a call names the knowledge bases of a plugin
EMBEDDER: Final = "Embedding-V1"
TOP_N: Final = 4
SCORE: Final = 0.2  # with the default embedder, passages off the subject score below 0.16
MAX_BASES: Final = 200  # of an account
MAX_DOCUMENTS: Final = 20_000  # of a knowledge base

R = TypeVar("R", bound=Row)


# ── plugins ──────────────────────────────────────────────────────────────────────────────────────


async def create_plugin(tx: Tx, platform: Platform, owner: int, spec: CreatePlugin) -> PluginApp:
    """A plugin application with its tools. Its endpoint is `uri`, or a random word. Raises Fault."""
    uri = spec.get("uri") or f"{random_word(8)}_plugin"
    if not all(char.isascii() and (char.isalnum() or char in "-_") for char in uri):
        raise Fault(
            errors.CONSOLE_PARAMETER, f"param[uri] invalid: {uri!r}", "use letters, digits, - and _ only"
        )
    taken = Fault(errors.NAME_TAKEN, f"the endpoint {uri!r} is taken", "choose another uri")
    if uri == ASSISTANT:
        raise taken
    bases = [(await base(tx, owner, ident)).id for ident in spec.get("knowledgeBaseIds", [])]
    app = PluginApp(
        owner_id=owner,
        name=spec["name"],
        uri=uri,
        description=spec.get("description", ""),
        model=spec.get("model", ""),
        system=spec.get("system", ""),
        bases=list(dict.fromkeys(bases)),
        builtins=list(dict.fromkeys(spec.get("builtins", []))),
        top_n=spec.get("topN", TOP_N),
        score=spec.get("score", SCORE),
    )
    await tx.add_unique(app, taken)
    names: set[str] = {KNOWLEDGE, CLOCK, CALCULATOR}
    count = 0
    for tool in spec.get("tools", []):
        count += await _add_tool(tx, platform, app, tool, names)
    if count > openapi.MAX_OPERATIONS:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[tools] invalid: {count} operations, and a model can choose from {openapi.MAX_OPERATIONS}",
            "send operations: those to use, or make several plugins",
        )
    return app


async def _add_tool(tx: Tx, platform: Platform, app: PluginApp, spec: PluginToolSpec, names: set[str]) -> int:
    """Register one HTTP service; returns how many operations it has. names: those that are taken; grows."""
    document = openapi.document_of(spec["openapi"])
    operations = openapi.operations_of(document, spec.get("operations"))
    server = openapi.server_of(document, spec.get("server"))
    for name in dict.fromkeys([spec["name"], *(operation.name for operation in operations)]):
        if name in names:
            raise Fault(errors.CONSOLE_PARAMETER, f"param[tools] invalid: the name {name!r} is used twice")
        names.add(name)
    row = await tx.add(
        PluginTool(
            owner_id=app.owner_id,
            app_id=app.id,
            name=spec["name"],
            server=server,
            operations=[operation.as_json() for operation in operations],
        )
    )
    if "credential" in spec:
        credential = _checked(spec["credential"])
        row.credential = platform.vault.seal(orjson.dumps(credential).decode(), row.public_id)
    return len(operations)


def _checked(credential: ToolCredential) -> ToolCredential:
    """What can be sent; the value never gets into the message."""
    name, kind = credential.get("name", ""), credential["kind"]
    problem = ""
    if kind in ("header", "query") and not name:
        problem = f"a credential of the kind {kind} needs the name of the {kind}"
    elif kind == "header" and not openapi.may_be_header(name):
        problem = f"{name!r} is no header that may be set"
    elif not all(0x20 <= ord(mark) < 0x7F for mark in credential["value"]):
        problem = "a credential is printable ASCII"
    elif kind == "basic" and ":" not in credential["value"]:
        problem = "the value of a basic credential is user:password"
    if problem:
        raise Fault(errors.CONSOLE_PARAMETER, f"param[tools.credential] invalid: {problem}")
    return credential


def credential_of(platform: Platform, tool: PluginTool) -> ToolCredential | None:
    """What a tool is called with, opened. It must not get into any text."""
    if tool.credential is None:
        return None
    opened: ToolCredential = orjson.loads(platform.vault.unseal(tool.credential, tool.public_id))
    return opened


async def plugin(tx: Tx, owner: int, ident: Id) -> PluginApp:
    """A plugin, by either id."""
    return await tx.one(PluginApp, ident, owner=owner)


async def plugin_at(tx: Tx, owner: int, uri: str) -> PluginApp:
    """The plugin that answers under an endpoint; `assistant` is there without having been made."""
    found = await tx.maybe(PluginApp, PluginApp.uri == uri, owner=owner)
    if found is not None:
        return found
    if uri != ASSISTANT:
        raise Fault(
            errors.UNSUPPORTED_METHOD,
            f"no plugin answers under the endpoint {uri[:64]!r}",
            "create one with PluginManager.create, or ask the endpoint assistant",
        )
    bases = await tx.find(KnowledgeBase, owner=owner, limit=MAX_BASES)
    return PluginApp(
        id=0,
        owner_id=owner,
        name=ASSISTANT,
        uri=ASSISTANT,
        model="",
        system="",
        bases=[one.id for one in bases],
        builtins=[CLOCK, CALCULATOR],
        top_n=TOP_N,
        score=SCORE,
    )


async def tools_of(tx: Tx, app: PluginApp) -> list[PluginTool]:
    """The HTTP services that a plugin may call."""
    return await tx.find(PluginTool, PluginTool.app_id == app.id) if app.id else []


async def delete_plugin(tx: Tx, owner: int, ident: Id) -> None:
    """Delete a plugin and its tools; its knowledge bases stay."""
    app = await plugin(tx, owner, ident)
    for tool in await tools_of(tx, app):
        await tx.delete(tool)
    await tx.delete(app)


# ── knowledge bases ──────────────────────────────────────────────────────────────────────────────


async def create_base(tx: Tx, owner: int, spec: CreateKnowledgeBase) -> KnowledgeBase:
    """An empty knowledge base; its name is unique in the account."""
    if await tx.count(KnowledgeBase, owner=owner) >= MAX_BASES:
        raise Fault(
            errors.CONSOLE_PARAMETER, f"an account has at most {MAX_BASES} knowledge bases", "delete one"
        )
    row = KnowledgeBase(owner_id=owner, name=spec["name"], description=spec.get("description", ""))
    taken = Fault(errors.NAME_TAKEN, f"there is a knowledge base named {spec['name']!r}")
    return await tx.add_unique(row, taken)


async def base(tx: Tx, owner: int, ident: Id) -> KnowledgeBase:
    """A knowledge base, by either id."""
    return await tx.one(KnowledgeBase, ident, owner=owner)


async def sizes(tx: Tx, base_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Documents and chunks of each of these knowledge bases."""
    query = (
        select(Document.base_id, func.count(), func.sum(Document.chunk_count))
        .where(Document.base_id.in_(base_ids))
        .group_by(Document.base_id)
    )
    return {row[0]: (int(row[1]), int(row[2] or 0)) for row in await tx.execute(query)}


async def delete_base(tx: Tx, platform: Platform, owner: int, ident: Id) -> None:
    """Delete a knowledge base with its documents. Raises Fault while a plugin asks it."""
    found = await base(tx, owner, ident)
    for app in await tx.find(PluginApp, owner=owner):
        if found.id in app.bases:
            raise Fault(
                errors.WRONG_STATE,
                f"the plugin {app.public_id} ({app.name}) asks this knowledge base",
                "delete the plugin first",
            )
    for document in await tx.find(Document, Document.base_id == found.id):
        await _delete(tx, platform, document)
    await tx.delete(found)


async def changed(tx: Tx, base_id: int) -> None:
    """What can be found in a knowledge base is another from now on."""
    await tx.execute(
        update(KnowledgeBase).where(KnowledgeBase.id == base_id).values(revision=KnowledgeBase.revision + 1),
        execution_options={"synchronize_session": False},
    )


def embedder(platform: Platform) -> Answering:
    """Who makes the vectors of chunks and questions: the default model of embeddings. Raises Fault."""
    answering = serving.preset(platform, EMBEDDER, "embeddings")
    if answering is None:
        raise serving.nobody_serves(EMBEDDER, "embeddings")
    return answering


# ── documents ────────────────────────────────────────────────────────────────────────────────────


async def add_document(tx: Tx, platform: Platform, owner: int, spec: AddDocument) -> Document:
    """Begin to read a document into a knowledge base; its status is New before this returns."""
    into = await base(tx, owner, spec["knowledgeBaseId"])
    given = [name for name in ("text", "path", "url") if name in spec]
    if len(given) != 1:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"a document is given by one of text, path and url, not by {' and '.join(given) or 'none'}",
            "send one of them",
        )
    if await tx.count(Document, Document.base_id == into.id) >= MAX_DOCUMENTS:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"a knowledge base has at most {MAX_DOCUMENTS} documents",
            "delete some, or make another knowledge base",
        )
    name, url = spec.get("name", ""), ""
    file_id: str | None = None
    source: str = given[0]
    if source == "text":
        name = name or "text"
        kept = await platform.files.put(
            spec["text"].encode("utf-8", "replace"), name=name, limit=reading.MAX_BYTES, owner=owner
        )
        file_id = kept.id
    elif source == "path":
        source, file_id = "file", local_file(spec["path"])
        if file_id is None:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"{spec['path']!r} is no file of this platform",
                f"upload the file to /v2/files and send the path it answers ({LOCAL_PREFIX}…)",
            )
        info = await platform.files.info(file_id, owner=owner)
        name = name or info.name or file_id
    else:
        url = spec["url"]
        name = name or PurePosixPath(checked_url(url).path).name[:200] or "page"
    document = await tx.add(
        Document(
            owner_id=owner,
            base_id=into.id,
            name=name,
            format=spec.get("format", ""),
            source=source,
            url=url,
            file_id=file_id,
        )
    )
    job = await jobs.enqueue(tx, "plugins.index", owner=owner, args={"document_id": document.id})
    document.job_id = job.id
    return document


async def documents(
    tx: Tx, owner: int, base_id: Id, marker: str | None, size: int
) -> tuple[list[Document], str | None]:
    """A page of documents, newest first, and the marker of the next page."""
    found = await base(tx, owner, base_id)
    where = [Document.base_id == found.id]
    if marker:
        where.append(Document.id <= (await document(tx, owner, marker)).id)
    rows = await tx.find(Document, *where, order_by=Document.id.desc(), limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def document(tx: Tx, owner: int, ident: Id) -> Document:
    """A document, by either id."""
    return await tx.one(Document, ident, owner=owner)


async def delete_document(tx: Tx, platform: Platform, owner: int, ident: Id) -> None:
    """Delete a document; one that is being read is read no further."""
    await _delete(tx, platform, await document(tx, owner, ident))


async def _delete(tx: Tx, platform: Platform, row: Document) -> None:
    if row.job_id is not None:
        await jobs.cancel(tx, row.job_id)
    await tx.execute(delete_rows(Chunk).where(Chunk.document_id == row.id))
    if row.file_id is not None and row.source != "file":  # an uploaded file is the account's
        tx.after_commit(partial(platform.files.delete, row.file_id))
    await tx.delete(row)
    await changed(tx, row.base_id)
