"""HTTP services as tools: what an OpenAPI 3 document describes, what may be sent, and the request it makes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import quote, urlencode, urlsplit

import orjson

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.files.addresses import checked_url

from .schema import problem

METHODS: Final = ("get", "post", "put", "patch", "delete")
MAX_OPERATIONS: Final = 50
MAX_DEPTH: Final = 12  # of a schema, references followed
MAX_NODES: Final = 5_000  # of all schemas of an operation
BODY: Final = "body"  # the argument that is sent as the body

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_KEPT: Final = frozenset(
    [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "accept-encoding",
        "user-agent",
        "cookie",
        "authorization",
        "content-type",
    ]
)


@dataclass(frozen=True)
class Operation:
    """One thing that a service does. places: argument → path, query, header or body."""

    name: str
    description: str
    method: str  # GET, POST, …
    path: str  # with {arguments}
    parameters: dict[str, Any]  # JSON schema of all arguments, an object
    places: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _wrong(why: str, advice: str = "see docs/guides/plugins.md for what is taken") -> Fault:
    return Fault(errors.CONSOLE_PARAMETER, f"param[tools.openapi] invalid: {why}", advice)


def may_be_header(name: str) -> bool:
    """Whether a header of this name may be set by a tool, beside those that we set."""
    return bool(_HEADER.fullmatch(name)) and (name.lower() == "authorization" or name.lower() not in _KEPT)


def document_of(given: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The document, read from JSON or YAML. YAML needs PyYAML, and may have no aliases. Raises Fault."""
    if isinstance(given, str):
        given = _parsed(given)
    version = given.get("openapi") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(version, str) or not version.startswith("3."):
        raise _wrong("it is no OpenAPI 3 document: its member openapi must be 3.x")
    return given


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        import yaml
    except ImportError:
        raise _wrong(
            "it is not JSON, and this server reads no YAML", "send JSON, or install open-qianfan[dataset]"
        ) from None

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        """Without aliases: a few lines of them can stand for gigabytes."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise _wrong("its YAML has aliases (*name)", "write them out")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Plain)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _wrong("it is neither JSON nor YAML") from None


def server_of(document: Mapping[str, Any], given: str | None = None) -> str:
    """The address that paths are added to: `given`, else the first of the document's servers. Raises Fault."""
    servers = document.get("servers")
    first = servers[0].get("url") if isinstance(servers, list) and servers and _is(servers[0]) else None
    url = given or first
    if not isinstance(url, str) or not url or "{" in url:
        raise _wrong("it names no server", "send server, such as https://api.example.com/v1")
    parts = checked_url(url)
    if parts.query:
        raise _wrong("the server's URL has a query")
    return url.rstrip("/")


def operations_of(document: Mapping[str, Any], only: Sequence[str] | None = None) -> list[Operation]:
    """What the service does; `only` these operationIds. Raises Fault, naming what cannot be called."""
    paths = document.get("paths")
    if not _is(paths):
        raise _wrong("it has no paths")
    found: dict[str, Operation] = {}
    for path, item in paths.items():
        if not isinstance(path, str) or not path.startswith("/") or not _is(item):
            raise _wrong(f"the path {str(path)[:60]!r} must begin with / and be an object")
        for method in METHODS:
            if not _is(item.get(method)):
                continue
            name = _name(item[method], method, path)
            if only is not None and name not in only:
                continue
            if name in found:
                raise _wrong(f"the operation {name!r} is there twice")
            found[name] = _operation(document, name, method, path, item)
            if len(found) > MAX_OPERATIONS:
                raise _wrong(f"it has more than {MAX_OPERATIONS} operations", "send operations: those to use")
    absent = sorted(set(only or ()) - found.keys())
    if absent or not found:
        raise _wrong(f"it has no operation {absent[0]!r}" if absent else "it has no operations")
    return list(found.values())


def _is(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _name(operation: Mapping[str, Any], method: str, path: str) -> str:
    given = operation.get("operationId") or f"{method}_{path.strip('/') or 'root'}"
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(given)).strip("_")[:64]
    if not _NAME.fullmatch(name):
        raise _wrong(f"the operation {method.upper()} {path[:60]} has no usable operationId")
    return name


