"""A short task of the trainer's package: it works, and its last line on stdout says how that went."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from qianfan_platform.trainers.child.__main__ import reason
from qianfan_platform.trainers.child.wire import Refused


def run(work: Callable[[], None], out: str) -> NoReturn:
    """Work, tell {"finished": out} or {"failed": reason}, and end the process with 0 or 1.

    It ends at once: threads of libraries may not keep it."""
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
