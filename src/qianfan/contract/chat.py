"""Rules of a conversation on the V1 interface."""

from __future__ import annotations

from typing import Any


def messages_problem(messages: Any) -> str | None:
    """What is wrong with the structure of `messages`, or None. The texts are the platform's own."""
    if not isinstance(messages, list) or not messages:
        return "the messages must be a list with at least one message"
    if len(messages) % 2 == 0:
        return "the length of messages must be an odd number"
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"message {index} must be an object with role and content"
        role, content = message.get("role"), message.get("content")
        if index % 2 == 0 and role not in ("user", "function"):
            return "the role of message with even index in the messages must be user or function"
        if index % 2 == 1 and role != "assistant":
            return "the role of message with odd index in the messages must be assistant"
        if not isinstance(content, str):
            return f"the content of message {index} must be a text"
        if not content.strip() and not message.get("function_call"):
            return "message content can not be empty"
        if role == "function" and not _is_name(message.get("name")):
            return f"message {index} has the role function and needs the name of the function"
    return None


def call_problem(call: Any) -> str | None:
    """What is wrong with the call of a function in a message, or None."""
    if not isinstance(call, dict):
        return "function_call must be an object with name and arguments"
    if not _is_name(call.get("name")):
        return "function_call's name can't be blank"
    if not isinstance(call.get("arguments"), str):
        return "function_call's arguments must be a text that holds JSON"
    return None


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip())
