"""The files of a model on their way: which of a folder are sent, and a bar while they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from json import loads
from pathlib import Path
from typing import Final

import typer

TAKEN: Final = (".safetensors", ".json", ".jinja", ".txt", ".model")
NEEDED: Final = ("config.json", "tokenizer.json")
HUB: Final = re.compile(r"[\w.-]+/[\w.-]+")


def chosen(path: Path) -> list[Path]:
    """The files of a model at `path`. Raises BadParameter, before anything is sent."""
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise typer.BadParameter(f"{path.name} is no GGUF file; of safetensors give their folder")
        return [path]
    if not path.is_dir():
        hub = f"; of a hub write hf:{path.as_posix()}" if HUB.fullmatch(path.as_posix()) else ""
        raise typer.BadParameter(f"there is no file or folder {path}{hub}")
    there = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
    weights = [file for file in there if file.suffix == ".safetensors"]
    if not weights:
        pickles = [file.name for file in there if file.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        packed = [file.name for file in there if file.suffix.lower() == ".gguf"]
        raise typer.BadParameter(
            f"{path} holds no safetensors"
            + (f", but GGUF: give the file, such as {path / packed[0]}" if packed else "")
            + (
                f", only {pickles[0]}, which may hold code: convert it first"
                if pickles and not packed
                else ""
            )
        )
    absent = [name for name in NEEDED if not (path / name).is_file()]
    if absent:
        raise typer.BadParameter(
            f"{path} holds no {' and no '.join(absent)}"
            + (
                "; AutoTokenizer.from_pretrained(…).save_pretrained(…) writes one"
                if NEEDED[1] in absent
                else ""
            )
        )
    index = path / "model.safetensors.index.json"
    parts = {file.name for file in weights}
    if index.is_file():
        # What lies beside the parts that it names is the same weights once more, or those of something else.
        parts = _parts(index)
        if missing := sorted(parts - {file.name for file in weights}):
            raise typer.BadParameter(f"{index.name} names {missing[0]}, which is not in {path}")
    return [
        file
        for file in there
        if file.suffix in TAKEN and (file.suffix != ".safetensors" or file.name in parts)
    ]


def _parts(index: Path) -> set[str]:
    """The files that an index of weights names. Raises BadParameter."""
    try:
        return set(loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise typer.BadParameter(f"{index.name} is no index of weights: {problem!r}") from problem


def uploaded(files: list[Path]) -> list[dict[str, str]]:
    """Send files one by one; [{name, path}] as the import takes them. The largest goes first: where there is no
    room for it, nothing is left behind."""
    from qianfan.resources.console.files import Files

    done: list[dict[str, str]] = []
    with progress("uploading", sum(file.stat().st_size for file in files)) as advance:
        for file in sorted(files, key=lambda file: -file.stat().st_size):
            done.append({"name": file.name, "path": Files.upload(file)["result"]["path"]})
            advance(file.stat().st_size)
    return done


class progress:
    """A bar on standard error, where somebody sees it: `with progress("uploading", total) as advance`."""

    def __init__(self, text: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(text, total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._bar.start()
        return lambda count: self._bar.advance(self._task, count)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
