"""A short task of the trainer's package: it works, and its last line on stdout says how that went.

It ends with the process that started it, so that a killed server leaves nobody who writes where the next one does."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from qianfan_platform.trainers.child.__main__ import reason
from qianfan_platform.trainers.child.wire import Refused


def run(work: Callable[[], None], out: str) -> NoReturn:
    """Work, tell {"finished": out} or {"failed": reason}, and end the process with 0 or 1.

    It ends at once: threads of libraries may not keep it."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    code = 0
    try:
        work()
        told = {"finished": out}
    except Exception as error:
        if not isinstance(error, Refused):
            traceback.print_exc()
        told, code = {"failed": reason(error)}, 1
    print(json.dumps(told), flush=True)
    sys.stdout.flush()
    os._exit(code)


def end_with(parent: int) -> None:
    """End this process, whatever it does, soon after its parent did. What it writes is renamed into place at last."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(3)
