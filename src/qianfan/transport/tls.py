"""Certificates: those that settings name, and what the synchronous client trusts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qianfan.errors import InvalidArgumentError

if TYPE_CHECKING:
    import ssl

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

BUNDLES: Final = (  # where systems keep their authorities
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, CentOS, openEuler
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)


def certificates(ca_file: str) -> list[bytes]:
    """The certificates of a PEM file, keys and comments left out. InvalidArgumentError where there is none."""
    try:
        found = _CERTIFICATE.findall(Path(ca_file).read_bytes())
        if not found:
            raise ValueError("there is no certificate in it")
    except (OSError, ValueError) as error:
        raise unreadable(ca_file, error) from error
    return found


def unreadable(ca_file: str, cause: Exception) -> InvalidArgumentError:
    """The error for a CA file that is none."""
    return InvalidArgumentError(
        f"the CA file {ca_file} cannot be read", cause=cause, advice="it must be a PEM file"
    )


def trust(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    """What a connection accepts: the system's authorities, and those of `ca_file`; anything where not `verify`.

    A certificate of that file is trusted whoever signed it."""
    import ssl  # 10 ms that calls without TLS need not pay

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.load_default_certs()
    if not context.cert_store_stats()["x509_ca"]:  # a Python built for another system than this one
        for bundle in BUNDLES:
            if Path(bundle).is_file():
                context.load_verify_locations(bundle)
                break
    if ca_file:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=b"\n".join(certificates(ca_file)).decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise unreadable(ca_file, error) from error
    return context
