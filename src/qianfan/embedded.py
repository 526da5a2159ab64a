"""The platform on this machine, for as long as a block lasts.

    with qianfan.embedded.start() as platform:
        ...                     # every call of the SDK goes to it

It is the same server as `qianfan serve`, in a process of its own on a free loopback port.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from .errors import InternalError, MissingExtra

START_S: Final = 30.0  # a server that is not ready by then says why and is given up
STOP_S: Final = 15.0
NAMES: Final = ("BASE_URL", "CONSOLE_API_BASE_URL", "AK", "SK", "ACCESS_KEY", "SECRET_KEY")


@dataclass
class Embedded:
    """A running platform. `environment` is what a script needs to reach it."""

    base_url: str
    data: Path
    environment: dict[str, str] = field(repr=False)
    process: subprocess.Popen[str] = field(repr=False)
    log_file: Path = field(repr=False)
    _undo: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def stop(self) -> None:
        """End the server. Its data folder stays, unless it was a temporary one."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()  # the server ends when this closes
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._undo.close()

    def __enter__(self) -> Embedded:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    data: str | os.PathLike[str] | None = None,
    *,
    port: int = 0,
    use: bool = True,
    any_key: bool = False,
    allow_fetch: Sequence[str] = (),
    catalogue: str | os.PathLike[str] | None = None,
    objects: str | os.PathLike[str] | None = None,
    database: str | None = None,
    timeout_s: float = START_S,
) -> Embedded:
    """Start the platform and wait until it answers; at most `timeout_s`.

    data: folder to work in; None: a temporary one, removed at the end. port: 0 picks a free one.
    use: point this process's configuration at it, until it stops. any_key: take whatever keys a script has.
    allow_fetch: HOST[:PORT] from which imports may fetch though it is private. objects: TOML of the object
    stores that are connected.
    Raises MissingExtra when the `platform` extra is not installed, InternalError when it does not start."""
    need_the_platform()
    undo = contextlib.ExitStack()
    try:
        folder = Path(undo.enter_context(_folder(data)))
        log_file = folder / "server.log"
        process = _launch(folder, port, any_key, allow_fetch, catalogue, objects, database, log_file)
    except BaseException:
        undo.close()
        raise
    try:
        base_url = _wait(process, timeout_s, log_file)
        keys = json.loads((folder / "credentials.json").read_text(encoding="utf-8"))
        environment = {
            "NO_PROXY": _no_proxy(),
            "QIANFAN_BASE_URL": base_url,
            "QIANFAN_CONSOLE_API_BASE_URL": base_url,
            **{
                f"QIANFAN_{name.upper()}": keys[name]
                for name in ("ak", "sk", "access_key", "secret_key")
                if name in keys
            },
        }
        running = Embedded(base_url, folder, environment, process, log_file, undo)
        if use:
            undo.enter_context(configured(environment))
        return running
    except BaseException:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        undo.close()
        raise


def need_the_platform() -> None:
    absent = [
        name for name in ("uvicorn", "starlette", "sqlalchemy", "cryptography") if find_spec(name) is None
    ]
    if absent or find_spec("qianfan_platform") is None:
        raise MissingExtra(
            f"the embedded platform needs {', '.join(absent) or 'qianfan_platform'}: "
            "pip install 'open-qianfan[platform]'"
        )


def _no_proxy() -> str:
    """NO_PROXY with loopback in it: the platform is on this machine, whatever proxy leads to the others."""
    named = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return ",".join(dict.fromkeys([*filter(None, named.split(",")), "127.0.0.1", "localhost"]))


@contextlib.contextmanager
def _folder(data: str | os.PathLike[str] | None) -> Iterator[str]:
    if data is not None:
        Path(data).mkdir(parents=True, exist_ok=True, mode=0o700)
        yield os.fspath(data)
        return
    with tempfile.TemporaryDirectory(prefix="qianfan-", ignore_cleanup_errors=True) as folder:
        yield folder


def _launch(
    folder: Path,
    port: int,
    any_key: bool,
    allow_fetch: Sequence[str],
    catalogue: str | os.PathLike[str] | None,
    objects: str | os.PathLike[str] | None,
    database: str | None,
    log_file: Path,
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qianfan_platform", "--data", str(folder), "--port", str(port)]
    command += ["--end-with-stdin", *(["--any-key"] if any_key else [])]
    for host in allow_fetch:
        command += ["--allow-fetch", host]
    if catalogue is not None:
        command += ["--catalogue", os.fspath(catalogue)]
    if objects is not None:
        command += ["--objects", os.fspath(objects)]
    if database is not None:
        command += ["--database", database]
    with log_file.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to handle; the server ends when its stdin closes
        )


def _wait(process: subprocess.Popen[str], timeout_s: float, log_file: Path) -> str:
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True, name="server output").start()
    try:
        while (line := lines.get(timeout=timeout_s)) is not None:
            if line.startswith("ready "):
                return line.split(maxsplit=1)[1].strip()
    except queue.Empty:
        raise InternalError(f"the platform was not ready within {timeout_s:g} s; {_tail(log_file)}") from None
    raise InternalError(f"the platform did not start; {_tail(log_file)}")


def _tail(log_file: Path) -> str:
    try:
        text = log_file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "it wrote no log"
    return "the end of its log:\n" + "\n".join(text.splitlines()[-12:])


@contextlib.contextmanager
def configured(environment: dict[str, str]) -> Iterator[None]:
    """Point this process's configuration at the platform, and put it back afterwards."""
    from .config import get_config

    config: Any = get_config()
    before = {name: getattr(config, name) for name in (*NAMES, "ACCESS_TOKEN")}
    no_proxy = os.environ.get("NO_PROXY")
    os.environ["NO_PROXY"] = environment.get("NO_PROXY") or _no_proxy()
    config.ACCESS_TOKEN = None
    for name in NAMES:
        setattr(config, name, environment.get(f"QIANFAN_{name}"))
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        if no_proxy is None:
            del os.environ["NO_PROXY"]
        else:
            os.environ["NO_PROXY"] = no_proxy


def weights() -> dict[str, str]:
    """Default weights on this machine: name → absent, fetching or ready. Needs the `platform` extra."""
    need_the_platform()
    from importlib import import_module

    catalogue = import_module("qianfan_platform.catalogue.catalogue").Catalogue.load(None)
    weights = import_module("qianfan_platform.catalogue.weights")
    store = weights.Weights(weights.default_home())
    return {
        entry.name: store.state(entry) for entry in catalogue.entries.values() if entry.engine == "llamacpp"
    }
