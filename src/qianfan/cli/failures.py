"""An error as one plain text with what to do next, and as an exit code that scripts can use."""

from __future__ import annotations

import sys
import traceback
from typing import Final

from qianfan.config import SETTINGS, get_config
from qianfan.errors import InvalidArgumentError, QianfanError

FAILED: Final = 1  # the service, the network or a file said no
USAGE: Final = 2  # the command line, or what it gave, cannot be used
INTERRUPTED: Final = 130  # Ctrl-C

_KEYS: Final = ("AK", "SK", "ACCESS_KEY", "SECRET_KEY", "ACCESS_TOKEN", "BEARER_TOKEN")
NO_KEYS: Final = (
    "no credentials are set, and no server.\n"
    "  try it on this machine:   qianfan chat --local   or   qianfan local -- qianfan chat\n"
    "  keep a platform running:  qianfan serve --data ./data --print-env   and set what it prints\n"
    "  use an account you have:  set QIANFAN_AK and QIANFAN_SK, or QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY"
)


def text_of(error: BaseException) -> str:
    """What is told of an error: what happened, to what, what to do next."""
    if isinstance(error, InvalidArgumentError) and _nothing_is_set():
        return NO_KEYS
    if isinstance(error, QianfanError):
        request = f" (request {error.req_id})" if error.req_id and error.req_id not in str(error) else ""
        return f"{error}{request}"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return f"{type(error).__name__}: {error}. Run it again with `qianfan --debug …` for the whole story"


def tell(error: BaseException, *, debug: bool) -> int:
    """Print the error on standard error; the traceback only with `debug`. Returns the exit code."""
    if debug:
        traceback.print_exception(error)
    else:
        print(f"qianfan: {text_of(error)}", file=sys.stderr)
    return USAGE if isinstance(error, InvalidArgumentError) else FAILED


def _nothing_is_set() -> bool:
    config = get_config()
    return not any(getattr(config, name) for name in _KEYS) and SETTINGS["BASE_URL"][1] == config.BASE_URL
