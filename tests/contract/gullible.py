"""A judge that believes what it reads: an OpenAI-shaped server that gives 5 to whoever asks for it, else 2."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        read = asked["messages"][-1]["content"]
        verdict = json.dumps({"score": 5 if "perfect" in read else 2, "reason": "as I was told"})
        done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        said = {"choices": [{"index": 0, "delta": {"content": verdict}, "finish_reason": None}]}
        events = "".join(f"data: {json.dumps(event)}\n\n" for event in (said, done)) + "data: [DONE]\n\n"
        body = events.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def gullible() -> Iterator[str]:
    """Its address, while it listens on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()
