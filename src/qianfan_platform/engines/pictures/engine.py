"""Pictures made or read on this machine: a pipeline of diffusers, or a captioner of Transformers.

The model computes in a process of its own, one question at a time, on the GPU where torch sees one. Who leaves
stops the work at its next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from qianfan_platform.engines.child import Child, InChild
from qianfan_platform.engines.frames import read, write
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    Message,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from qianfan_platform.engines.refusing import Refusing

from .folder import check, use_of

MODULE: Final = "qianfan_platform.engines.pictures.server"
WHATS: Final = {"text2image": "the image model", "image2text": "the image reader"}
ALONE: Final = dict.fromkeys(
    ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY"), "1"
)  # the folder is all that the child needs: it asks no hub

Event = tuple[dict[str, Any], list[bytes]]  # what the child said, and the pictures that came with it


class PicturesEngine(InChild, Refusing):
    """A running image model. Belongs to the event loop that started it.

    Options of its spec: `kinds`, ("text2image",) or ("image2text",); `start_timeout_s` (600); `idle_s` (120): the
    longest that one step may take."""

    def __init__(self, spec: EngineSpec, child: Child, use: str) -> None:
        self.spec = spec
        self.use = use
        self._child = child
        self._idle_s = float(spec.options.get("idle_s", 120))
        self._free = asyncio.Lock()
        self._writing = threading.Lock()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._asked = 0
        self._ended = self._closed = False
        self._draining: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._listen, args=(loop,), name=f"words of {child.what}", daemon=True
        ).start()

    @classmethod
    async def start(cls, spec: EngineSpec) -> PicturesEngine:
        """The engine, once its model is loaded. Raises EngineFailed with its last log lines."""
        use = use_of(spec.options.get("kinds", ()))
        folder = await asyncio.to_thread(check, spec.model, use)
        told = {
            "use": use,
            "folder": str(folder.resolve()),
            "context": spec.context,
            "threads": spec.threads or max(1, (os.cpu_count() or 2) - 1),
        }
        line = json.dumps(told).encode() + b"\n"
        timeout_s = float(spec.options.get("start_timeout_s", 600))
        child = await Child.start(MODULE, line, WHATS[use], timeout_s=timeout_s, env=ALONE)
        return cls(spec, child, use)

    async def paint(self, wish: ImageWish) -> list[bytes]:
        """PNG files; the same seed makes the same picture. Raises RequestRefused, EngineFailed."""
        if self.use != "text2image":
            return await super().paint(wish)
        async with contextlib.aclosing(self._work(asdict(wish))) as events:
            async for _, pictures in events:
                if pictures:
                    return pictures
        raise EngineFailed(f"{self._child.what} gave no picture")

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """What the model says of a picture. Raises RequestRefused, PromptTooLong, EngineFailed."""
        if self.use != "image2text":
            raise RequestRefused('this model makes images, it does not answer; name one of kind "image2text"')
        if sampling.json_schema is not None or sampling.tools:
            raise RequestRefused(
                "this model reads images; it cannot be held to JSON, and calls no functions. "
                "Leave out response_format and tools"
            )
        ask = {"messages": [dict(message) for message in messages], "sampling": _plain(sampling)}
        async with contextlib.aclosing(self._work(ask)) as events:
            async for said, _ in events:
                if "text" in said:
                    yield Delta(said["text"])
                elif "end" in said:
                    end = said["end"]
                    yield Delta("", end["finish_reason"], end["prompt_tokens"], end["completion_tokens"])

    def alive(self) -> bool:
        """False when the process has ended or the engine was closed."""
        return not self._closed and not self._ended and self._child.alive()

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when it answers within `timeout_s` seconds, or is at work; else EngineFailed.

        One step of a large model may take longer than a probe waits: `idle_s` bounds that."""
        self._must_live()
        if self.working:
            return
        try:
            async with (
                asyncio.timeout(timeout_s),
                contextlib.aclosing(self._work({"ping": True})) as events,
            ):
                async for _ in events:
                    pass
        except TimeoutError:
            what = self._child.what
            raise EngineFailed(
                f"{what} did not answer within {timeout_s:g} s{self._child.last_words()}"
            ) from None

    async def close(self) -> None:
        """End the process. Requests under way end with EngineFailed. May be called again."""
        self._closed = True
        await self._child.stop()
        if self._draining is not None:
            await asyncio.wait([self._draining])

    @property
    def working(self) -> bool:
        """True while a question is in the child, be it one that nobody waits for any more."""
        return self._free.locked()

    async def _work(self, ask: Mapping[str, Any]) -> AsyncGenerator[Event, None]:
        """Ask, and give what the child says, but for signs of life. Leaving stops the work."""
        await self._free.acquire()
        over = True
        try:
            self._must_live()
            over = False
            self._asked += 1
            ident = self._asked
            await asyncio.to_thread(self._tell, {"id": ident, "ask": ask})
            while not over:
                said, pictures = await self._next()
                over = _is_end(said)
                _raise_if_refused(said, self.spec.context, self._child.what)
                if "step" not in said:
                    yield said, pictures
        finally:
            if over or not self.alive():
                self._free.release()
            else:
                self._draining = asyncio.create_task(self._drain(ident))

    async def _drain(self, ident: int) -> None:
        """Have the work given up, and wait for its end before another may begin."""
        try:
            await asyncio.to_thread(self._tell, {"stop": ident})
            while not _is_end((await self._next())[0]):
                pass
        except EngineFailed:
            pass  # the next request is told
        finally:
            self._free.release()

    async def _next(self) -> Event:
        """What the child says next. Raises EngineFailed when it died, or is silent for too long."""
        try:
            async with asyncio.timeout(self._idle_s):
                event = None if self._ended and self._events.empty() else await self._events.get()
        except TimeoutError:
            self._child.kill()
            raise EngineFailed(
                f"{self._child.what} was silent for {self._idle_s:g} s and counts as hung"
            ) from None
        if event is None:
            raise self._dead()
        return event

    def _tell(self, what: Mapping[str, Any]) -> None:
        """One frame to the child, in a thread. Its end is noticed by what it no longer says."""
        frame = json.dumps(what, ensure_ascii=False).encode(errors="replace")
        with self._writing, contextlib.suppress(OSError, ValueError):
            write(self._child.stdin, frame)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry what the child says into the event loop, until it ends. A thread of its own."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            with contextlib.suppress(OSError, ValueError):  # closed under us
                while (head := read(self._child.stdout)) is not None:
                    said = json.loads(head)
                    pictures = [read(self._child.stdout) or b"" for _ in range(said.get("pictures", 0))]
                    loop.call_soon_threadsafe(self._events.put_nowait, (said, pictures))
            self._child.settle()
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ended = True
        self._events.put_nowait(None)

    def _must_live(self) -> None:
        if not self.alive():
            raise self._dead()

    def _dead(self) -> EngineFailed:
        if self._closed:
            return EngineFailed(f"{self._child.what} was closed")
        return EngineFailed(f"{self._child.what} {self._child.ending()}{self._child.last_words()}")


def _is_end(said: Mapping[str, Any]) -> bool:
    return "step" not in said and "text" not in said


def _raise_if_refused(said: Mapping[str, Any], limit: int, what: str) -> None:
    if "refused" in said:
        raise RequestRefused(said["refused"])
    if "too_long" in said:
        raise PromptTooLong(said["too_long"], limit)
    if "failed" in said or "stopped" in said:
        raise EngineFailed(f"{what} failed: {said.get('failed', 'it was stopped')}")


def _plain(sampling: Sampling) -> dict[str, Any]:
    return {name: value for name, value in vars(sampling).items() if name not in ("tools", "json_schema")}
