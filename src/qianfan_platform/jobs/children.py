"""A part of a job in a process of its own, so that its computing does not slow the answers of the server.

The process gets its orders as JSON on its command line and tells JSON lines on standard output; the last one is
`{"finished": …}` or `{"failed": text}`. It must end when its standard input does: a killed server leaves nothing
behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from .step import Step

CHECK_S: Final = 0.5  # between two looks whether the job was asked to stop
_LONGEST_LINE: Final = 1 << 20  # bytes


class ChildFailed(Exception):
    """The process ended without a result; the text says why. `told` is what it said last."""

    def __init__(self, why: str, told: dict[str, Any]) -> None:
        super().__init__(why)
        self.told = told


async def run(
    step: Step, module: str, spec: dict[str, Any], told: Callable[[dict[str, Any]], Awaitable[None]]
) -> dict[str, Any]:
    """Run `python -m module SPEC` to its end; returns what it finished with. told: hears every other line.

    Raises ChildFailed, Cancelled, and what `told` raises; the process is gone then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, orjson.dumps(spec).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    last: dict[str, Any] = {}
    try:
        while line := await _line(step, process.stdout):
            last = orjson.loads(line)
            if "finished" not in last and "failed" not in last:
                await told(last)
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        process.stdin.close()  # ends what is left of its session
        said = (await errors).decode(errors="replace").strip().splitlines()
    if "finished" in last:
        finished: dict[str, Any] = last["finished"]
        return finished
    raise ChildFailed(last.get("failed") or (said[-1] if said else f"code {process.returncode}"), last)


async def _line(step: Step, stdout: asyncio.StreamReader) -> bytes:
    reading = asyncio.ensure_future(stdout.readline())
    try:
        while not reading.done():
            await asyncio.wait([reading], timeout=CHECK_S)
            step.check()
        return reading.result()
    finally:
        reading.cancel()
