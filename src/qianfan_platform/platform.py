"""What `app.py` hands to every room: the services that outlive a request. Rooms read it, none changes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .accounts.limits import Limits

if TYPE_CHECKING:
    from .accounts.gate import Gate
    from .accounts.meter import Meter
    from .accounts.vault import Vault
    from .catalogue.catalogue import Catalogue
    from .catalogue.weights import Weights
    from .files import DirectoryFiles
    from .files.objects import Objects
    from .serving.fleet import Fleet
    from .store import Store


@dataclass(frozen=True)
class Settings:
    """How this server was started. `data` holds everything that must survive."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8866  # 0 picks a free one
    database: str | None = field(default=None, repr=False)  # URL, with a password; None: SQLite in `data`
    allow_fetch: tuple[str, ...] = ()  # HOST[:PORT] that imports may fetch from though it is private
    any_key: bool = False  # every well-formed key is the one account: only for `qianfan local`
    catalogue: Path | None = None  # TOML merged over the built-in catalogue
    objects: Path | None = None  # TOML of the object stores that are connected
    bad_share: float = (
        0.0  # 0–1: of the records of an import; while no more are refused, the others are taken
    )
    public: bool = False  # allow a public bind without TLS
    limits: Limits = field(default_factory=Limits)  # of each account that has none of its own
    most_connections: int = 10_000  # open at once
    head_s: float = 10.0  # for the head of a request
    body_idle_s: float = 30.0  # between two pieces of a body
    answer_s: float = 3600.0  # of one answer, from its request to its end
    stall_s: float = 30.0  # a reader that takes nothing for so long is cut off
    idle_sleep_s: float | None = None  # an engine that nobody asked for so long ends until somebody does
    train_device: str = "cpu"  # or cuda, cuda:1, …
    train_sinks: tuple[str, ...] = field(
        default=(), repr=False
    )  # NAME or NAME=TARGET: where figures go besides

    @property
    def work(self) -> Path:
        """Folder of unfinished work: a run's checkpoints, a job's scratch."""
        return self.data / "work"

    @property
    def cache(self) -> Path:
        """Folder of what can be made anew: tokenised rows."""
        return self.data / "cache"


@dataclass(frozen=True)
class Platform:
    """The running server, as rooms see it."""

    settings: Settings
    store: Store
    files: DirectoryFiles
    objects: Objects  # buckets of the stores that an operator has connected
    catalogue: Catalogue
    weights: Weights
    fleet: Fleet
    meter: Meter
    gate: Gate  # knows keys and tokens; told to forget when a key changes
    vault: Vault  # seals what rooms keep of other services' credentials
    link_key: bytes = field(repr=False, default=b"")  # marks the links that need no signature
