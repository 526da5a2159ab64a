"""`python -m qianfan_platform`: the server process. People start it with `qianfan serve`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from .accounts.vault import VaultError
from .app import DataInUse, running, write_address
from .catalogue.catalogue import CatalogueInvalid
from .platform import Settings
from .store import DatabaseFailed

USAGE_ERROR, CANNOT_START = 2, 1


def main() -> int:
    """Parse, check the address, serve until a signal."""
    settings, print_env, end_with_stdin = _settings(sys.argv[1:])
    logging.basicConfig(
        level=os.environ.get("QIANFAN_LOG_LEVEL", "INFO").upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if not settings.public and not _is_loopback(settings.host):
        print(
            f"qianfan serve: {settings.host} can be reached from outside, and this server speaks plain HTTP. "
            "Put a TLS proxy in front and bind to 127.0.0.1, or pass --public if the network is trusted.",
            file=sys.stderr,
        )
        return USAGE_ERROR
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as taken:
        print(
            f"qianfan serve: cannot listen on {settings.host}:{settings.port}: {taken.strerror}. "
            "Stop what uses the port, or pass --port 0 for a free one.",
            file=sys.stderr,
        )
        return CANNOT_START
    try:
        asyncio.run(_serve(settings, listener, print_env, end_with_stdin))
    except (DataInUse, VaultError, DatabaseFailed, CatalogueInvalid) as refused:
        print(f"qianfan serve: {refused}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        pass
    return 0


async def _serve(settings: Settings, listener: socket.socket, print_env: bool, end_with_stdin: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    base_url = f"http://{'127.0.0.1' if shown in ('0.0.0.0', '[::]') else shown}:{port}"
    async with running(settings) as server:
        http = uvicorn.Server(
            uvicorn.Config(
                server.app,
                log_config=None,
                access_log=False,  # web writes its own, with request ids and without secrets
                server_header=False,
                timeout_graceful_shutdown=5,
                lifespan="off",
            )
        )
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        if end_with_stdin:
            _end_with_stdin()
        while not http.started and not serving.done():
            await asyncio.sleep(0.005)
        if http.started:
            credentials = write_address(settings.data, base_url)
            if print_env:
                _print_env(base_url, credentials)
            print(f"ready {base_url}", flush=True)
        await serving


def _print_env(base_url: str, credentials: dict[str, str]) -> None:
    print(f"export QIANFAN_BASE_URL={base_url}")
    print(f"export QIANFAN_CONSOLE_API_BASE_URL={base_url}")
    for name in ("ak", "sk", "access_key", "secret_key"):
        if name in credentials:
            print(f"export QIANFAN_{name.upper()}={credentials[name]}")


def _end_with_stdin() -> None:
    """Stop when whoever started us is gone: its end of our standard input closes."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="end with stdin").start()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _settings(arguments: list[str]) -> tuple[Settings, bool, bool]:
    parser = argparse.ArgumentParser(prog="python -m qianfan_platform", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of everything that must survive")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8866, help="0 picks a free one")
    parser.add_argument("--database", help="postgresql://… ; default: SQLite in the data folder")
    parser.add_argument("--allow-fetch", action="append", default=[], metavar="HOST[:PORT]")
    parser.add_argument("--catalogue", type=Path, help="TOML merged over the built-in catalogue")
    parser.add_argument("--public", action="store_true", help="allow an address that others can reach")
    parser.add_argument("--print-env", action="store_true")
    parser.add_argument("--any-key", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.any_key and not _is_loopback(given.host):
        parser.error("--any-key is only for a server on loopback")
    settings = Settings(
        data=given.data.expanduser().resolve(),
        host=given.host,
        port=given.port,
        database=given.database,
        allow_fetch=tuple(given.allow_fetch),
        any_key=given.any_key,
        catalogue=given.catalogue,
        public=given.public,
    )
    return settings, given.print_env, given.end_with_stdin


if __name__ == "__main__":
    sys.exit(main())
