"""`python -m qianfan_platform`: the server process. People start it with `qianfan serve`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import uvicorn

from .accounts.limits import Limits
from .accounts.vault import VaultError
from .app import DataInUse, Running, running, write_address
from .catalogue.catalogue import CatalogueInvalid
from .engines import survivors
from .files.stores import StoresInvalid
from .platform import Settings
from .store import DatabaseFailed
from .web import access
from .web.exchange import TOTAL_S
from .web.keeper import BODY_IDLE_S, HEAD_S, MOST, STALL_S, Keeper

log = logging.getLogger("qianfan_platform")

USAGE_ERROR, CANNOT_START = 2, 1
KEEP_ALIVE_S = 75  # longer than clients keep an idle connection, so that they close it, not we


class _Lines(logging.Formatter):
    """What happens with its time and level in front; requests as the bare JSON lines that they are."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == access.log.name else super().format(record)


def main() -> int:
    """Parse, check the address, serve until a signal."""
    settings, print_env, end_with_stdin = _settings(sys.argv[1:])
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("QIANFAN_LOG_LEVEL", "INFO").upper(), handlers=[lines])
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
        with asyncio.Runner(loop_factory=_loop()) as runner:
            runner.run(_serve(settings, listener, print_env, end_with_stdin))
    except (DataInUse, VaultError, DatabaseFailed, CatalogueInvalid, StoresInvalid) as refused:
        print(f"qianfan serve: {refused}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        pass
    return 0


class _Server(uvicorn.Server):
    """Ends in good order at SIGINT or SIGTERM: uvicorn's own would kill the process before usage is written."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _serve(settings: Settings, listener: socket.socket, print_env: bool, end_with_stdin: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    base_url = f"http://{'127.0.0.1' if shown in ('0.0.0.0', '[::]') else shown}:{port}"
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = survivors.mark_children(settings.data)
    async with running(settings) as server:
        left = await asyncio.to_thread(survivors.end_survivors, mark, psutil.Process().create_time())
        if left:
            log.warning("ended %d processes that an earlier server had left: %s", len(left), left)
        http = _Server(
            uvicorn.Config(
                server.app.app,
                http=_keeper(settings, server).connection,  # type: ignore[arg-type]
                timeout_keep_alive=KEEP_ALIVE_S,
                log_config=None,
                access_log=False,  # web writes its own, with request ids and without secrets
                server_header=False,
                proxy_headers=False,  # the front door reads them
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
            _spare_collections()
        await serving


def _spare_collections() -> None:
    """Keep what the start made out of the garbage collector's rounds, which went through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _keeper(settings: Settings, server: Running) -> Keeper:
    keeper = Keeper(
        server.app,
        most=settings.most_connections,
        head_s=settings.head_s,
        body_idle_s=settings.body_idle_s,
        stall_s=settings.stall_s,
    )
    server.app.connections = keeper.connections
    server.app.total_s = settings.answer_s
    return keeper


def _loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """The quicker event loop where there is one (not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


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


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e15:
        raise ValueError
    return int(value) if value.is_integer() else value


LIMITS = {
    "requests_per_second": "of each account that has no limits of its own; 0: no limit",
    "requests_per_minute": "likewise",
    "tokens_per_minute": "likewise: prompt and answer",
    "requests_per_day": "likewise; days of UTC",
    "total_tokens": "likewise, ever",
}


def _settings(arguments: list[str]) -> tuple[Settings, bool, bool]:
    parser = argparse.ArgumentParser(prog="python -m qianfan_platform", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of everything that must survive")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8866, help="0 picks a free one")
    parser.add_argument("--database", help="postgresql://… ; default: SQLite in the data folder")
    parser.add_argument("--allow-fetch", action="append", default=[], metavar="HOST[:PORT]")
    parser.add_argument("--catalogue", type=Path, help="TOML merged over the built-in catalogue")
    parser.add_argument("--objects", type=Path, help="TOML of the object stores that datasets may use")
    parser.add_argument("--bad-share", type=_share, default=0.0, metavar="SHARE", help="0-1, of an import")
    parser.add_argument("--public", action="store_true", help="allow an address that others can reach")
    for name, what in LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=_amount, default=0, metavar="N", help=what)
    parser.add_argument("--most-connections", type=int, default=MOST, help=f"open at once ({MOST})")
    parser.add_argument("--answer-seconds", type=float, default=TOTAL_S, help="of one answer, then it is cut")
    parser.add_argument("--head-seconds", type=float, default=HEAD_S, help="for the head of a request")
    parser.add_argument("--body-seconds", type=float, default=BODY_IDLE_S, help="between pieces of a body")
    parser.add_argument(
        "--stall-seconds",
        type=float,
        default=STALL_S,
        help=f"then a reader that takes nothing is cut ({STALL_S:g})",
    )
    parser.add_argument(
        "--idle-sleep",
        type=float,
        metavar="SECONDS",
        help="then an engine ends until somebody asks; default: never",
    )
    parser.add_argument(
        "--train-device", type=_device, default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:N"
    )
    parser.add_argument("--train-sink", action="append", default=[], metavar="NAME[=TARGET]")
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
        objects=given.objects,
        bad_share=given.bad_share,
        public=given.public,
        limits=Limits(**{name: getattr(given, name) for name in LIMITS}),
        most_connections=given.most_connections,
        stall_s=given.stall_seconds,
        head_s=given.head_seconds,
        answer_s=given.answer_seconds,
        body_idle_s=given.body_seconds,
        idle_sleep_s=given.idle_sleep,
        train_device=given.train_device,
        train_sinks=tuple(given.train_sink),
    )
    return settings, given.print_env, given.end_with_stdin


def _share(text: str) -> float:
    """From 0 to 1. Raises ArgumentTypeError."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return share


def _device(text: str) -> str:
    """A device that the trainer knows. Raises ArgumentTypeError."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; use cpu, cuda or cuda:N")
    return text


if __name__ == "__main__":
    sys.exit(main())
