"""Outsiders: published clients of others, unmodified, each in an environment of its own, against `qianfan serve`.

A program of `programs/` runs once for each way of calling; every scenario of it is one test here.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from qianfan import embedded
from qianfan.contract import signing
from qianfan.contract.routes import BEARER_TOKEN
from qianfan.embedded import Embedded

from . import environments

PROGRAMS = Path(__file__).parent / "programs"
RUN_S = 240
CATALOGUE = """\
# Documented chat names say what they are told; embeddings and reranking stay what the platform really has.
[stand_ins]
chat = "echo"
completions = "echo"
training = "tiny"
"""


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    catalogue = tmp_path_factory.mktemp("outsiders") / "echo.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    with embedded.start(tmp_path_factory.mktemp("platform"), use=False, catalogue=catalogue) as running:
        yield running


@pytest.fixture(scope="session")
def bearer_key(platform: Embedded) -> str:
    """What a user puts into OPENAI_API_KEY: a bearer token, asked for with the access key."""
    keys, url = platform.environment, urlsplit(platform.base_url)
    now, query = time.time(), {"expireInSeconds": "3600"}
    headers = {"host": url.netloc, "x-bce-date": signing.timestamp(now)}
    authorization = signing.sign(
        keys["QIANFAN_ACCESS_KEY"],
        keys["QIANFAN_SECRET_KEY"],
        method="GET",
        path=BEARER_TOKEN.path,
        query=query,
        headers=headers,
        unix=now,
        expiry_s=300,
    )
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    try:
        path = f"{BEARER_TOKEN.path}?expireInSeconds=3600"
        connection.request("GET", path, headers={**headers, "Authorization": authorization})
        token: str = json.loads(connection.getresponse().read())["token"]
        return token
    finally:
        connection.close()


@dataclass(frozen=True)
class Played:
    """How each scenario of a program ended, and what it wrote besides."""

    endings: dict[str, dict[str, Any]]
    output: str

    def must_have_passed(self, scenario: str) -> None:
        ending = self.endings.get(scenario)
        if ending is None:
            pytest.fail(f"the program ended before {scenario}:\n{self.output}", pytrace=False)
        if "error" in ending:
            pytest.fail(ending["error"], pytrace=False)


def play(command: list[str], environment: dict[str, str], cwd: Path) -> Played:
    """Run a program with nothing of ours in its environment but what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QIANFAN_", "OPENAI_", "PYTHON"))
    }
    done = subprocess.run(
        command, env={**kept, **environment}, cwd=cwd, capture_output=True, text=True, timeout=RUN_S
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"name"')]
    endings = {told["name"]: told for told in map(json.loads, lines)}
    return Played(endings, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def made(make: Callable[[], Path]) -> Path:
    """An environment; where it cannot be made, skip and say why. With CI=true it must be."""
    try:
        return make()
    except environments.CannotMake as why:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(str(why), pytrace=False)
        pytest.skip(str(why))


def scenarios(program: str, within: str = "") -> list[str]:
    """The names of a program's scenarios; of a JavaScript one, those of the object `within`."""
    text = (PROGRAMS / program).read_text(encoding="utf-8")
    if program.endswith(".py"):
        return re.findall(r"^(?:async )?def ([a-z]\w*)", text, re.MULTILINE)
    block = text.split(f"const {within} = {{", 1)[1].split("\n};", 1)[0]
    return re.findall(r"^    async ([a-z]\w*)\(", block, re.MULTILINE)
