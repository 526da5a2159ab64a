"""Which proxy a request takes: that of the setting, else that of the environment; and which hosts take none."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from qianfan.errors import InvalidArgumentError

PORTS: Final = {"http": 80, "https": 443}
PROXY_PORTS: Final = {**PORTS, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Proxy:
    """Where a proxy is, and how it is spoken to: http, https, socks5, or socks5h, which looks up names itself."""

    host: str
    port: int
    scheme: str
    name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """True for one that knows nothing of HTTP."""
        return self.scheme.startswith("socks")


def proxy_for(scheme: str, host: str, port: int, setting: str) -> Proxy | None:
    """The proxy for one server. setting: QIANFAN_PROXY; without it the names that every program reads."""
    if _is_excepted(host, port, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return None
    if setting:
        return proxy_at(setting, "QIANFAN_PROXY")
    for name in (f"{scheme}_proxy", "all_proxy"):
        # in a CGI program a caller's `Proxy` header arrives under the name HTTP_PROXY
        is_forged = name == "http_proxy" and "REQUEST_METHOD" in os.environ
        address = os.environ.get(name) or ("" if is_forged else os.environ.get(name.upper()))
        if address:
            return proxy_at(address, name.upper())
    return None


def proxy_at(address: str, named_by: str) -> Proxy:
    """The proxy at `http://name:password@host:port`; the scheme may be left out."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in PROXY_PORTS:
        raise InvalidArgumentError(
            f"{named_by} is not the address of a proxy",
            advice="write it as http://name:password@host:port; https, socks5 and socks5h are known, too",
        )
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(host, port or PROXY_PORTS[parts.scheme], parts.scheme, name, password)


def basic(name: str, password: str) -> str:
    """The value of an `Authorization` header; empty without a name and a password."""
    if not (name or password):
        return ""
    from base64 import b64encode

    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode('ascii')}"


def _is_excepted(host: str, port: int, listed: str) -> bool:
    """True when NO_PROXY names the host: itself, a domain above it, its network, `*`; each with a port or not."""
    for entry in re.split(r"[,\s]+", listed.lower()):
        name, colon, wanted = entry.rpartition(":")
        if colon and wanted.isdecimal() and (":" not in name or name.endswith("]")):
            if int(wanted) != port:
                continue
            entry = name
        entry = entry.strip("[]")
        domain = entry.removeprefix("*").removeprefix(".")
        if entry == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
            return True
        if "/" in entry and _is_within(host, entry):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
