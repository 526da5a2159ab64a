"""What `app.py` hands to every room: the services that outlive a request. Rooms read it, none changes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalogue.catalogue import Catalogue
    from .catalogue.weights import Weights
    from .files import DirectoryFiles
    from .serving.fleet import Fleet
    from .store import Store


@dataclass(frozen=True)
class Settings:
    """How this server was started. `data` holds everything that must survive."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8866  # 0 picks a free one
    database: str | None = None  # URL; None: SQLite in `data`
    allow_fetch: tuple[str, ...] = ()  # HOST[:PORT] that imports may fetch from though it is private
    any_key: bool = False  # every well-formed key is the one account: only for `qianfan local`
    catalogue: Path | None = None  # TOML merged over the built-in catalogue
    public: bool = False  # allow a public bind without TLS

    @property
    def work(self) -> Path:
        """Folder of unfinished work: a run's checkpoints, a job's scratch."""
        return self.data / "work"


@dataclass(frozen=True)
class Platform:
    """The running server, as rooms see it."""

    settings: Settings
    store: Store
    files: DirectoryFiles
    catalogue: Catalogue
    weights: Weights
    fleet: Fleet
    link_key: bytes = field(repr=False, default=b"")  # marks the links that need no signature
