"""`import qianfan` loads a table of names, says nothing and opens nothing."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "torch",
    "numpy",
    "pyarrow",
    "pydantic",
    "pyreqwest",
    "typer",
    "rich",
    "asyncio",
    "logging",
    "orjson",
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)


def test_importing_loads_nothing_heavy_and_is_silent() -> None:
    """No third-party package, and of our own only the package itself."""
    done = run(
        "import sys; before = set(sys.modules); import qianfan\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('qianfan')))"
    )
    loaded, ours = done.stdout.splitlines()
    assert done.stderr == ""
    assert not HEAVY & set(loaded.split()), loaded
    assert ours.split() == ["qianfan"]


def test_a_console_class_loads_no_server_and_no_tensors() -> None:
    """Using the SDK brings its HTTP client, and none of what trains or serves."""
    done = run(
        "import sys, qianfan; qianfan.FineTune.create_task; qianfan.ChatCompletion\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    assert done.stderr == ""
    assert not {"torch", "numpy", "pyarrow", "pydantic", "starlette", "qianfan_platform"} & set(
        done.stdout.split()
    )


def test_every_name_of_the_table_resolves() -> None:
    """What `dir(qianfan)` promises is there, and an unknown name is an AttributeError."""
    done = run(
        "import qianfan\n"
        "for name in qianfan._NAMES: getattr(qianfan, name)\n"
        "assert set(qianfan._NAMES) <= set(dir(qianfan))\n"
        "assert qianfan.Messages is qianfan.QfMessages and qianfan.Role is qianfan.QfRole\n"
        "assert qianfan.resources.FineTune is qianfan.FineTune\n"
        "assert not hasattr(qianfan, 'Nothing')\n"
        "print('done')"
    )
    assert done.stdout == "done\n", done.stderr
