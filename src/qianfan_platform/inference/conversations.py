"""Conversations of the two interfaces, checked, in the words of the engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from qianfan.contract import errors
from qianfan.contract.chat import call_problem, messages_problem
from qianfan.contract.errors import Fault
from qianfan_platform.engines.protocol import Sampling

from . import members, pictures, tools
from .members import Body, refuse
from .schemas import checked

MOST_TOKENS: Final = 1_000_000
MAX_MESSAGES: Final = 4_096
MAX_PROMPT: Final = 600_000  # characters of a completion; the longest that the cloud documents is 516096
V2_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")


@dataclass(slots=True)
class Prompt:
    """A checked conversation and how to answer it. chars: of all its texts. estimate: its tokens, roughly."""

    messages: Sequence[Mapping[str, Any]]
    sampling: Sampling
    chars: int
    estimate: int
    sees: bool = False  # it holds an image


def estimate(text: str) -> int:
    """Tokens of a text, roughly: four letters, or one Chinese character, for each."""
    return len(text.encode(errors="replace")) // 4 + 1


def of_v1(body: Body) -> Prompt:
    """A chat body of the V1 interface. Raises Fault naming the member."""
    turns = body.get("messages")
    _few_enough(turns)
    problem = messages_problem(turns)
    if problem:
        raise Fault(errors.MESSAGES, problem, "")
    offered, choice = tools.of_v1(body)
    messages = _v1_messages(body["messages"])
    system = _v1_system(body)
    if system:
        if body.get("functions"):
            refuse("system cannot go together with functions", "put it into a message", errors.SYSTEM_INVALID)
        messages.insert(0, {"role": "system", "content": system})
    return _prompt(messages, _sampling(body, offered, choice))


def _v1_system(body: Body) -> str:
    system, setting = body.get("system"), body.get("user_setting")
    if system is not None and not isinstance(system, str):
        raise Fault(errors.SYSTEM_INVALID)
    if setting is not None and not isinstance(setting, str):
        raise Fault(errors.USER_SETTING_INVALID)
    return system or setting or ""


def _v1_messages(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As engines read them: a call has an id, which its result names."""
    found: list[dict[str, Any]] = []
    for place, turn in enumerate(turns):
        if turn["role"] == "function":
            result = {"role": "tool", "content": turn["content"], "name": turn["name"]}
            found.append({**result, "tool_call_id": f"call_{place - 1}"})
        elif call := turn.get("function_call"):
            if problem := call_problem(call):
                refuse(problem)
            function = {"name": call["name"], "arguments": call["arguments"]}
            made = {"id": f"call_{place}", "type": "function", "function": function}
            found.append({"role": "assistant", "content": turn["content"], "tool_calls": [made]})
        else:
            found.append({"role": turn["role"], "content": turn["content"]})
    return found


def of_completion(body: Body) -> Prompt:
    """A completion body: the prompt becomes one user message."""
    prompt = members.text(body, "prompt", most=MAX_PROMPT)
    return _prompt([{"role": "user", "content": prompt}], _sampling(body, (), "auto"))


def of_image(body: Body) -> Prompt:
    """A body of image2text: a question about one image."""
    prompt = members.text(body, "prompt", most=MAX_PROMPT)
    url = pictures.data_url(body.get("image"), "image")
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    return _prompt([{"role": "user", "content": content}], _sampling(body, (), "auto"))


def of_v2(body: Body) -> Prompt:
    """A chat body of the V2 interface. Raises Fault naming the member."""
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Fault(errors.MESSAGES, "messages must be a list with at least one message", "")
    _few_enough(turns)
    messages = [_v2_message(turn, place) for place, turn in enumerate(turns)]
    for name in ("logprobs", "top_logprobs"):
        if body.get(name):
            refuse(f"{name} is not supported here", "leave it out")
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return _prompt(messages, _sampling(body, *tools.of_v2(body), limit=limit, hottest=2.0))


_V2_NAMES: Final = {"developer": "system", "function": "tool"}  # older and newer words for the same


def _v2_message(turn: Any, place: int) -> dict[str, Any]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in V2_ROLES:
        _bad(place, "needs a role: system, user, assistant or tool")
    calls = turn.get("tool_calls")
    content = _v2_content(turn.get("content"), place, missing=bool(calls))
    found: dict[str, Any] = {"role": _V2_NAMES.get(role, role), "content": content}
    if calls:
        found["tool_calls"] = _v2_calls(calls, role, place)
    if role in ("tool", "function"):
        ident = turn.get("tool_call_id", turn.get("name"))
        if not isinstance(ident, str) or not ident:
            _bad(place, "needs the tool_call_id that it answers")
        found["tool_call_id"] = ident
    elif role == "user" and not content:
        _bad(place, "content can not be empty")
    return found


