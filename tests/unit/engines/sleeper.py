"""A child process for tests: says that it is ready, and then sleeps or works until stdin closes.

Told `stop`, it is stopped before it is ready; told `mute`, it never is."""

from __future__ import annotations

import os
import signal
import sys
import threading

if __name__ == "__main__":
    told = sys.stdin.buffer.readline()
    works = told == b"work\n"
    if told == b"stop\n":
        os.kill(os.getpid(), signal.SIGSTOP)
    if told == b"mute\n":
        sys.stdin.buffer.read()
    print("{}", flush=True)
    threading.Thread(target=lambda: sys.stdin.buffer.read(), daemon=True).start()
    while works:
        pass
    threading.Event().wait()
