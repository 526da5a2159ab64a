"""Where the outsiders live: a virtual environment or npm project of its own for each, under `.outsiders/`.

Versions are pinned in `requirements-*.txt` and `package-lock.json` beside this file. An environment is made
once and made anew when its pins change; our own SDK in it is built and installed again when its source changes.

python tests/contract/outsiders/environments.py makes all of them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parents[2]
CACHE: Final = PROJECT / ".outsiders"
PIP: Final = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class CannotMake(Exception):
    """An environment cannot be made here. The text says why."""


def openai() -> Path:
    """The interpreter of an environment with the `openai` client."""
    return _python("openai")


def langchain() -> Path:
    """The interpreter of an environment with LangChain, and with our SDK as `qianfan`: its base, no extras."""
    python = _python("langchain")
    source = [
        PROJECT / "pyproject.toml",
        *(PROJECT / "src").rglob("*.py"),
        *(PROJECT / "src").rglob("*.toml"),
    ]
    _once(
        python.parents[1] / ".qianfan",
        source,
        lambda: _run(str(python), *PIP, "--force-reinstall", "--no-deps", str(PROJECT)),
    )
    return python


def llamaindex() -> Path:
    """The interpreter of an environment with LlamaIndex's Qianfan class, which needs no `qianfan`."""
    return _python("llamaindex")


def node() -> Path:
    """The folder of an npm project with `@baiducloud/qianfan`, beside our programs for it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise CannotMake("there is no node and npm; install Node.js 18 or newer")
    folder = CACHE / "node"
    pins = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]

    def make() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for pin in pins:
            shutil.copy(pin, folder)
        _run(npm, "ci", "--silent", "--ignore-scripts", cwd=folder)

    _once(folder / ".ready", pins, make)
    return folder


def _python(name: str) -> Path:
    folder, pins = CACHE / name, HERE / f"requirements-{name}.txt"
    python = folder / "bin" / "python"

    def make() -> None:
        venv.create(folder, clear=True, with_pip=True)
        _run(str(python), *PIP, "-r", str(pins))
        if name == "langchain":  # what our base needs, once; the SDK itself follows its source
            _run(str(python), *PIP, str(PROJECT))

    _once(folder / ".ready", [pins], make)
    return python


def _once(stamp: Path, sources: Iterable[Path], make: Callable[[], None]) -> None:
    """Call `make` unless it was done for these very files."""
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(str(source.relative_to(PROJECT)).encode() + b"\0" + source.read_bytes() + b"\0")
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    make()
    stamp.write_text(digest.hexdigest())


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise CannotMake(f"{' '.join(command[:5])} … failed: {(done.stderr or done.stdout).strip()[-800:]}")


if __name__ == "__main__":
    for place in (openai, langchain, llamaindex, node):
        print(place(), file=sys.stderr)
