"""Which URLs and addresses may be reached for strangers: judged by the text first, by every address after."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault

PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")  # of one network's own (RFC 8215)
_AZURE: Final = ipaddress.ip_address(
    "168.63.129.16"
)  # public by its number, and the host of every machine there
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Allow:
    """Hosts that may be fetched from though their address is private: (host, port), port None for any."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Allow:
        """From `HOST` or `HOST:PORT`; IPv6 in brackets. Raises ValueError."""
        found = set()
        for text in texts:
            try:
                parts = urlsplit(f"//{text}")
                if not parts.hostname or parts.path or parts.query or "@" in text:
                    raise ValueError
                found.add((parts.hostname, parts.port))
            except ValueError:
                raise ValueError(f"{text!r} is not HOST or HOST:PORT") from None
        return cls(frozenset(found))

    def has(self, host: str, port: int) -> bool:
        """Whether this host and port were allowed by name."""
        return (host, None) in self.hosts or (host, port) in self.hosts


def refused(parts: SplitResult | None, why: str, advice: str = "check the URL") -> Fault:
    """The error of a URL that is not fetched. parts: None where even its parts cannot be trusted."""
    # The query is left out: it may hold a signature.
    where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200] if parts else "the URL"
    return Fault(CONSOLE_PARAMETER, f"{ascii(where)[1:-1]} cannot be fetched: {why}", advice)


def checked_url(url: str) -> SplitResult:
    """The parts of a URL that may be fetched as far as its text tells. Raises Fault."""
    if len(url) > 8192 or any(ord(mark) <= 0x20 or ord(mark) == 0x7F for mark in url) or "\\" in url:
        raise refused(None, "it has spaces, control characters or backslashes, or is too long")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refused(None, "it is not well formed") from None
    if parts.scheme not in PORTS:
        raise refused(None, "only http and https are fetched")
    if "@" in parts.netloc:
        raise refused(None, "it holds a user name or password", "leave credentials out of the URL")
    if "#" in url:
        raise refused(parts, "it has a fragment")
    host = parts.hostname or ""
    if not (_NAME.fullmatch(ascii_host(host)) or _literal(host)) or port == 0:
        raise refused(None, "its host or port is not valid")
    return parts


def ascii_host(host: str) -> str:
    """The name as resolvers take it, "" when there is none."""
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return ""


def _literal(host: str) -> Address | None:
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def forbidden(address: Address) -> str | None:
    """Why an address must not be reached, such as `loopback`; None when it is a public one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and (address in _NAT64 or int(address) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and int(address) > 1:
            return forbidden(inner)
    for word, holds in (
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("unspecified", address.is_unspecified),
        ("multicast", address.is_multicast),
        ("private", address.is_private or address in _NAT64_LOCAL or address == _AZURE),
        ("reserved", address.is_reserved or not address.is_global),
    ):
        if holds:
            return word
    return None
