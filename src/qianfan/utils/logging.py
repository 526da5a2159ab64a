"""Logging: one logger named `qianfan`, to standard error. Secrets are taken out of every line."""

from __future__ import annotations

import logging
import re
import sys
from typing import Final, TextIO

TRACE: Final = 5  # requests and answers
FORMAT: Final = "[%(levelname)s] [%(asctime)s] %(filename)s:%(lineno)d [t:%(thread)d]: %(message)s"
TIME_FORMAT: Final = "%m-%d %H:%M:%S"

_PATTERNS: Final = (
    # in addresses and forms
    re.compile(r"((?:access_token|client_secret|client_id|refresh_token)=)[^&\s\"'<>]+", re.IGNORECASE),
    re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]+(?=@)", re.IGNORECASE),
    # in headers
    re.compile(r"(bce-auth-v1/)[^\s\"',}]+"),
    re.compile(r"((?:Bearer|ACCESSCODE)\s+)[^\s\"',}]+", re.IGNORECASE),
    re.compile(r"(Basic\s+)[A-Za-z0-9+/=_-]{8,}"),
    re.compile(r"()bce-v3/[^\s\"',}]+"),
    # in JSON and in the text of dictionaries
    re.compile(
        r"((?<![A-Za-z0-9])[\"']?(?:ak|sk|access_?token|access_?key|secret_?key|bearer_?token|client_?secret|app_?sk|access_?code"
        r"|authorization)[\"']?\s*[:=]\s*[\"'])[^\"']+",
        re.IGNORECASE,
    ),
)


KNOWN: Final = 256  # secrets of this process that are looked for by their value
SHORTEST: Final = 8  # a shorter one may be a word
_known: dict[str, None] = {}


def guard(*secrets: str | None) -> None:
    """Take these out of every text from now on, wherever they stand in it. The latest are remembered."""
    for secret in secrets:
        if secret and len(secret) >= SHORTEST and secret not in _known:
            _known[secret] = None
            while len(_known) > KNOWN:
                _known.pop(next(iter(_known)), None)


def redact(text: str) -> str:
    """`text` without keys, tokens and signatures."""
    for secret in tuple(_known):
        if secret in text:
            text = text.replace(secret, "***")
    for pattern in _PATTERNS:
        text = pattern.sub(r"\1***", text)
    return text


class RedactingFormatter(logging.Formatter):
    """Formats a record, then takes the secrets out of the whole line, traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Redacting(logging.Filter):
    """Takes the secrets out of a record, so that the handlers of the program have none either."""

    def filter(self, record: logging.LogRecord) -> bool:
        shown = record.getMessage()
        clean = redact(shown)
        if clean != shown:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment, and is silent where the program has its own logging."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(RedactingFormatter(FORMAT, TIME_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            self.stream = sys.stderr
            super().emit(record)


logging.addLevelName(TRACE, "TRACE")
logger = logging.getLogger("qianfan")
if not any(isinstance(handler, _Handler) for handler in logger.handlers):
    logger.addHandler(_Handler())
    logger.addFilter(_Redacting())
if logger.level == logging.NOTSET:
    logger.setLevel(logging.WARNING)


def enable_log(log_level: int | str = logging.INFO) -> None:
    """Show log lines from `log_level` on: a number, or a name such as "DEBUG" or "TRACE"."""
    logger.setLevel(log_level.upper() if isinstance(log_level, str) else log_level)


def disable_log() -> None:
    """Show nothing but critical lines."""
    logger.setLevel(logging.CRITICAL)
