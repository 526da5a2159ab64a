"""The tools that one question may use, and the calling of them."""

from __future__ import annotations

import binascii
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from qianfan.contract.errors import PARAMETER, Fault
from qianfan.contract.plugins import ToolCredential
from qianfan_platform.engines.protocol import Tool, ToolCall
from qianfan_platform.files import fetch
from qianfan_platform.files.addresses import Allow
from qianfan_platform.inference.quoting import neutral
from qianfan_platform.platform import Platform

from . import calculator, clock, openapi
from .openapi import Operation
from .operations import CALCULATOR, CLOCK, credential_of
from .tables import PluginTool

log = logging.getLogger("qianfan_platform.plugins")

ANSWER_LIMIT: Final = 256 * 1024  # bytes that a service may answer
ANSWER_SHOWN: Final = 4_000  # characters of it that the model reads
TIMEOUT_S: Final = 20.0

_BUILT_IN: Final = {
    CLOCK: Tool(
        CLOCK,
        "The current date and time.",
        {
            "type": "object",
            "properties": {"zone": {"type": "string", "description": "such as Asia/Shanghai"}},
        },
    ),
    CALCULATOR: Tool(
        CALCULATOR,
        "The value of an arithmetic expression.",
        {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "such as 12*(3+4)"}},
            "required": ["expression"],
        },
    ),
}


@dataclass(frozen=True)
class Used:
    """A tool that was called. arguments: JSON text; output: None while it works; failed: it did not do it."""

    tool: str
    operation: str
    arguments: str
    output: str | None = None
    failed: bool = False


class Toolbox:
    """The tools of a question. only: names of tools or operations; None is all of them."""

    def __init__(
        self,
        platform: Platform,
        builtins: Sequence[str],
        services: Sequence[PluginTool],
        only: set[str] | None = None,
    ) -> None:
        self._platform = platform
        self.builtins = [name for name in builtins if only is None or name in only]
        self._services: dict[str, tuple[PluginTool, Operation]] = {}
        for service in services:
            for row in service.operations:
                operation = Operation(**row)
                if only is None or only & {service.name, operation.name}:
                    self._services[operation.name] = (service, operation)
        self.services = tuple(
            Tool(name, one.description, one.parameters) for name, (_, one) in self._services.items()
        )
        self.offered = (*(_BUILT_IN[name] for name in self.builtins), *self.services)

    def begin(self, call: ToolCall) -> Used:
        """The call as it is about to be made."""
        service = self._services.get(call.name)
        return Used(service[0].name if service else call.name, call.name, call.arguments)

    async def call(self, call: ToolCall) -> Used:
        """Make a call. What goes wrong is the output, so that the model can put it right or say it."""
        begun = self.begin(call)
        try:
            arguments = _arguments(call.arguments)
            if call.name in self.builtins:
                output = _built_in(call.name, arguments)
            elif call.name in self._services:
                output = await self._ask(*self._services[call.name], arguments)
            else:
                known = ", ".join(tool.name for tool in self.offered)
                return _done(begun, f"there is no tool {call.name[:60]!r}; there are: {known}", failed=True)
        except Fault as fault:
            return _done(begun, fault.text, failed=True)
        return _done(begun, output)

    async def _ask(self, service: PluginTool, operation: Operation, arguments: Mapping[str, Any]) -> str:
        url, headers, body = openapi.url_and_body(service.server, operation, arguments)
        url, headers = _with_credential(url, headers, credential_of(self._platform, service))
        answer = await fetch.request(
            operation.method,
            url,
            headers={"Accept": "application/json, text/*", **headers},
            body=body,
            allow=Allow.parse(self._platform.settings.allow_fetch),
            limit_bytes=ANSWER_LIMIT,
            timeout_s=TIMEOUT_S,
        )
        log.info("the tool %s answered HTTP %d", operation.name, answer.status)
        text = answer.body.decode("utf-8", "replace").replace("\0", "")
        if len(text) > ANSWER_SHOWN:
            text = f"{text[:ANSWER_SHOWN]} … ({len(text) - ANSWER_SHOWN} more characters)"
        return text if 200 <= answer.status < 300 else f"HTTP {answer.status}: {text}"


def _done(begun: Used, output: str, *, failed: bool = False) -> Used:
    return Used(begun.tool, begun.operation, begun.arguments, neutral(output), failed)


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Fault(PARAMETER, "the arguments are no JSON object", "")
    return found


def _built_in(name: str, arguments: Mapping[str, Any]) -> str:
    if name == CLOCK:
        return clock.now(str(arguments.get("zone") or ""))
    return calculator.calculate(str(arguments.get("expression") or ""))


def _with_credential(
    url: str, headers: dict[str, str], credential: ToolCredential | None
) -> tuple[str, dict[str, str]]:
    if credential is None:
        return url, headers
    value, name = credential["value"], credential.get("name", "")
    match credential["kind"]:
        case "bearer":
            return url, {**headers, "Authorization": f"Bearer {value}"}
        case "basic":
            coded = binascii.b2a_base64(value.encode(), newline=False).decode()
            return url, {**headers, "Authorization": f"Basic {coded}"}
        case "header":
            return url, {**headers, name: value}
        case _:
            joint = "&" if "?" in url else "?"
            return f"{url}{joint}{quote(name, safe='')}={quote(value, safe='')}", headers
