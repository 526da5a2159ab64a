"""A platform with services under load, and somebody who kills its parts: for `test_soak_serving` and for short tests.

Clients are threads that use the SDK as anybody does. What they get is counted by kind; what is neither an answer nor
a typed error, or takes too long, is kept as wrong."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from qianfan import embedded
from qianfan.embedded import Embedded
from qianfan.errors import QianfanError, RequestTimeoutError
from qianfan.resources import ChatCompletion, Data, FineTune, Model, Service
from tests.processes import family, lives

ENGINE = "qianfan_platform.engines"
CATALOGUE = '[stand_ins]\nchat = "tiny"\ncompletions = "tiny"\ntraining = "tiny"\n'
LONGEST_S = 60.0  # no request may take longer
ASKED = [{"role": "user", "content": "question 1"}]


@dataclass
class Load:
    """Clients that ask again and again, and what they got."""

    endpoints: list[str]
    clients: int
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End all clients; one that does not end is wrong."""
        self._over.set()
        until = time.monotonic() + LONGEST_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self.wrong.append("a request hangs")

    @property
    def answers(self) -> int:
        return sum(count for kind, count in self.kinds.items() if kind.startswith("answer"))

    @property
    def errors(self) -> dict[str, int]:
        return {kind: count for kind, count in self.kinds.items() if not kind.startswith("answer")}

    def _run(self, number: int) -> None:
        draw, stream = random.Random(number), number % 2 == 0
        while not self._over.is_set():
            began = time.monotonic()
            try:
                kind = self._ask(draw.choice(self.endpoints), stream)
            except RequestTimeoutError as error:
                kind = _kind(error)
                self.wrong.append(f"a request heard nothing for {LONGEST_S:g} s")
            except QianfanError as error:
                kind = _kind(error)
                time.sleep(0.05)  # as a polite client does
            except Exception as error:
                kind = "untyped"
                self.wrong.append(f"{type(error).__name__}: {error}")
            with self._lock:
                self.kinds[kind] += 1
                self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _ask(self, endpoint: str, stream: bool) -> str:
        given: dict[str, Any] = {"endpoint": endpoint, "max_output_tokens": 16, "request_timeout": LONGEST_S}
        if not stream:
            ChatCompletion().do(ASKED, **given)["result"]
            return "answer, whole"
        ends = [bool(piece["is_end"]) for piece in ChatCompletion().do(ASKED, stream=True, **given)]
        if not ends or not ends[-1]:
            self.wrong.append("a stream ended without its end")
        return "answer, stream"


def _kind(error: QianfanError) -> str:
    """The class of an error, with the code and the beginning of what the server said."""
    code = getattr(error, "error_code", None)
    if code is None:
        return type(error).__name__
    return f"{type(error).__name__} {code}: {str(getattr(error, 'error_msg', error))[:60]}"


