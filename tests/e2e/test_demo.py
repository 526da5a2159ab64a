"""The demo as a user runs it: with the default weights, to its last line; and stopped in the middle."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.processes import family

DEMO = [sys.executable, "-m", "qianfan.cli.main", "demo"]
LAST = re.compile(r"base (\d+)/(\d+), tuned (\d+)/\2, (\d+) s")


@pytest.mark.weights
@pytest.mark.timeout(900)
def test_the_demo_teaches_the_default_model_something() -> None:
    """Real weights, one pass over the data: the tuned model is unmistakably better on unseen tickets."""
    done = subprocess.run([*DEMO, "--epochs", "1"], capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = LAST.fullmatch(done.stdout.strip().splitlines()[-1])
    assert found, done.stdout[-500:]
    base, questions, tuned, _ = map(int, found.groups())
    assert questions == 40
    assert base <= 4
    assert tuned >= base + 12
    assert re.search(r"\d+ steps in \d+ s, \d+ tokens/s, loss \d\.\d\d → \d\.\d\d", done.stdout)


def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    """Interrupted while it trains: exit code 130, no process, and the same folder works again."""
    data = tmp_path / "data"
    demo = subprocess.Popen(
        [*DEMO, "--train-type", "tiny", "--data", str(data)], stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "training: training" in line:
            break
    everybody = psutil.Process(demo.pid).children(recursive=True)
    assert family("trainers.child", demo.pid)
    demo.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest = demo.stdout.read()
    assert demo.wait(30) == 130
    assert time.monotonic() - began < 20
    assert "nothing is left running" in rest
    demo.stdout.close()
    _, alive = psutil.wait_procs(everybody, timeout=10)
    assert not alive
    from qianfan import embedded

    with embedded.start(data, use=False) as platform:
        assert platform.base_url
