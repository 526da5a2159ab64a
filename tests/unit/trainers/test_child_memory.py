"""What is free: the machine's, or what a container or a limit leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from qianfan_platform.trainers.child import memory

MIB = 2**20


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_in_", "#").replace("__", ".").replace("#", "_in_")).write_text(text)


@pytest.mark.parametrize("generation", [1, 2])
def test_the_limit_of_a_container_counts_without_what_it_keeps_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    """Pages of files count as held, but are given back at once: they are free."""
    held, limit, cached = str(90 * MIB), str(100 * MIB), 60 * MIB
    if generation == 2:
        stat = f"anon 1\ninactive_file {cached}\n"
        write(tmp_path, memory__current=held, memory__max=limit, memory__stat=stat)
    else:
        stat = f"inactive_file 5\ntotal_inactive_file {cached}\n"
        names = {"memory__usage_in_bytes": held, "memory__limit_in_bytes": limit, "memory__stat": stat}
        write(tmp_path / "memory", **names)
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.there() == pytest.approx(70)


def test_without_a_limit_it_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "max" is no limit; nor is a folder without the files."""
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    free = memory.there()
    assert free > 100
    write(tmp_path, memory__current=str(MIB), memory__max="max\n", memory__stat="")
    assert memory.there() == pytest.approx(free, rel=0.5)