def _v2_calls(calls: Any, role: str, place: int) -> list[dict[str, Any]]:
    if role != "assistant" or not isinstance(calls, list):
        _bad(place, "has tool_calls, which must be a list in a message of the assistant")
    found = []
    for call in calls:
        function: Any = call.get("function") if isinstance(call, dict) else None
        if problem := call_problem(function):
            _bad(place, f"has tool_calls that cannot be read: {problem}")
        made = {"name": function["name"], "arguments": function["arguments"]}
        found.append({"id": str(call.get("id") or ""), "type": "function", "function": made})
    return found


def _v2_content(content: Any, place: int, *, missing: bool) -> str | list[dict[str, Any]]:
    """A text, or parts when one of them is an image."""
    if isinstance(content, str):
        return content
    if content is None and missing:
        return ""
    if not isinstance(content, list):
        _bad(place, "must have a text, or a list of parts, as its content")
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            where = f"messages[{place}].image_url"
            parts.append({"type": "image_url", "image_url": {"url": pictures.data_url(url, where)}})
        else:
            _bad(place, "has a part that is neither a text nor an image_url")
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _few_enough(turns: Any) -> None:
    if isinstance(turns, list) and len(turns) > MAX_MESSAGES:
        refuse(
            f"there are {len(turns)} messages; at most {MAX_MESSAGES} are read", "", errors.TOKENS_TOO_LONG
        )


def _bad(place: int, problem: str) -> NoReturn:
    raise Fault(errors.MESSAGES, f"message {place} {problem}", "")


def _prompt(messages: Sequence[Mapping[str, Any]], sampling: Sampling) -> Prompt:
    chars = tokens = 0
    sees = False
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            chars += len(content)
            tokens += estimate(content)
            continue
        for part in content:
            if part["type"] == "text":
                chars += len(part["text"])
                tokens += estimate(part["text"])
            else:
                sees = True
    return Prompt(messages, sampling, chars, tokens, sees)


_CLOUD_ONLY: Final = ("enable_citation", "enable_trace", "enable_system_memory", "web_search")
_IGNORABLE: Final = frozenset((*_CLOUD_ONLY, "tools"))


def ignored(body: Body) -> list[str]:
    """Members that ask for what only the cloud has: the chat goes on without."""
    if _IGNORABLE.isdisjoint(body):
        return []  # most requests
    found = [name for name in _CLOUD_ONLY if (value := body.get(name)) and _is_on(value)]
    if isinstance(rows := body.get("tools"), list):
        kinds = [row.get("type", "function") for row in rows if isinstance(row, dict)]
        found += sorted({str(kind) for kind in kinds if kind != "function"})
    return found


def _is_on(value: Any) -> bool:
    return bool(value.get("enable", True)) if isinstance(value, dict) else True


def _sampling(
    body: Body,
    offered: tuple[Any, ...],
    choice: str,
    *,
    limit: str = "max_output_tokens",
    hottest: float = 1.0,
) -> Sampling:
    """hottest: the highest temperature; V2, where it is 2, takes 0 as well."""
    if not offered and _SAMPLED.isdisjoint(body):
        return _USUAL  # most requests
    members.only_one(body)
    temperature = members.number(body, "temperature", 0, hottest, above=hottest == 1.0)
    most = members.whole(body, limit, 1, MOST_TOKENS)
    least = members.whole(body, "min_output_tokens", 1, MOST_TOKENS)
    if least is not None and most is not None and least > most:
        refuse(f"min_output_tokens is {least}, more than the {most} that the answer may have")
    return Sampling(
        temperature=temperature,
        top_p=members.number(body, "top_p", 0, 1),
        top_k=members.whole(body, "top_k", 1, 1_000_000),
        penalty_score=members.number(body, "penalty_score", 1, 2),
        stop=members.stops(body),
        max_tokens=most,
        min_tokens=least,
        seed=members.whole(body, "seed", 0, 2**53),
        frequency_penalty=members.number(body, "frequency_penalty", -2, 2),
        presence_penalty=members.number(body, "presence_penalty", -2, 2),
        json_schema=_schema(body.get("response_format")),
        tools=offered,
        tool_choice=choice,
    )


_USUAL: Final = Sampling()  # the engine knows what suits its model
_SAMPLED: Final = frozenset(
    [
        "n",
        "temperature",
        "max_output_tokens",
        "max_tokens",
        "max_completion_tokens",
        "min_output_tokens",
        "top_p",
        "top_k",
        "penalty_score",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "response_format",
    ]
)  # every member that `_sampling` reads


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    """The schema of `response_format`: a word, or an object as in the OpenAI interface."""
    form = {"type": wanted} if isinstance(wanted, str) else wanted
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") not in ("text", "json_object", "json_schema"):
        refuse('response_format must be text, json_object or {"type": "json_schema", "json_schema": …}')
    if form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return {}
    schema = form.get("json_schema")
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):
        schema = schema["schema"]  # with its name around it
    return checked(schema, "response_format.json_schema")