@dataclass
class Place:
    """A platform in a folder of its own, always on the same port, with services on it."""

    folder: Path
    port: int = 0
    platform: Embedded = field(init=False)
    services: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[int, psutil.Process] = field(default_factory=dict)  # engines of all servers that were

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "catalogue.toml").write_text(CATALOGUE)
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Start the server, and point the SDK at it."""
        self.platform = embedded.start(
            self.folder / "data", port=self.port, use=False, catalogue=self.folder / "catalogue.toml"
        )
        self._stack.close()
        self._stack.enter_context(embedded.configured(self.platform.environment))

    def stop(self) -> None:
        self.engines()
        self.platform.stop()
        self._stack.close()

    def engines(self) -> list[psutil.Process]:
        """Engine processes of this server."""
        found = family(ENGINE, self.platform.process.pid)
        self.seen.update((one.pid, one) for one in found)
        return found

    def kill_server(self) -> None:
        """kill -9, and start it again on the same folder and port."""
        self.engines()
        self.platform.process.kill()
        self.platform.process.wait()
        self.platform.stop()
        self.start()

    def ghosts(self) -> list[int]:
        """Engines of servers that are gone."""
        living = {one.pid for one in self.engines()}
        return [pid for pid, one in self.seen.items() if pid not in living and lives(one)]

    def left(self) -> list[int]:
        """Engines that outlived the last server."""
        return [pid for pid, one in self.seen.items() if lives(one)]

    def files(self) -> set[str]:
        """All files of the platform but its database and log."""
        roots = (self.folder / "data" / name for name in ("files", "work"))
        return {str(path) for root in roots for path in root.rglob("*") if path.is_file()}

    def states(self) -> list[str]:
        return [Service.get(one["id"])["result"]["serviceStatus"] for one in self.services]

    def teach(self, epochs: int = 2) -> tuple[str, str]:
        """(model, version) of a LoRA run of the tiny model, Ready."""
        rows = self.folder / "rows.jsonl"
        lines = [[{"prompt": f"question {n}", "response": [[f"answer {n}"]]}] for n in range(24)]
        rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        from qianfan.dataset import Dataset
        from qianfan.resources.console.consts import DataTemplateType

        dataset = Dataset.load(data_file=str(rows))
        named = {"name": f"rows {epochs}", "template_type": DataTemplateType.NonSortedConversation}
        dataset.save(replace_source=True, qianfan_dataset_create_args=named)
        ident = dataset.inner_data_source_cache.id
        Data.release_dataset(ident)
        within(60, lambda: Data.get_dataset_info(ident)["result"]["versionInfo"]["releaseStatus"] == 2)
        task = FineTune.create_task(name=f"taught {epochs}")["result"]["id"]
        run = FineTune.create_job(
            {
                "taskId": task,
                "trainType": "tiny",
                "trainMode": "SFT",
                "peftType": "LoRA",
                "trainConfig": {"epoch": epochs, "batchSize": 8, "learningRate": 5e-3},
                "trainset": [{"type": 1, "id": ident}],
                "trainsetRate": 0,
            }
        )["result"]["id"]
        meta = {"taskId": task, "iterationId": run}
        made = Model.publish(is_new=True, model_name=f"taught {epochs}", version_meta=meta)["result"]
        within(240, lambda: Model.detail(made["versionIdStr"])["result"]["state"] != "Creating")
        detail = Model.detail(made["versionIdStr"])["result"]
        assert detail["state"] == "Ready", detail["reason"]
        return made["modelIDStr"], made["versionIdStr"]

    def deploy(self, version: tuple[str, str], name: str, **more: Any) -> dict[str, Any]:
        """A service that is Done."""
        made = Service.create(*version, name=name, uri=name, **more)["result"]
        within(60, lambda: Service.get(made["serviceId"])["result"]["serviceStatus"] == "Done")
        self.services.append(dict(Service.get(made["serviceId"])["result"]))
        return self.services[-1]


@dataclass
class Chaos:
    """Kills parts of a platform at random moments. server: every so many blows one hits the server itself."""

    place: Place
    seed: int = 7
    every_s: tuple[float, float] = (1.0, 8.0)
    server: int = 6
    blows: Counter[str] = field(default_factory=Counter)

    def rage(self, seconds: float) -> None:
        """Strike for so long."""
        draw, until = random.Random(self.seed), time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, draw.uniform(*self.every_s)))
            if draw.randrange(self.server) == 0:
                self.blows["server killed"] += 1
                self.place.kill_server()
                continue
            engines = self.place.engines()
            if engines:
                self.strike(draw.choice(engines), draw.choice((signal.SIGKILL, signal.SIGSTOP)))

    def strike(self, engine: psutil.Process, how: signal.Signals) -> None:
        with contextlib.suppress(psutil.Error):
            engine.send_signal(how)
            self.blows["engine killed" if how == signal.SIGKILL else "engine stopped"] += 1


def within(seconds: float, look: Callable[[], Any]) -> None:
    """Wait until `look` is true; connection errors count as not yet."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(QianfanError):
            if look():
                return
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.05)
