"""The server as a process: how it starts, what it holds, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from qianfan.errors import InternalError

from .conftest import Scripts

QIANFAN = [sys.executable, "-m", "qianfan.cli.main"]


def test_serve_is_ready_within_ten_seconds_and_keeps_its_keys_to_itself(tmp_path: Path) -> None:
    """One flushed line `ready <url>`, the exports before it, and a credentials file of mode 0600."""
    began = time.monotonic()
    server = subprocess.Popen(
        [*QIANFAN, "serve", "--data", str(tmp_path / "data"), "--port", "0", "--print-env"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line.strip())
            if line.startswith("ready "):
                break
        assert time.monotonic() - began < 10
        url = lines[-1].split()[1]
        assert f"export QIANFAN_BASE_URL={url}" in lines
        path = tmp_path / "data" / "credentials.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        keys = json.loads(path.read_text())
        assert set(keys) == {"base_url", "ak", "sk", "access_key", "secret_key"}
        assert keys["base_url"] == url
        assert f"export QIANFAN_SECRET_KEY={keys['secret_key']}" in lines
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(15) in (0, -signal.SIGINT)
        server.stdout.close()


def test_the_server_never_loads_torch(platform: Embedded, scripts: Scripts, dataset_id: int) -> None:
    """Not even after it has trained and served: its memory maps hold no torch."""
    del dataset_id
    maps = Path(f"/proc/{platform.process.pid}/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    assert "libtorch" not in maps.read_text()


def test_a_second_server_on_the_same_data_is_refused(platform: Embedded) -> None:
    """Two writers would tear the data; the message says what to do."""
    with pytest.raises(InternalError, match="another server works on"):
        embedded.start(platform.data, use=False)


def test_a_public_address_is_refused_unless_asked_for(tmp_path: Path) -> None:
    """Plain HTTP for everybody is never an accident."""
    done = subprocess.run(
        [*QIANFAN, "serve", "--data", str(tmp_path), "--host", "0.0.0.0", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--public" in done.stderr


def test_a_killed_parent_leaves_no_server(tmp_path: Path) -> None:
    """kill -9 of the process that started an embedded platform ends the platform too."""
    code = (
        "from qianfan import embedded\nimport sys, time\n"
        f"p = embedded.start({str(tmp_path / 'data')!r}, use=False)\n"
        "print(p.process.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([server], timeout=15)
    assert gone
    assert not alive


def test_without_the_train_extra_the_server_starts_and_says_what_is_missing(
    tmp_path: Path, tiny_catalogue: Path
) -> None:
    """Hide torch from the server: it serves, and refuses a training with the install hint, at the call."""
    hidden = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft'):\n    sys.modules[name] = None\n"
        "from qianfan_platform.__main__ import main\nsys.exit(main())\n"
    )
    arguments = ["--data", str(tmp_path / "data"), "--port", "0", "--catalogue", str(tiny_catalogue)]
    server = subprocess.Popen(
        [sys.executable, "-c", hidden, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith("ready ")
        keys = json.loads((tmp_path / "data" / "credentials.json").read_text())
        from qianfan.errors import APIError
        from qianfan.resources import FineTune

        environment = {
            "QIANFAN_BASE_URL": keys["base_url"],
            "QIANFAN_CONSOLE_API_BASE_URL": keys["base_url"],
            "QIANFAN_ACCESS_KEY": keys["access_key"],
            "QIANFAN_SECRET_KEY": keys["secret_key"],
        }
        with embedded.configured(environment):
            task = FineTune.create_task(name="no trainer")["result"]["id"]
            body = {"taskId": task, "trainType": "tiny", "trainset": [{"type": 1, "id": 1}]}
            with pytest.raises(APIError, match=r"open-qianfan\[train\]") as refused:
                FineTune.create_job(body)
            assert refused.value.error_code == 500007
    finally:
        server.terminate()
        server.wait(15)
        server.stdout.close()


def test_local_runs_an_unchanged_script_with_its_own_keys(tmp_path: Path) -> None:
    """Whatever keys the script sets are the one account's; its exit code is ours; nothing is left running."""
    script = tmp_path / "app.py"
    script.write_text(
        "import os, sys\n"
        'os.environ["QIANFAN_ACCESS_KEY"] = "your_ak"\n'
        'os.environ["QIANFAN_SECRET_KEY"] = "your_sk"\n'
        "from qianfan.resources import FineTune\n"
        'print(FineTune.create_task(name="task_name", description="task_desc")["result"]["id"])\n'
        'print(os.environ["QIANFAN_BASE_URL"])\n'
        "sys.exit(7)\n"
    )
    done = subprocess.run(
        [*QIANFAN, "local", "--", sys.executable, str(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 7, done.stderr
    task, url = done.stdout.split()
    assert task == "1"
    port = int(url.rsplit(":", 1)[1])
    assert not [c for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"]


def test_a_proxy_in_the_environment_is_no_hindrance(tmp_path: Path, tiny_catalogue: Path) -> None:
    """Neither the way to the platform nor that to its engine leads through a proxy that cannot know them."""
    code = (
        "import qianfan, sys\n"
        "with qianfan.embedded.start(sys.argv[1], catalogue=sys.argv[2]):\n"
        "    hi = [{'role': 'user', 'content': 'hi'}]\n"
        "    print(qianfan.ChatCompletion().do(messages=hi, max_output_tokens=4).code)\n"
    )
    dead = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "QIANFAN_PROXY"), dead)
    plain = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data"), str(tiny_catalogue)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**plain, **proxies},
    )
    assert done.stdout.strip() == "200", done.stderr[-1500:]


def test_local_says_when_the_command_does_not_exist() -> None:
    """Exit code 127, as a shell would."""
    done = subprocess.run(
        [*QIANFAN, "local", "--", "no-such-command"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_doctor_tells_each_finding_with_its_fix(scripts: Scripts) -> None:
    """Machine-readable, and with credentials in the environment nothing is a problem."""
    done = subprocess.run(
        [*QIANFAN, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env=scripts.environment(COLUMNS="200"),
    )
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert findings["QIANFAN_BASE_URL"]["state"] == "ok"
    assert findings["keys for inference (AK, SK)"]["state"] == "ok"
    half = {name: value for name, value in os.environ.items() if not name.startswith("QIANFAN_")}
    broken = subprocess.run(
        [*QIANFAN, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**half, "QIANFAN_AK": "only-one-half"},
    )
    assert broken.returncode == 1
    assert "only-one-half" not in broken.stdout
