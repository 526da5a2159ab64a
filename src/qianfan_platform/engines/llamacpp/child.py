"""Work that would keep the server's processor busy, in a process of its own."""

from __future__ import annotations

import asyncio
import errno
import sys

from qianfan_platform.engines.llamacpp.tensors import PackFailed


def told(problem: Exception, what: str) -> str:
    """What the child says of a problem; what: "packing"."""
    if isinstance(problem, PackFailed):
        return str(problem)
    short = "requested and" in str(problem)  # numpy's words for a write that stopped half way
    if isinstance(problem, OSError) and (short or problem.errno in (errno.ENOSPC, errno.EDQUOT)):
        return f"{what} failed: the disk is full; free some space, and try again"
    return f"{what} failed: {problem!r}"


async def in_child(module: str, *arguments: str) -> None:
    """Run a module in a child process; it is ended when we are cancelled, and with us. Raises PackFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,  # never written to: its end tells a child that we are gone
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        said = await process.stderr.read()
        await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    finally:
        process.stdin.close()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise PackFailed(lines[-1])
