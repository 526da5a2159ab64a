"""Masking what names a person or a machine: addresses, numbers, keys. The mask says what stood there."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

EMAIL: Final = "<EMAIL>"
IP: Final = "<IP>"
IDENTIFIER: Final = "<ID>"

# Every part has a bound, so that no text makes a search slow.
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9-])"
)
_IPV4: Final = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")
_IPV6: Final = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,4}(?![0-9A-Za-z:])")
# Phone numbers, cards, identity numbers: digits in groups. Keys and hashes: letters and digits without a space.
_DIGITS: Final = re.compile(r"(?<![A-Za-z0-9_.])\+?\d(?:[ -]?\d){6,30}[xX]?(?![A-Za-z0-9_])")
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]{0,63}\d)(?=[A-Za-z0-9_-]{0,63}[A-Za-z])[A-Za-z0-9_-]{12,256}(?![A-Za-z0-9_-])"
)
_DATE: Final = re.compile(
    r"(?:19|20)\d\d[- ](?:0?[1-9]|1[0-2])[- ](?:0?[1-9]|[12]\d|3[01])|(?:19|20)\d\d[- ]?(?:19|20)\d\d"
)
_WORDS_IN_KEY: Final = re.compile(r"[A-Za-z]{2,}(?:[_-][A-Za-z]{2,})*[_-]?\d{1,3}")
LONG: Final = 8  # digits: shorter numbers are prices, years and counts


def replace_emails(text: str) -> str:
    """Mail addresses become <EMAIL>."""
    return _EMAIL.sub(EMAIL, text) if "@" in text else text


def replace_ip(text: str) -> str:
    """IPv4 and IPv6 addresses become <IP>; version numbers and times stay."""
    if "::" in text or text.count(":") >= 7:
        text = _IPV6.sub(_masked_ip, text)
    return _IPV4.sub(_masked_ip, text) if "." in text else text


def _masked_ip(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_address(found[0])
    except ValueError:
        return found[0]
    return IP


def replace_identifier(text: str) -> str:
    """Long numbers and keys become <ID>: phones, cards, identity numbers, hashes. Years, dates and small numbers stay."""
    text = _DIGITS.sub(_masked_digits, text)
    return _KEY.sub(_masked_key, text)


def _masked_digits(found: re.Match[str]) -> str:
    digits = sum(mark.isdigit() for mark in found[0])
    return found[0] if digits < LONG or _DATE.fullmatch(found[0]) else IDENTIFIER


def _masked_key(found: re.Match[str]) -> str:
    """A name with a number behind it, such as `chapter_two_12`, is no key."""
    digits = sum(mark.isdigit() for mark in found[0])
    return found[0] if digits < 4 or _WORDS_IN_KEY.fullmatch(found[0]) else IDENTIFIER
