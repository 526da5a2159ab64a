"""The signature that S3 and what speaks it ask for: AWS Signature Version 4. Pure."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"
EMPTY: Final = hashlib.sha256(b"").hexdigest()
SAFE: Final = "-._~"


def encoded_path(*parts: str) -> str:
    """The path of a request: parts joined by `/`, percent-encoded as they are signed; slashes in a part stay."""
    return "/" + "/".join(quote(part, safe=f"/{SAFE}") for part in parts)


def signed(
    access_key: str,
    secret_key: str,
    region: str,
    *,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str],
    payload_sha256: str = EMPTY,
    unix: float,
    service: str = "s3",
) -> dict[str, str]:
    """The headers of a request with those that sign it: `x-amz-date`, `x-amz-content-sha256`, `Authorization`.

    path: percent-encoded. headers: all that are signed, `host` among them. payload_sha256: of the body, hex.
    unix: now, seconds."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(int(unix)))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    own = {"x-amz-content-sha256": payload_sha256, "x-amz-date": stamp}
    lines = {name.lower(): " ".join(value.split()) for name, value in {**headers, **own}.items()}
    names = ";".join(sorted(lines))
    canonical = "\n".join(
        (
            method,
            path,
            "&".join(sorted(f"{quote(name, safe=SAFE)}={quote(value, safe=SAFE)}" for name, value in query)),
            "".join(f"{name}:{lines[name]}\n" for name in sorted(lines)),
            names,
            payload_sha256,
        )
    )
    to_sign = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    said = f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, **own, "Authorization": said}
