"""Work that would keep the server's processor busy, in a process of its own."""

from __future__ import annotations

import asyncio
import sys

from qianfan_platform.engines.llamacpp.tensors import PackFailed


async def in_child(module: str, *arguments: str) -> None:
    """Run a module in a child process; it is ended when we are cancelled. Raises PackFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise PackFailed(lines[-1])
