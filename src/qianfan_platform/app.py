"""The one place that wires everything together. Nobody imports it but `__main__` and tests."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qianfan.contract import train_types

from .accounts import operations as accounts
from .accounts import routes as account_routes
from .accounts.authentication import authenticator
from .accounts.gate import Gate
from .accounts.meter import Meter
from .accounts.operations import Credentials
from .accounts.tables import Account
from .accounts.vault import Vault, key_file
from .augmentation import routes as augmentation_routes
from .augmentation import steps as augmentation_steps
from .batch import routes as batch_routes
from .batch import steps as batch_steps
from .catalogue.catalogue import Catalogue
from .catalogue.weights import Weights, default_home
from .cleaning import routes as cleaning_routes
from .cleaning import steps as cleaning_steps
from .datasets import entity_routes, freeing
from .datasets import exporting as dataset_exporting
from .datasets import importing as dataset_importing
from .datasets import routes as dataset_routes
from .datasets import steps as dataset_steps
from .datasets import v2 as dataset_v2
from .evaluation import routes as evaluation_routes
from .evaluation import steps as evaluation_steps
from .evaluation import v2 as evaluation_v2
from .files import DirectoryFiles
from .files.objects import Objects
from .inference.routes import hot_routes
from .jobs import Worker
from .models import exporting, importing
from .models import routes as model_routes
from .models import steps as model_steps
from .models import v2 as model_v2
from .platform import Platform, Settings
from .plugins import hot as plugin_hot
from .plugins import routes as plugin_routes
from .plugins import steps as plugin_steps
from .prompts import routes as prompt_routes
from .prompts import steps as prompt_steps
from .serving import routes as service_routes
from .serving import steps as service_steps
from .serving import v2 as service_v2
from .serving.fleet import Fleet
from .serving.reconciler import Reconciler
from .store import Store
from .training import page as training_page
from .training import routes as training_routes
from .training import steps as training_steps
from .training import truth as training_truth
from .training import v2 as training_v2
from .web import build_console, metrics
from .web.envelopes import Json
from .web.front import Front
from .web.metrics import Metric

log = logging.getLogger("qianfan_platform")

ROUTERS: Final = (
    account_routes.router,
    dataset_routes.router,
    dataset_v2.router,
    entity_routes.router,
    cleaning_routes.router,
    training_routes.router,
    training_v2.router,
    training_truth.router,
    training_page.router,
    model_routes.router,
    model_v2.router,
    service_routes.router,
    service_v2.router,
    evaluation_routes.router,
    augmentation_routes.router,
    evaluation_v2.router,
    batch_routes.router,
    plugin_routes.router,
    prompt_routes.router,
)
# Imported so that their jobs are known.
STEPS: Final = (
    dataset_importing,
    dataset_exporting,
    freeing,
    dataset_steps,
    cleaning_steps,
    training_steps,
    model_steps,
    importing,
    exporting,
    service_steps,
    evaluation_steps,
    augmentation_steps,
    batch_steps,
    plugin_steps,
    prompt_steps,
)
CREDENTIALS: Final = "credentials.json"


class DataInUse(Exception):
    """Another server works on this data folder."""


@dataclass(frozen=True)
class Running:
    """A server that is wired and working; `app` answers HTTP."""

    app: Front
    platform: Platform


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Open the data folder, start the worker and the fleet; end them in the other order.

    Raises DataInUse, and what the store raises when the database cannot be opened."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(settings.data)
    try:
        vault = Vault.open(key_file(settings.data, os.environ))
        store = await Store.open(settings.database or f"sqlite:///{settings.data / 'platform.db'}")
        objects = Objects.load(settings.objects)
        catalogue = Catalogue.load(settings.catalogue)
        weights = Weights(default_home())
        fleet = Fleet(catalogue, weights, idle_sleep_s=settings.idle_sleep_s)
        meter = Meter(store, settings.limits)
        platform = Platform(
            settings=settings,
            store=store,
            files=DirectoryFiles(settings.data / "files"),
            objects=objects,
            catalogue=catalogue,
            weights=weights,
            fleet=fleet,
            meter=meter,
            gate=Gate(store, vault, any_key=settings.any_key),
            vault=vault,
            link_key=vault.token_key,
        )
        embedded_database = settings.database is None
        worker = Worker(
            store, platform, name=f"{socket.gethostname()}-{settings.data}", exclusive=embedded_database
        )
        await _first_account(store, vault, settings.data)
        fleet.start()
        await meter.start()
        await worker.start()
        reconciler = Reconciler(platform)
        reconciler.start()
        served = catalogue.trains(train_types.DEFAULT)
        if served is not None:
            fleet.prefetch(served.entry.name)
        front = _application(platform)
        try:
            yield Running(front, platform)
        finally:
            front.lines.flush()
            await reconciler.close()
            await worker.stop()
            await fleet.close()
            await meter.close()
            await store.close()
    finally:
        lock.close()


def _application(platform: Platform) -> Front:
    authenticate = authenticator(platform.gate, platform.meter.faulty)
    figures = _Figures(platform)
    front = build_console(
        ROUTERS,
        store=platform.store,
        authenticate=authenticate,
        platform=platform,
        hot=[
            *hot_routes(platform, authenticate),
            *plugin_hot.hot_routes(platform, authenticate),
            *account_routes.token_routes(platform.gate),
        ],
        extra=[
            Route("/health", _health, methods=["GET"]),
            Route("/readyz", _Ready(platform), methods=["GET"]),
            Route("/metrics", figures, methods=["GET"]),
        ],
    )
    figures.front = front
    return front


async def _health(_: Request) -> Response:
    return Json({"status": "ok"})


class _Ready:
    """Ready when the database answers."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._platform.store.reading() as tx:
            await tx.count(Account)
        await Json({"status": "ready"})(scope, receive, send)


