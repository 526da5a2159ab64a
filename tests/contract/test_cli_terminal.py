"""`qianfan chat` on a terminal: a conversation typed into a pseudo terminal."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import Scripts

pty = pytest.importorskip("pty")

# The pseudo terminal becomes the controlling one, so that Ctrl-C is a signal as it is for a user.
START = "import os; os.login_tty(0); from qianfan.cli.main import main; main()"
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


@dataclass
class Terminal:
    """A program on a pseudo terminal."""

    process: subprocess.Popen[bytes]
    screen: int
    seen: str = ""
    _at: int = field(default=0)
    _decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))

    def until(self, pattern: str, seconds: float = 20) -> str:
        """What came since the last call, as soon as `pattern` is in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.compile(pattern, re.DOTALL).search(self.seen, self._at)
            if found:
                new, self._at = self.seen[self._at : found.end()], found.end()
                return new
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.screen, 65536)
                except OSError:  # it has ended
                    break
                self.seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", self._decoder.decode(piece))
        raise AssertionError(f"{pattern!r} did not come; since then: {self.seen[self._at :]!r}")

    def type(self, text: str) -> None:
        """Keys; a line ends with a carriage return, as the key sends it."""
        os.write(self.screen, text.encode())

    def ask(self, text: str) -> str:
        """Type a line; what comes until the next prompt."""
        self.type(f"{text}\r")
        return self.until(r"\n> $")


Talk = Callable[..., Terminal]


@pytest.fixture
def talk(scripts: Scripts, tmp_path: Path) -> Iterator[Talk]:
    """Starts `qianfan chat ARGUMENTS` on a pseudo terminal, and waits for the prompt."""
    started: list[Terminal] = []

    def start(*arguments: str, **extra: str) -> Terminal:
        screen, keyboard = pty.openpty()
        environment = scripts.environment(
            TERM="xterm", COLUMNS="120", LINES="50", XDG_STATE_HOME=str(tmp_path / "state"), **extra
        )
        process = subprocess.Popen(
            [sys.executable, "-c", START, "chat", *arguments],
            env=environment,
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
            cwd=tmp_path,
        )
        os.close(keyboard)
        started.append(Terminal(process, screen))
        started[-1].until(r"Ctrl-D leaves.*> $")
        return started[-1]

    yield start
    for terminal in started:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.screen)


def test_a_conversation_is_kept_steered_and_saved(talk: Talk, tmp_path: Path) -> None:
    """Each turn goes with those before it; commands change who answers and how; the turns can be saved."""
    chat = talk("-e", "echo")
    first = chat.ask("hello **there**")
    assert "hello there" in first, "Markdown is rendered"
    assert "2 + 2 tokens" in first
    assert "6 + 2 tokens" in chat.ask("and again"), "the turns before are sent again"
    assert "be kind" in chat.ask("/system be kind")
    assert "11 + 1 tokens" in chat.ask("third")
    chat.ask("/save talk.json")
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert [turn["role"] for turn in saved["messages"]] == ["user", "assistant"] * 3
    assert saved["system"] == "be kind"
    chat.ask("/save talk.md")
    assert "hello **there**" in (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert "not saved" in chat.ask("/save /no/such/folder/talk.md")
    chat.ask("/clear")
    assert "3 + 1 tokens" in chat.ask("alone")
    assert "/system" in chat.ask("/help")
    assert "no command /nonsense" in chat.ask("/nonsense")
    assert "/model" in chat.ask("//model"), "two slashes send one"
    chat.type("/quit\r")
    assert chat.process.wait(10) == 0


def test_an_error_does_not_end_the_conversation(talk: Talk) -> None:
    """Another model can be chosen, and the question that failed is not kept."""
    chat = talk("-e", "no_such_service")
    assert "no_such_service" in chat.ask("hello")
    assert "echo answers" in chat.ask("/model echo")
    assert "1 + 1 tokens" in chat.ask("hello")
    chat.type(CTRL_D)
    assert chat.process.wait(10) == 0


def test_lines_may_go_on_and_be_fetched_back(talk: Talk, tmp_path: Path) -> None:
    """A backslash goes on in the next line; the lines of an earlier conversation come with the arrow key."""
    chat = talk("-e", "echo")
    chat.type("one \\\r")
    chat.until(r"\.\.\. $")
    assert "2 + 2 tokens" in chat.ask("two")
    chat.type("/quit\r")
    assert chat.process.wait(10) == 0
    kept = tmp_path / "state" / "qianfan" / "chat_history"
    assert kept.stat().st_mode & 0o077 == 0, "only this user may read it"
    again = talk("-e", "echo")
    again.type(UP * 2)
    assert "2 + 2 tokens" not in again.ask("")
    again.type("/quit\r")
    assert again.process.wait(10) == 0


def test_nothing_is_kept_when_it_is_not_wanted(talk: Talk, tmp_path: Path) -> None:
    """By the option, or by the environment."""
    for arguments, extra in ((("--no-history",), {}), ((), {"QIANFAN_CHAT_HISTORY": "0"})):
        chat = talk("-e", "echo", *arguments, **extra)
        chat.ask("a secret")
        chat.type("/quit\r")
        assert chat.process.wait(10) == 0
        assert not (tmp_path / "state").exists()


@dataclass
class Slow:
    """A server that answers one word, and the next only when asked to stop."""

    address: str
    left: threading.Event


@pytest.fixture
def slow() -> Iterator[Slow]:
    left = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            frame = json.dumps({"id": "as-1", "result": "beginning ", "is_end": False, "sentence_id": 0})
            with contextlib.suppress(OSError):
                self.wfile.write(f"data: {frame}\n\n".encode())
                self.wfile.flush()
            self.connection.settimeout(30)
            with contextlib.suppress(OSError):
                if not self.connection.recv(1):  # the reader hung up
                    left.set()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Slow(f"http://127.0.0.1:{server.server_port}", left)
    server.shutdown()
    server.server_close()
    thread.join()


def test_ctrl_c_stops_the_answer_and_not_the_program(talk: Talk, slow: Slow) -> None:
    """What came is kept, the server is left at once, and the prompt comes back; at the prompt it only clears."""
    chat = talk("-e", "any", QIANFAN_BASE_URL=slow.address, QIANFAN_ACCESS_TOKEN="token")
    chat.type("hello\r")
    chat.until("beginning")
    began = time.monotonic()
    chat.type(CTRL_C)
    assert "stopped" in chat.until(r"\n> $")
    assert time.monotonic() - began < 3
    assert slow.left.wait(3)
    time.sleep(0.3)  # line editing begins a moment after the prompt is drawn
    chat.type(CTRL_C)
    chat.until("/quit leaves.*> $")
    chat.type("/quit\r")
    assert chat.process.wait(10) == 0


def test_ctrl_c_ends_a_single_question(scripts: Scripts, slow: Slow, tmp_path: Path) -> None:
    """With the exit code that shells know, and the text that had come."""
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", START, "chat", "-e", "any", "hello"],
        env=scripts.environment(
            TERM="xterm", QIANFAN_BASE_URL=slow.address, QIANFAN_ACCESS_TOKEN="token", COLUMNS="120"
        ),
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        cwd=tmp_path,
    )
    os.close(keyboard)
    terminal = Terminal(process, screen)
    try:
        terminal.until("beginning")
        terminal.type(CTRL_C)
        assert process.wait(5) == 130
        assert "Traceback" not in terminal.seen
    finally:
        process.kill()
        os.close(screen)
