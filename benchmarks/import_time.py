"""How long `import qianfan` takes: the median of 20 fresh interpreters, less what a bare one takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 20


def median_ms(program: str) -> float:
    """Wall time of an interpreter that runs `program`, milliseconds."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    bare = median_ms("pass")
    for program in (
        "import qianfan",
        "import qianfan; qianfan.ChatCompletion",
        "import qianfan; qianfan.FineTune",
    ):
        print(f"{median_ms(program) - bare:7.1f} ms  {program}   (bare interpreter {bare:.1f} ms)")