def _operation(
    document: Mapping[str, Any], name: str, method: str, path: str, item: Mapping[str, Any]
) -> Operation:
    operation = item[method]
    reader = _Reader(document)
    properties: dict[str, Any] = {}
    places: dict[str, str] = {}
    required: list[str] = []
    for given in [*(item.get("parameters") or []), *(operation.get("parameters") or [])]:
        parameter = reader.resolved(given)
        key, place = parameter.get("name"), parameter.get("in")
        if not isinstance(key, str) or not _NAME.fullmatch(key) or key == BODY:
            raise _wrong(f"{name} has a parameter with the name {str(key)[:60]!r}")
        if place not in ("path", "query", "header"):
            raise _wrong(f"{name}: a parameter in {str(place)[:20]!r} cannot be sent")
        if place == "header" and (key.lower() in _KEPT or not may_be_header(key)):
            continue  # OpenAPI says that these are ignored; a credential has a place of its own
        schema = reader.plain(parameter.get("schema") or {"type": "string"})
        if place != "query" and schema.get("type") in ("object", "array"):
            raise _wrong(f"{name}: the parameter {key} in the {place} must be a plain value")
        if parameter.get("description"):
            schema = {**schema, "description": str(parameter["description"])[:500]}
        properties[key], places[key] = schema, place
        if parameter.get("required") is True or place == "path":
            required.append(key)
    if operation.get("requestBody") is not None:
        body = reader.resolved(operation["requestBody"])
        content = (body.get("content") or {}).get("application/json")
        if not _is(content):
            raise _wrong(f"{name}: only a body of application/json can be sent")
        properties[BODY], places[BODY] = reader.plain(content.get("schema") or {"type": "object"}), BODY
        if body.get("required") is True:
            required.append(BODY)
    wanted = set(re.findall(r"\{([^{}]*)\}", path))
    missing = wanted - {key for key, place in places.items() if place == "path"}
    if missing:
        raise _wrong(f"{name}: the path parameter {min(missing)[:60]!r} is not described")
    about = " ".join(str(operation.get(part) or "") for part in ("summary", "description")).strip()
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(dict.fromkeys(required)),
        "additionalProperties": False,
    }
    return Operation(name, about[:1000], method.upper(), path, parameters, places)


class _Reader:
    """Follows references inside the document, as far as is sane."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._nodes = 0

    def resolved(self, value: Any) -> Mapping[str, Any]:
        """An object, or the one that its `$ref` leads to."""
        for _ in range(MAX_DEPTH):
            if not isinstance(value, Mapping):
                raise _wrong("an object was expected where something else is")
            if "$ref" not in value:
                return value
            value = self._target(value["$ref"])
        raise _wrong("references lead round in a circle")

    def plain(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """A schema without references."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _wrong("a schema is nested too deeply, or refers to itself")
        found: dict[str, Any] = {}
        for key, value in self.resolved(schema).items():
            if key == "properties" and isinstance(value, Mapping):
                found[key] = {str(name): self.plain(one, depth + 1) for name, one in value.items()}
            elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
                found[key] = self.plain(value, depth + 1)
            elif key in ("anyOf", "oneOf", "allOf") and isinstance(value, list):
                found[key] = [self.plain(one, depth + 1) for one in value]
            elif key in _SIMPLE:
                found[key] = value
        return found

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _wrong("only references inside the document (#/…) are followed")
        place: Any = self._document
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, Mapping) or part not in place:
                raise _wrong(f"{reference[:80]} leads nowhere")
            place = place[part]
        return place


_SIMPLE: Final = frozenset(
    [
        "type",
        "enum",
        "const",
        "required",
        "description",
        "default",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "nullable",
        "format",
        "additionalProperties",
    ]
)


# ── the request ──────────────────────────────────────────────────────────────────────────────────


def url_and_body(
    server: str, operation: Operation, arguments: Mapping[str, Any]
) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body of a call. Raises Fault when the arguments do not fit the schema."""
    wrong = problem(arguments, operation.parameters)
    if wrong:
        raise Fault(errors.PARAMETER, f"{operation.name} cannot be called so: {wrong}", "")
    path = operation.path
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    body = b""
    for key, value in arguments.items():
        match operation.places[key]:
            case "path":
                text = _text(value)
                if text in ("", ".", ".."):
                    raise Fault(
                        errors.PARAMETER, f"{operation.name} cannot be called with {key} = {text!r}", ""
                    )
                path = path.replace(f"{{{key}}}", quote(text, safe=""))
            case "query":
                query += [(key, text) for text in _texts(value)]
            case "header":
                text = _text(value)
                if not all(0x20 <= ord(mark) < 0x7F for mark in text):
                    raise Fault(
                        errors.PARAMETER, f"{operation.name}: the header {key} must be printable ASCII", ""
                    )
                headers[key] = text
            case _:
                body = orjson.dumps(value)
                headers["Content-Type"] = "application/json"
    url = f"{server}{quote(path, safe='/%:@!$&()*+,;=~-._')}"
    return f"{url}?{urlencode(query)}" if query else url, headers, body


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    else:
        yield _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def shown(url: str) -> str:
    """A URL fit to show: the query may hold a credential."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
