"""The OpenAPI document: each V1 route, each V2 action and each raw path as an operation of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from qianfan_platform import __name__ as package
from qianfan_platform.web.router import Entry, RawEntry


def document(entries: Iterable[Entry], raws: Iterable[RawEntry]) -> dict[str, Any]:
    """OpenAPI 3.1. An action is listed under `path?Action=Name`."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for entry in entries:
        route = entry.route
        path = f"{route.path}?Action={route.action}" if route.action else route.path
        operation = _operation(entry.handler, path, route.family, schemas, entry.body)
        paths.setdefault(path, {})[route.method.lower()] = operation
    for raw in raws:
        for method in raw.methods:
            paths.setdefault(raw.path, {})[method.lower()] = _operation(
                raw.handler, raw.path, raw.family, schemas
            )
    info = {
        "title": "Open Qianfan",
        "version": _version(),
        "description": "The console routes of this platform.",
    }
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("open-qianfan")
    except PackageNotFoundError:
        return f"{package} from source"


def _operation(
    handler: Any, path: str, family: str, schemas: dict[str, Any], body: Any = None
) -> dict[str, Any]:
    text = inspect.getdoc(handler) or ""
    name = getattr(handler, "__name__", path)
    operation: dict[str, Any] = {
        "operationId": f"{family}:{path}",
        "summary": text.split("\n", 1)[0] or name.replace("_", " "),
        "tags": [family],
        "responses": {"200": {"description": "the family's envelope around `result`"}},
    }
    if text:
        operation["description"] = text
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": _schema(body, schemas)}}}
    return operation


def _schema(body: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = TypeAdapter(body).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    return schema
