"""What a call and an event of a stream cost the SDK in CPU, beside `openai`, the raw HTTP client, and a socket.

python benchmarks/client.py [--rounds 5] [--openai PYTHON] [--only call,tasks,…]

The server is another process on another core; each client is a process of its own, pinned to one core, whose
user and system time is counted after a first round that is thrown away. Rounds are interleaved. `openai` is
taken from the environment that `make test-outsiders` makes, or from --openai; without one it is left out,
aloud. All clients must read the same text, and streams must come as they are sent: a client that buffers looks
cheap."""

from __future__ import annotations

import argparse
import gc
import hashlib
import hmac
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from rounds import CLIENT_CORE, SERVER_CORE, Table, machine, pin

HERE: Final = Path(__file__).resolve().parent
OPENAI: Final = HERE.parent / ".outsiders" / "openai" / "bin" / "python"
# `ChatCompletion` with an app's keys, with an access key, and `Qianfan()`, which is shaped like `openai`
OURS: Final = ("qianfan", "qianfan-signed", "qianfan-shaped")
BUSY: Final = "BCE signature, 1,000 a second"
ALONE: Final = "BCE signature, one a second"
# what is counted → how often in one round, what the rows are called
COUNTS: Final = {
    "call": (400, "a call, one after the other"),
    "threads": (640, "a call, 16 threads"),
    "tasks": (1280, "a call, 64 tasks"),
    "events": (3, "an event, streams of 2,000 one after the other"),
    "events64": (1, "an event, 64 streams of 300 at once"),
    "paced64": (1, "an event, 64 streams of 50 events a second"),
}
SLOW: Final = {
    "openai": 4
}  # this many times fewer of what is not paced: its rounds would take most of the time
ANSWER_S: Final = 120
DELIVERED_MS: Final = 5.0  # how much later than the others' best the median event may come


