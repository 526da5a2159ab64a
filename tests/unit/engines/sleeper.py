"""A child process for tests: says that it is ready, and then sleeps or works until stdin closes."""

from __future__ import annotations

import sys
import threading

if __name__ == "__main__":
    works = sys.stdin.buffer.readline() == b"work\n"
    print("{}", flush=True)
    threading.Thread(target=lambda: sys.stdin.buffer.read(), daemon=True).start()
    while works:
        pass
    threading.Event().wait()
