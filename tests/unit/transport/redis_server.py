"""A Redis of our own on a loopback port, for the tests that need one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "canary-of-redis"


def program() -> str:
    """redis-server or valkey-server. Skips the test aloud where there is none; with CI=true it fails."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        advice = "no redis-server on this machine: apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(advice)
        pytest.skip(advice)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Its address, with its password. Nothing is written to disk but what it says."""
    port = free_port()
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--requirepass": PASSWORD,
        "--save": "",
        "--dir": str(folder),
        "--appendonly": "no",
    }
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([program(), *(x for pair in options.items() for x in pair)], stdout=log)
        try:
            _wait(port, process)
            yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the Redis of the tests did not start")
