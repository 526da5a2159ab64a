"""A model hub on loopback: so much of Hugging Face's protocol as fetching one repository needs."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, bytes]]]:
    """A model hub on this machine that speaks Hugging Face's protocol; the test fills its one repository."""
    files: dict[str, bytes] = {}
    changed: dict[str, bytes] = {}  # what is sent instead, by a hub that lies

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            name = path.partition(f"/{COMMIT}/")[2] or path.rpartition("/")[2]
            if "/tree/" in self.path:
                content = json.dumps([leaf(name, content) for name, content in files.items()]).encode()
            elif self.path.startswith("/api/"):
                rows = [row(name, content) for name, content in files.items()]
                content = json.dumps({"id": "org/model", "sha": COMMIT, "siblings": rows}).encode()
            elif name in files:
                content = changed.get(name, files[name])
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    def row(name: str, content: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        large = {
            "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
        }
        return {
            "rfilename": name,
            "size": len(content),
            "blobId": blob,
            **(large if name.endswith(".safetensors") else {}),
        }

    def leaf(name: str, content: bytes) -> dict[str, Any]:
        found = row(name, content)
        plain = {"type": "file", "path": name, "size": len(content), "oid": found["blobId"]}
        if "lfs" in found:
            plain["lfs"] = {"oid": found["lfs"]["sha256"], "size": len(content), "pointerSize": 1}
        return plain

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield {"files": files, "changed": changed}
        server.shutdown()
        thread.join()
