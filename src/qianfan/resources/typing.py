"""Names that older programs import from here."""

from __future__ import annotations

from typing import Any

from qianfan.transport.call import Call as QfRequest
from qianfan.transport.response import QfResponse

from .llm.messages import Messages as QfMessages
from .llm.messages import Role as QfRole

JsonDict = dict[str, Any]

__all__ = ["JsonDict", "QfMessages", "QfRequest", "QfResponse", "QfRole"]
