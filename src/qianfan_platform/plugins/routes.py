"""The console of plugins and knowledge bases: HTTP in, HTTP out. Of this platform only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qianfan.contract import plugins, routes
from qianfan.contract.bodies import V2Page
from qianfan.contract.errors import NOT_FOUND, Fault
from qianfan.contract.routes import inference_path
from qianfan.contract.times import zulu
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import asking, operations
from .shapes import meta_of
from .tables import Document, KnowledgeBase, PluginApp, PluginTool

router = Router(aliases={"maker": "marker"})
PAGE: Final = 20
MOST: Final = 100
SEARCHED: Final = 5  # passages of a search that names no number


def _plugin(call: Call, app: PluginApp, tools: list[PluginTool], bases: Mapping[int, str]) -> dict[str, Any]:
    return {
        "pluginId": app.public_id,
        "name": app.name,
        "description": app.description,
        "uri": app.uri,
        "url": f"{call.base_url}{inference_path('plugin', app.uri)}",
        "model": app.model,
        "system": app.system,
        "knowledgeBaseIds": [bases[ident] for ident in app.bases if ident in bases],
        "builtins": app.builtins,
        "tools": [
            {
                "name": tool.name,
                "server": tool.server,
                "hasCredential": tool.credential is not None,
                "operations": [
                    {
                        "name": row["name"],
                        "description": row["description"],
                        "method": row["method"],
                        "path": row["path"],
                        "parameters": row["parameters"],
                    }
                    for row in tool.operations
                ],
            }
            for tool in tools
        ],
        "topN": app.top_n,
        "score": app.score,
        "createDate": zulu(app.created_at),
    }


async def _base_names(call: Call) -> dict[int, str]:
    return {base.id: base.public_id for base in await call.tx.find(KnowledgeBase, owner=call.owner)}


@router.v2(routes.PLUGIN_CREATE, plugins.CreatePlugin)
async def create_plugin(call: Call) -> Any:
    app = await operations.create_plugin(call.tx, call.platform, call.owner, call.body)  # type: ignore[arg-type]
    return _plugin(call, app, await operations.tools_of(call.tx, app), await _base_names(call))


@router.v2(routes.PLUGIN_DESCRIBE, plugins.PluginRef, write=False)
async def describe_plugin(call: Call) -> Any:
    app = await operations.plugin(call.tx, call.owner, call.body["pluginId"])
    return _plugin(call, app, await operations.tools_of(call.tx, app), await _base_names(call))


@router.v2(routes.PLUGIN_LIST, V2Page, write=False)
async def list_plugins(call: Call) -> Any:
    rows, info = await _page(call, PluginApp)
    bases = await _base_names(call)
    shown = [_plugin(call, app, await operations.tools_of(call.tx, app), bases) for app in rows]
    return {"pluginList": shown, "pageInfo": info}


@router.v2(routes.PLUGIN_DELETE, plugins.PluginRef)
async def delete_plugin(call: Call) -> Any:
    await operations.delete_plugin(call.tx, call.owner, call.body["pluginId"])
    return True


def _base(base: KnowledgeBase, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "knowledgeBaseId": base.public_id,
        "name": base.name,
        "description": base.description,
        "documentCount": size[0],
        "chunkCount": size[1],
        "createDate": zulu(base.created_at),
    }


@router.v2(routes.KNOWLEDGE_BASE_CREATE, plugins.CreateKnowledgeBase)
async def create_base(call: Call) -> Any:
    return _base(await operations.create_base(call.tx, call.owner, call.body), (0, 0))  # type: ignore[arg-type]


@router.v2(routes.KNOWLEDGE_BASE_DESCRIBE, plugins.KnowledgeBaseRef, write=False)
async def describe_base(call: Call) -> Any:
    base = await operations.base(call.tx, call.owner, call.body["knowledgeBaseId"])
    sizes = await operations.sizes(call.tx, [base.id])
    return _base(base, sizes.get(base.id, (0, 0)))


@router.v2(routes.KNOWLEDGE_BASE_LIST, V2Page, write=False)
async def list_bases(call: Call) -> Any:
    rows, info = await _page(call, KnowledgeBase)
    sizes = await operations.sizes(call.tx, [base.id for base in rows])
    return {"knowledgeBaseList": [_base(base, sizes.get(base.id, (0, 0))) for base in rows], "pageInfo": info}


@router.v2(routes.KNOWLEDGE_BASE_DELETE, plugins.KnowledgeBaseRef)
async def delete_base(call: Call) -> Any:
    await operations.delete_base(call.tx, call.platform, call.owner, call.body["knowledgeBaseId"])
    return True


def _document(document: Document) -> dict[str, Any]:
    return {
        "documentId": document.public_id,
        "name": document.name,
        "source": document.source,
        "status": document.status,
        "reason": document.reason,
        "chunkCount": document.chunk_count,
        "characterCount": document.character_count,
        "createDate": zulu(document.created_at),
    }


@router.v2(routes.DOCUMENT_ADD, plugins.AddDocument)
async def add_document(call: Call) -> Any:
    return _document(await operations.add_document(call.tx, call.platform, call.owner, call.body))  # type: ignore[arg-type]


@router.v2(routes.DOCUMENT_LIST, plugins.ListDocuments, write=False)
async def list_documents(call: Call) -> Any:
    marker, size = call.body.get("marker"), min(call.body.get("maxKeys", PAGE), MOST)
    base_id = call.body["knowledgeBaseId"]
    if "documentId" in call.body:
        base = await operations.base(call.tx, call.owner, base_id)
        one = await operations.document(call.tx, call.owner, call.body["documentId"])
        if one.base_id != base.id:
            raise Fault(NOT_FOUND, f"document {one.public_id} is not in knowledge base {base.public_id}")
        return {"documentList": [_document(one)], "pageInfo": page_info(marker, size, None)}
    rows, following = await operations.documents(call.tx, call.owner, base_id, marker, size)
    return {"documentList": [_document(row) for row in rows], "pageInfo": page_info(marker, size, following)}


@router.v2(routes.DOCUMENT_DELETE, plugins.DocumentRef)
async def delete_document(call: Call) -> Any:
    await operations.delete_document(call.tx, call.platform, call.owner, call.body["documentId"])
    return True


@router.v2(routes.KNOWLEDGE_SEARCH, plugins.SearchKnowledge, write=False)
async def search(call: Call) -> Any:
    """The passages alone, without an answer of a model."""
    base = await operations.base(call.tx, call.owner, call.body["knowledgeBaseId"])
    query, floor = call.body["query"], call.body.get("score", 0.0)
    most = call.body.get("topN", SEARCHED)
    caller = Caller(call.owner, call.app, "iam")
    hits, _ = await asking.find(call.platform, caller, [base], query, most, floor, lambda headers: None)
    found = meta_of(asking.Found([base.public_id], most, floor, hits), query)
    return {"responses": found["response"]["result"]["responses"]}


async def _page(call: Call, table: type[Any]) -> tuple[list[Any], dict[str, Any]]:
    marker, size = call.body.get("marker"), min(call.body.get("maxKeys", PAGE), MOST)
    where = [table.id <= (await call.tx.one(table, marker, owner=call.owner)).id] if marker else []
    rows = await call.tx.find(table, *where, owner=call.owner, order_by=table.id.desc(), limit=size + 1)
    following = rows[size].public_id if len(rows) > size else None
    return rows[:size], page_info(marker, size, following)