class Client:
    """One client in its own process."""

    def __init__(self, name: str, python: str, base: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [python, str(HERE / "asking.py"), name, base, str(CLIENT_CORE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def ask(self, measure: str, count: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(measure, count, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            raise SystemExit(f"the client {self.name} ended, or said nothing for {ANSWER_S} s")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def loopback_server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "loopback_server.py")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        pin(SERVER_CORE, process.pid)
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--openai", type=Path, default=OPENAI)
    parser.add_argument("--only", default="", help="measures, with commas between")
    given = parser.parse_args()
    chosen = {m: c for m, c in COUNTS.items() if not given.only or m in given.only.split(",")}
    print(machine())
    table = Table()
    with loopback_server() as base:
        clients = [Client(name, sys.executable, base) for name in ("floor", "raw", *OURS)]
        if given.openai.exists():
            clients.append(Client("openai", str(given.openai), base))
        else:
            print(
                "SKIPPED: openai, which is not installed; `make test-outsiders` makes an environment with it"
            )
        try:
            ask(table, clients, chosen, given.rounds)
            if not given.only or "delivery" in given.only:
                delivery(table, clients)
        finally:
            for client in clients:
                client.close()
    pin(CLIENT_CORE)
    if not given.only or "signature" in given.only:
        small_parts(table, given.rounds)
    report(table)
    return 0


def ask(table: Table, clients: list[Client], chosen: dict[str, tuple[int, str]], rounds: int) -> None:
    """All measures of all clients, in interleaved rounds; the first warms up."""
    texts: dict[str, set[str]] = {}

    def one(client: Client, measure: str) -> Callable[[], float]:
        count = chosen[measure][0]
        if count > 1:
            count = max(1, count // SLOW.get(client.name, 1))

        def measured() -> float:
            answer = client.ask(measure, count)
            texts.setdefault(measure, set()).add(answer["text"])
            return float(answer["us"])

        return measured

    measures = {m: {client.name: one(client, m) for client in clients} for m in chosen}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}" if number else "warming up", file=sys.stderr, flush=True)
        (table if number else Table()).round(measures, number)
    for measure, said in texts.items():
        if len(said) != 1:
            raise SystemExit(f"the clients do not read the same text in {measure}")


def delivery(table: Table, clients: list[Client]) -> None:
    """Every event in hand soon after it was sent, sync and async."""
    print("\ndelivery of a stream of 50 events a second; milliseconds from sent to in hand")
    print(f"  {'':<34} {'first':>7} {'median':>7} {'worst':>7} {'gap':>7} {'gap as sent':>12}")
    for client in clients:
        for way in ("delivery", "adelivery"):
            got = client.ask(way, 1)
            late = got["first_ms"] > DELIVERED_MS or got["median_ms"] > DELIVERED_MS
            table.missed += late
            print(
                f"  {client.name + (' async' if way == 'adelivery' else ''):<34} {got['first_ms']:7.2f} "
                f"{got['median_ms']:7.2f} {got['worst_ms']:7.2f} {got['gap_ms']:7.2f} {got['sent_gap_ms']:12.2f}"
                f"   {'LATE' if late else 'ok'}"
            )


def small_parts(table: Table, rounds: int) -> None:
    """A BCE signature against one HMAC, and what the rate limiter adds to a call."""
    from qianfan.contract import signing
    from qianfan.transport.limiter import Limiter

    headers = {
        "host": "qianfan.example.com",
        "content-type": "application/json",
        "request-source": "bench",
        "x-bce-date": "2026-11-21T10:00:00Z",
    }
    unix = [1_795_255_200.0]

    def signature(step_s: float) -> None:
        unix[0] += step_s  # the key of a second is kept for that second
        signing.sign(
            "ALTAKbench",
            "0123456789abcdef0123456789abcdef",
            method="POST",
            path="/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/eb-instant",
            query={},
            headers={**headers, "x-bce-date": signing.timestamp(unix[0])},
            unix=unix[0],
        )

    key, message = b"0123456789abcdef" * 4, b"POST\n/chat\n\nhost:127.0.0.1\n" * 5

    def one_hmac() -> None:
        hmac.new(key, message, hashlib.sha256).hexdigest()

    free = Limiter(1e9)
    measures = {
        "signature": {
            BUSY: lambda: per_call_us(lambda: signature(0.001)),
            ALONE: lambda: per_call_us(lambda: signature(1.0)),
            "one HMAC": lambda: per_call_us(one_hmac),
        },
        "limiter": {"a place reserved": lambda: per_call_us(lambda: free.reserve())},
    }
    for number in range(rounds + 1):
        (table if number else Table()).round(measures, number)


def per_call_us(function: Callable[[], object], count: int = 20_000) -> float:
    """CPU microseconds of one call."""
    gc.disable()
    try:
        began = time.process_time()
        for _ in range(count):
            function()
        return (time.process_time() - began) / count * 1e6
    finally:
        gc.enable()


def report(table: Table) -> None:
    """The medians, then the ratios that have a target."""
    for measure, (_, title) in COUNTS.items():
        if measure in table.rows:
            table.show(measure, f"{title}: CPU")
    for measure, title in (("signature", "signing: CPU"), ("limiter", "rate limiter, not waiting: CPU")):
        if measure in table.rows:
            table.show(measure, title)
    print("\ntargets (ratios within a round: median, smallest and largest)")
    goals = [
        ("call", "openai", 0.15),
        ("call", "raw", 2.0),
        ("tasks", "openai", 0.10),
        ("events", "openai", 0.15),
        ("events64", "openai", 0.20),
    ]
    for measure, other, target in goals:
        if measure not in table.rows:
            continue
        print(f" {COUNTS[measure][1]}")
        for name in OURS:
            table.judge(measure, name, other, target)
    if "signature" in table.rows:
        print(" signing")
        table.judge("signature", BUSY, "one HMAC", 4.5)
        table.judge("signature", ALONE, "one HMAC", 4.5)
    if "limiter" in table.rows and "call" in table.rows:
        share = statistics.median(table.rows["limiter"]["a place reserved"]) / statistics.median(
            table.rows["call"]["qianfan"]
        )
        print(f"  the limiter is {share:.4f} of a call")
    print(f"\n{table.missed} missed" if table.missed else "\nall reached")


if __name__ == "__main__":
    sys.exit(main())
