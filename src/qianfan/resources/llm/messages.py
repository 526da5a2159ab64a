"""A conversation that grows turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from qianfan.errors import InvalidArgumentError
from qianfan.transport.response import QfResponse


class Role(str, Enum):
    """Who speaks."""

    User = "user"
    Assistant = "assistant"
    Function = "function"


class Messages:
    """The turns so far; give it to `do(messages=...)`. Not safe to change from several threads."""

    def __init__(self) -> None:
        self._turns: list[dict[str, Any]] = []

    def append(self, message: str | QfResponse, role: str | Role | None = None) -> None:
        """Add a turn: a text is the user's, an answer the assistant's, unless `role` says otherwise.

        A text after an assistant's function call is that function's result. Raises InvalidArgumentError for
        other things, and for an answer without `result`; the pieces of a stream are to be joined first."""
        if isinstance(message, str):
            self._turns.append(self._spoken(message, role))
        elif isinstance(message, QfResponse):
            self._turns.append(self._answered(message, role))
        else:
            raise InvalidArgumentError(
                f"a message is a text or an answer, not {type(message).__name__}",
                advice="join the pieces of a stream into one text, then append(text, role='assistant')",
                advice_zh="请先将流式结果拼成一段文本，再调用 append(text, role='assistant')",
            )

    def _spoken(self, text: str, role: str | Role | None) -> dict[str, Any]:
        call = self._turns[-1].get("function_call") if self._turns else None
        if role is None:
            role = Role.Function if call else Role.User
        turn: dict[str, Any] = {"role": _word(role), "content": text}
        if turn["role"] == Role.Function.value and isinstance(call, Mapping):
            turn["name"] = call.get("name", "")
        return turn

    @staticmethod
    def _answered(answer: QfResponse, role: str | Role | None) -> dict[str, Any]:
        said = _said(answer.body)
        result = said.get("content")
        if result is None and said.get("tool_calls"):
            result = ""
        if not isinstance(result, str):
            raise InvalidArgumentError(
                "the answer has no text in `result`",
                advice="append a text, or an answer of a chat model",
                advice_zh="请添加文本，或对话模型的回答",
            )
        turn: dict[str, Any] = {"role": _word(role or Role.Assistant), "content": result}
        turn.update({name: said[name] for name in ("function_call", "tool_calls") if said.get(name)})
        return turn

    def to_list(self) -> list[dict[str, Any]]:
        """The turns as the platform takes them; a copy."""
        return [dict(turn) for turn in self._turns]

    _to_list = to_list  # the name that older programs use

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.to_list())

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self._turns[index])

    def __repr__(self) -> str:
        return f"Messages({self._turns})"


def _said(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an answer says, as a turn: on V1 `result` and `function_call`, on V2 the first choice's message."""
    if "choices" in body:
        choice: Mapping[str, Any] = next(iter(body["choices"] or ()), {})
        return choice.get("message") or {}
    return {"content": body.get("result"), "function_call": body.get("function_call")}


def _word(role: str | Role) -> str:
    word = role.value if isinstance(role, Role) else role
    if word not in {known.value for known in Role}:
        raise InvalidArgumentError(
            f"there is no role {word!r}",
            advice="user, assistant or function",
            advice_zh="可用的角色：user、assistant、function",
        )
    return word
