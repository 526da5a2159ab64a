"""JSON schemas that callers send, checked at the door whatever engine will answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qianfan_platform.engines import schemas
from qianfan_platform.engines.protocol import RequestRefused

from .members import refuse


def checked(schema: Any, name: str) -> Mapping[str, Any]:
    """`schema` itself. Raises Fault when it is no object, or would cost an engine more than an answer does.

    name: of the member that holds it, for the error."""
    if not isinstance(schema, dict):
        refuse(f"{name} must be a JSON schema, which is an object")
    try:
        schemas.check(schema)
    except RequestRefused as refused:
        refuse(f"{name}: {refused}")
    return schema
