"""Tokens a second through the platform, beside the same model asked at llama.cpp's own port.

python benchmarks/decoding.py [--rounds 5]

Two processes of the engine with equal settings, one behind the platform, take turns at 1, 8 and 32 streams
with the same prompts and limits. SmolLM2 is used where its weights are on this machine, else the tiny model.

Tokens a second need a quiet machine. What the platform's process spends for a token beside what its engine
spends does not: it is printed too, and bounds the loss even where both share one core."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import psutil
from rounds import Table, cpu_s, machine

TOKENS: Final = {1: 64, 8: 32, 32: 16}  # streams at once → tokens of each answer
GOAL: Final = 0.97


async def ask(port: int, path: str, key: str, model: str, number: int, tokens: int) -> int:
    """One streamed answer; its tokens, as the server counts them."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"Tell me a long story about number {number}."}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + raw)
    counted, said = 0, b""
    async for line in reader:
        said = line if line.strip() else said
        if line.startswith(b"data: {"):
            usage = json.loads(line[6:]).get("usage") or {}
            counted = usage.get("completion_tokens", counted)
        elif line.startswith(b"data: [DONE]"):
            break
    writer.close()
    if not counted:
        raise SystemExit(f"no answer: {said[-300:].decode('utf-8', 'replace')}")
    return counted


async def rate(streams: int, **to: Any) -> float:
    """Tokens a second of so many streams together."""
    began = time.perf_counter()
    each = await asyncio.gather(*(ask(number=n, tokens=TOKENS[streams], **to) for n in range(streams)))
    return sum(each) / (time.perf_counter() - began)


async def compare(rounds: int, folder: Path) -> Table:
    from gateway import bearer

    from qianfan import embedded
    from qianfan_platform.catalogue.catalogue import Catalogue
    from qianfan_platform.catalogue.specs import spec_for
    from qianfan_platform.catalogue.weights import Weights, default_home
    from qianfan_platform.engines.llamacpp import server
    from qianfan_platform.engines.llamacpp.engine import cores

    name = "SmolLM2-135M-Instruct"
    if embedded.weights().get(name) != "ready":
        print(f"SKIPPED: {name}, whose weights are not on this machine; the tiny model takes its place")
        name = "tiny"
    entry = Catalogue.load().entries[name]
    spec = spec_for(entry, await Weights(default_home()).served(entry))
    launch = server.Launch(
        model=str(spec.model),
        api_key=secrets.token_urlsafe(24),
        context=spec.context,
        parallel=spec.parallel,
        threads=spec.threads or max(1, cores() - 1),
    )
    child = subprocess.Popen(
        [sys.executable, "-m", server.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # as the platform is: some systems share cores among sessions
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(launch.line())
    child.stdin.flush()
    port = int(json.loads(await asyncio.to_thread(child.stdout.readline))["port"])
    table = Table("tokens/s")
    spent = [0.0, 0.0]  # CPU seconds of the platform without its engine, and of its engine
    try:
        running = await asyncio.to_thread(embedded.start, folder, use=False)
        try:
            where = running.base_url.removeprefix("http://")
            key = await asyncio.to_thread(bearer, where, running.environment)
            sides: dict[str, dict[str, Any]] = {
                "engine": {
                    "port": port,
                    "path": "/v1/chat/completions",
                    "key": launch.api_key,
                    "model": "m",
                },
                "platform": {
                    "port": int(where.rpartition(":")[2]),
                    "path": "/v2/chat/completions",
                    "key": key,
                    "model": name,
                },
            }
            print(f"{name}, {launch.parallel} sequences at once, {launch.threads} thread(s)")
            for number in range(rounds + 1):
                print(f"round {number} of {rounds}" if number else "warming up", file=sys.stderr, flush=True)
                for streams in TOKENS:
                    for side in sorted(sides, reverse=bool(number % 2)):
                        before = cpu_of(running.process.pid)
                        reached = await rate(streams, **sides[side])
                        after = cpu_of(running.process.pid)
                        if number and side == "platform":
                            spent = [s + b - a for s, a, b in zip(spent, before, after, strict=True)]
                        print(
                            f"  {streams} stream(s), {side}: {reached:.1f} tokens/s",
                            file=sys.stderr,
                            flush=True,
                        )
                        if number:
                            table.add(str(streams), side, reached)
        finally:
            await asyncio.to_thread(running.stop)
    finally:
        await asyncio.to_thread(child.communicate)  # closes its standard input, which ends it
    print(
        f"CPU of the platform's process beside its engine's: {spent[0]:.2f} s and {spent[1]:.2f} s, "
        f"a share of {spent[0] / spent[1]:.4f}"
    )
    return table


def cpu_of(pid: int) -> tuple[float, float]:
    """CPU seconds of a process without its children, and of these."""
    times = psutil.Process(pid).cpu_times()
    own = times.user + times.system
    return own, cpu_s(pid) - own


def main(rounds: int) -> None:
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with tempfile.TemporaryDirectory(prefix="qianfan-bench-") as folder:
        table = asyncio.run(compare(rounds, Path(folder)))
    for streams in TOKENS:
        table.show(str(streams), f"decoding, {streams} stream(s)")
    print("\ntargets (ratios within a round: median, smallest and largest)")
    for streams in TOKENS:
        print(f" {streams} stream(s)")
        table.judge(str(streams), "platform", "engine", GOAL, at_least=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    print(machine())
    main(parser.parse_args().rounds)
