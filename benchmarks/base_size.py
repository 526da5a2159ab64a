"""How much `pip install .` adds to an empty environment, and what of it is largest.

python benchmarks/base_size.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

MIB = 1024 * 1024
SHOWN = 8


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    project = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        before = size(Path(folder))
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(project)],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        print(f"the base install adds {(size(Path(folder)) - before) / MIB:.1f} MiB")
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        largest = sorted(
            ((size(path), path.name) for path in packages.iterdir() if path.is_dir()), reverse=True
        )
        for bytes_, name in [row for row in largest if row[1] != "pip"][:SHOWN]:
            print(f"  {bytes_ / MIB:6.1f}  {name}")


if __name__ == "__main__":
    sys.exit(main())
