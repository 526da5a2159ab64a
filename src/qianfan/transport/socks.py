"""SOCKS 5 (RFC 1928, RFC 1929): what is said to such a proxy before the server is spoken to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from .http1 import BrokenAnswer
from .proxies import Proxy

_NONE, _PASSWORD = 0, 2  # ways of authorization
_IPV4, _NAME, _IPV6 = 1, 3, 4  # kinds of addresses
_REASONS: Final = {
    1: "it failed",
    2: "it is not allowed to",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "it took too long",
}


def connect(
    say: Callable[[bytes], None], read: Callable[[int], bytes], proxy: Proxy, host: str, port: int
) -> None:
    """Have the proxy connect to a server. read: gives exactly so many bytes. BrokenAnswer where it does not."""
    ways = bytes((_NONE, _PASSWORD) if proxy.name else (_NONE,))
    say(bytes((5, len(ways))) + ways)
    version, way = read(2)
    if version != 5:
        raise BrokenAnswer("the proxy does not speak SOCKS 5")
    if way == _PASSWORD and proxy.name:
        say(b"\x01" + _sized(proxy.name.encode()) + _sized(proxy.password.encode()))
        if read(2)[1] != 0:
            raise BrokenAnswer("the proxy does not accept its name and password")
    elif way != _NONE:
        raise BrokenAnswer("the proxy wants another authorization than it was given")
    say(b"\x05\x01\x00" + _address(host, port, proxy.scheme == "socks5h") + port.to_bytes(2, "big"))
    version, failure, _, kind = read(4)
    if version != 5 or failure:
        raise BrokenAnswer(f"the proxy cannot connect to the server: {_REASONS.get(failure, 'it failed')}")
    read({_IPV4: 4, _IPV6: 16}[kind] + 2 if kind in (_IPV4, _IPV6) else read(1)[0] + 2)


def _address(host: str, port: int, is_named: bool) -> bytes:
    """The server as the proxy is told: its address, or its name where the proxy is to look it up."""
    if not is_named:
        host = str(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0][4][0])
    for kind, family in ((_IPV4, socket.AF_INET), (_IPV6, socket.AF_INET6)):
        try:
            return bytes((kind,)) + socket.inet_pton(family, host)
        except OSError:
            continue
    return bytes((_NAME,)) + _sized(host.encode("ascii"))


def _sized(data: bytes) -> bytes:
    if len(data) > 255:
        raise BrokenAnswer("a name or password is longer than SOCKS allows")
    return bytes((len(data),)) + data
