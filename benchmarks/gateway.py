"""What a request and an event of a stream cost the platform in CPU, beside nginx and a bare ASGI application.

python benchmarks/gateway.py [--rounds 5] [--seconds 2] [--only plain,paced,decoding]

All speak the same OpenAI-shaped requests, over 64 kept connections, and are pinned to one core; the load
generator, and the server behind those that forward, have the other. CPU is that of the process and its
children, from /proc; rounds are interleaved. Who takes part:

echo      the platform, answering with its echo engine: who calls (bearer token), the limits, the metering, the
          routes and the JSON of both ways are what a user gets; only the model is none
upstream  the platform with an engine that forwards to another server: the road of nginx, and all of the above
nginx     forwards to the same server, knows one static token, reads no body; kept connections to the server,
          buffers of 64 KiB, `proxy_buffering off` for streams
bare      a bare ASGI application on uvicorn with uvloop and httptools: reads the JSON, compares one token,
          answers with JSON

An event of a paced stream (50 a second) costs a wake-up everywhere, which is what serving a model is like.
Decoding compares tokens a second through the platform with the same model asked at llama.cpp's own port."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from client import loopback_server
from rounds import CLIENT_CORE, SERVER_CORE, Table, cpu_s, machine, pin

HERE: Final = Path(__file__).resolve().parent
GATEWAY_CORE, LOAD_CORE = CLIENT_CORE, SERVER_CORE
CONNECTIONS: Final = 64
STREAMS: Final = (1, 8, 32)
NGINX: Final = """\
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream model {{ server 127.0.0.1:{behind}; keepalive 128; keepalive_requests 1000000000; }}
  map $http_authorization $known {{ default 0; "Bearer {token}" 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffer_size 64k; proxy_buffers 8 64k;
      proxy_buffering {buffering};
    }}
  }}
}}
"""
CATALOGUE: Final = """\
[models.paced]
engine = "echo"
source = "path:{folder}/paced.json"
kinds = ["chat"]
[models.behind]
source = "openai:{base}/v1#plain"
kinds = ["chat"]
parallel = 256
[models."behind-paced"]
source = "openai:{base}/v1#paced"
kinds = ["chat"]
parallel = 256
"""


@dataclass(frozen=True)
class Gateway:
    """Something that answers: where, with which token, as which process; `models` of plain and paced."""

    where: str
    token: str
    pid: int
    models: dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--only", default="plain,paced,decoding")
    given = parser.parse_args()
    print(machine())
    table = Table()
    wanted = given.only.split(",")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qianfan-bench-")))
        if {"plain", "paced"} & set(wanted):
            requests_and_events(table, stack, folder, wanted, given.rounds, given.seconds)
    report(table)
    if "decoding" in wanted:
        import decoding

        decoding.main(given.rounds)
    return 0


def requests_and_events(
    table: Table, stack: contextlib.ExitStack, folder: Path, wanted: list[str], rounds: int, seconds: float
) -> None:
    base = stack.enter_context(loopback_server())
    gateways = dict(stack.enter_context(platform(folder, base)))
    gateways["bare"] = stack.enter_context(bare())
    if shutil.which("nginx"):
        gateways["nginx"] = stack.enter_context(nginx(folder / "nginx", base))
    else:
        print("SKIPPED: nginx, which is not installed; apt-get install nginx-light")

    def one(gateway: Gateway, manner: str) -> Callable[[], float]:
        return lambda: cpu_per_unit_us(gateway, manner, seconds)

    measures = {
        manner: {name: one(gateway, manner) for name, gateway in gateways.items()}
        for manner in ("plain", "paced")
        if manner in wanted
    }
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}" if number else "warming up", file=sys.stderr, flush=True)
        (table if number else Table()).round(measures, number)


def cpu_per_unit_us(gateway: Gateway, manner: str, seconds: float) -> float:
    """CPU microseconds of the gateway for an answer, or for an event of a paced stream."""
    stream = ["stream"] if manner == "paced" else []
    command = [gateway.where, gateway.token, gateway.models[manner], str(CONNECTIONS), str(seconds), *stream]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "load.py"), *command], stdout=subprocess.PIPE, text=True
    )
    pin(LOAD_CORE, process.pid)
    assert process.stdout is not None
    with process:
        if process.stdout.readline() != "go\n":
            raise SystemExit(f"no load on {gateway.where}")
        before = cpu_s(gateway.pid)
        told = json.loads(process.stdout.readline())
        spent = cpu_s(gateway.pid) - before
    if told["wrong"] or not told["units"]:
        raise SystemExit(f"{gateway.where} gave {told['wrong']} wrong answers: {told['example']}")
    return float(spent / told["units"] * 1e6)


@contextlib.contextmanager
def platform(folder: Path, base: str) -> Iterator[dict[str, Gateway]]:
    """One platform; its engines are echo, echo with pauses, and a server behind."""
    from qianfan import embedded

    words = " ".join(f"word{number}" for number in range(50))
    (folder / "paced.json").write_text(json.dumps({"script": {"*": words}, "delay_s": 0.02}))
    catalogue = folder / "bench.toml"
    catalogue.write_text(CATALOGUE.format(folder=folder, base=base))
    with embedded.start(folder / "data", use=False, catalogue=catalogue) as running:
        pin(GATEWAY_CORE, running.process.pid)
        for child in os.listdir(f"/proc/{running.process.pid}/task"):
            pin(GATEWAY_CORE, int(child))
        where = running.base_url.removeprefix("http://")
        token = bearer(where, running.environment)
        pid = running.process.pid
        yield {
            "echo": Gateway(where, token, pid, {"plain": "echo", "paced": "paced"}),
            "upstream": Gateway(where, token, pid, {"plain": "behind", "paced": "behind-paced"}),
        }


def bearer(where: str, keys: dict[str, str]) -> str:
    """A bearer token of a platform."""
    from qianfan.contract import signing

    now, query = time.time(), {"expireInSeconds": "7200"}
    headers = {"host": where, "x-bce-date": signing.timestamp(now)}
    signed = signing.sign(
        keys["QIANFAN_ACCESS_KEY"],
        keys["QIANFAN_SECRET_KEY"],
        method="GET",
        path="/v1/BCE-BEARER/token",
        query=query,
        headers=headers,
        unix=now,
    )
    connection = http.client.HTTPConnection(where, timeout=20)
    connection.request(
        "GET", "/v1/BCE-BEARER/token?expireInSeconds=7200", headers={**headers, "Authorization": signed}
    )
    token: str = json.loads(connection.getresponse().read())["token"]
    connection.close()
    return token


@contextlib.contextmanager
def bare() -> Iterator[Gateway]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "bare_asgi.py"), "bench"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        pin(GATEWAY_CORE, process.pid)
        port = int(process.stdout.readline())
        yield Gateway(f"127.0.0.1:{port}", "bench", process.pid, {"plain": "bare", "paced": "bare"})
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def nginx(folder: Path, base: str) -> Iterator[Gateway]:
    """nginx in front of the loopback server."""
    import socket

    folder.mkdir()
    folder.chmod(0o777)  # its worker is another user when we are root
    folder.parent.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"folder": folder, "behind": base.rpartition(":")[2], "token": "bench", "port": port}
    (folder / "nginx.conf").write_text(NGINX.format(**settings, buffering="off"))
    process = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stderr=subprocess.DEVNULL,
    )
    try:
        pin(GATEWAY_CORE, process.pid)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("nginx does not start") from None
                time.sleep(0.05)
        import psutil

        for worker in psutil.Process(process.pid).children():
            pin(GATEWAY_CORE, worker.pid)
        yield Gateway(f"127.0.0.1:{port}", "bench", process.pid, {"plain": "plain", "paced": "paced"})
    finally:
        process.terminate()
        process.wait()


def report(table: Table) -> None:
    titles = {"plain": "a plain request", "paced": "an event of a paced stream"}
    for manner, title in titles.items():
        if manner in table.rows:
            table.show(manner, f"{title}, {CONNECTIONS} connections: CPU")
    if not table.rows:
        return
    print("\ntargets (ratios within a round: median, smallest and largest)")
    for manner, target in (("plain", 4.0), ("paced", 1.8)):
        if manner in table.rows:
            print(f" {titles[manner]}")
            for name in ("echo", "upstream"):
                table.judge(manner, name, "nginx", target)
            for name in ("echo", "upstream"):
                if table.has(manner, name, "bare"):
                    table.compare(manner, name, "bare")


if __name__ == "__main__":
    sys.exit(main())
