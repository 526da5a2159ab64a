"""The end of a program."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

PROGRAM: Final = """
import asyncio, qianfan
qianfan.get_config().BASE_URL = "http://127.0.0.1:9"
chat = qianfan.ChatCompletion(access_token="x")
try:
    asyncio.run(chat.ado(messages=[{"role": "user", "content": "hi"}]))
except qianfan.errors.ConnectionLost:
    print("lost")
"""


def test_a_program_may_end_right_after_an_asynchronous_call() -> None:
    """The HTTP library's threads have let go of the call before the interpreter goes down; else it would abort."""

    def ended(_: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(ended, range(12))) == {(0, "lost\n")}