class _Figures:
    """What /metrics shows."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.front: Front | None = None  # set when it is built

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        meter, engines = self._platform.meter, self._platform.fleet.load()
        answered = self.front.answered if self.front is not None else {}
        tokens = {"prompt": meter.prompt_tokens, "completion": meter.completion_tokens}
        shown = metrics.text(
            [
                Metric(
                    "qianfan_requests_total",
                    "counter",
                    "requests answered; status 0: none was given",
                    [({"route": route, "status": str(status)}, n) for (route, status), n in answered.items()],
                ),
                Metric("qianfan_admitted_total", "counter", "model calls let in", [({}, meter.requests)]),
                Metric(
                    "qianfan_limited_total",
                    "counter",
                    "model calls refused by a limit",
                    [({}, meter.refused)],
                ),
                Metric(
                    "qianfan_tokens_total",
                    "counter",
                    "tokens used",
                    [({"kind": k}, n) for k, n in tokens.items()],
                ),
                Metric(
                    "qianfan_connections",
                    "gauge",
                    "clients connected",
                    [({}, len(self.front.connections) if self.front else 0)],
                ),
                Metric("qianfan_engines_up", "gauge", "engines that live", [({}, len(engines))]),
                Metric(
                    "qianfan_engine_answering",
                    "gauge",
                    "requests inside",
                    [({"engine": e}, n) for e, n, _ in engines],
                ),
                Metric(
                    "qianfan_engine_waiting",
                    "gauge",
                    "requests in turn",
                    [({"engine": e}, n) for e, _, n in engines],
                ),
            ]
        )
        await Response(shown, media_type=metrics.MEDIA_TYPE)(scope, receive, send)


def _lock(data: Path) -> IO[str]:
    lock = (data / ".lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise DataInUse(
            f"another server works on {data}; stop it, or start this one with another --data folder"
        ) from None
    return lock


async def _first_account(store: Store, vault: Vault, data: Path) -> None:
    """On the first start, make the account whose keys `credentials.json` holds."""
    async with store.transaction() as tx:
        if await tx.count(Account):
            return
        made = await accounts.create_account(tx, "owner", vault=vault)
        write_credentials(data, made, base_url="")


def write_credentials(data: Path, made: Credentials, *, base_url: str) -> None:
    """The keys of the first account, for its owner's eyes (mode 0600)."""
    _write(
        data / CREDENTIALS,
        {
            "base_url": base_url,
            "ak": made.ak,
            "sk": made.sk,
            "access_key": made.access_key,
            "secret_key": made.secret_key,
        },
    )


def write_address(data: Path, base_url: str) -> dict[str, str]:
    """Put today's address into `credentials.json`; returns its content."""
    path = data / CREDENTIALS
    try:
        content: dict[str, str] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        content = {}  # removed by its owner: the address alone is still worth knowing
    content["base_url"] = base_url
    _write(path, content)
    return content


def _write(path: Path, content: dict[str, str]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
