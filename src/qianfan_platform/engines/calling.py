"""Function calls for an engine that only writes texts and can be held to a JSON schema. See `tools`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from qianfan_platform.engines import tools
from qianfan_platform.engines.protocol import Delta, Message, RequestRefused, Sampling
from qianfan_platform.engines.schemas import check, closed

Answer = Callable[[Sequence[Message], Sampling], AsyncGenerator[Delta, None]]


async def calling(
    answer: Answer, messages: Sequence[Message], sampling: Sampling
) -> AsyncGenerator[Delta, None]:
    """What `answer` gives, with the functions of `sampling.tools` offered to the model and its calls read.

    Raises RequestRefused, and what `answer` raises."""
    offered = tools.chosen(sampling.tools, sampling.tool_choice)
    plain = replace(sampling, tools=(), tool_choice="auto")
    if not offered:
        async with aclosing(answer(tools.flat(messages), plain)) as pieces:
            async for delta in pieces:
                yield delta
        return
    if sampling.json_schema is not None:
        raise RequestRefused(
            "this model cannot be offered tools and be held to a JSON schema at once; leave one of them out"
        )
    shape = tools.schema(offered, sampling.tool_choice)
    check(shape)
    shape = closed(shape)
    # Stop words are for what the caller reads, not for the JSON around it.
    held = replace(plain, json_schema=shape, stop=(), min_tokens=None)
    asked = tools.with_tools(messages, offered, sampling.tool_choice)
    reader, stops = tools.Reader(), Stops(sampling.stop)
    prompt_tokens, count = None, 0
    async with aclosing(answer(asked, held)) as pieces:
        async for delta in pieces:
            prompt_tokens = delta.prompt_tokens or prompt_tokens
            count += bool(delta.text)
            if text := stops.feed(reader.feed(delta.text)):
                yield Delta(text, prompt_tokens=prompt_tokens)
            if stops.met:
                yield Delta("", "stop", prompt_tokens, count)
                return
            if delta.finish_reason is None:
                continue
            call = reader.call()
            if call is not None and call.name in {tool.name for tool in offered}:
                yield replace(delta, text="", finish_reason="tool_calls", tool_calls=(call,))
            else:
                whole = delta.finish_reason == "stop"
                yield replace(delta, text=stops.rest() + (reader.unread() if whole else ""))


class Stops:
    """Cuts a text that comes in pieces before the first of some stop words."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.met = False

    def feed(self, piece: str) -> str:
        """What can be said now. The beginning of what may become a stop word is held back."""
        if not self._stops or self.met:
            return "" if self.met else piece
        text = self._held + piece
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:
            self.met, self._held = True, ""
            return text[: min(ends)]
        keep = max(
            (n for stop in self._stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, when no more comes."""
        held, self._held = self._held, ""
        return held
