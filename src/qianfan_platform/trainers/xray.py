"""A look through one sample, as the trainer reads it, in a short child process without torch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from qianfan_platform.trainers.process import environment
from qianfan_platform.trainers.protocol import TrainSpec
from qianfan_platform.trainers.run import absolute

MODULE = "qianfan_platform.trainers.child.xray"
WITHIN_S = 60.0  # until a child that does not end is killed; it takes two


class XrayFailed(Exception):
    """The sample cannot be shown; the text says why."""


async def xray(spec: TrainSpec, sample: int, *, within_s: float = WITHIN_S) -> dict[str, Any]:
    """What the trainer makes of a sample: the JSON that `trainers.child.xray` describes.

    spec: as of the run; of it base, rows, mode, method, hyper and start_from are read, and nothing is written.
    sample: its line in `spec.rows`, from 1. Raises XrayFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", MODULE, "-", str(sample)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(os.environ, threads=1),
    )
    try:
        given = json.dumps(absolute(spec).to_json()).encode()
        said, _ = await asyncio.wait_for(process.communicate(given), within_s)
    except TimeoutError:
        raise XrayFailed(f"sample {sample} could not be read within {within_s:g} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError:
        raise XrayFailed(f"the reader of samples ended with code {process.returncode}") from None
    if "failed" in found:
        raise XrayFailed(found["failed"])
    return found
