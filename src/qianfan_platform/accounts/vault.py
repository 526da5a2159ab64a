"""The secret that protects secrets: one key file, AES-GCM for what is stored, derived keys for tokens."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ENVIRONMENT: Final = "QIANFAN_SECRET_KEY_FILE"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = "v1."


class VaultError(Exception):
    """The key file is missing, open to others, or not the one that sealed the data."""


def key_file(data: Path, environ: Mapping[str, str]) -> Path:
    """Where the key is: QIANFAN_SECRET_KEY_FILE, else `secret.key` in the data folder."""
    named = environ.get(ENVIRONMENT)
    return Path(named) if named else data / "secret.key"


class Vault:
    """Seals and opens small texts. Its repr shows nothing."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise VaultError(f"a vault's key has {_KEY_BYTES} bytes, not {len(key)}")
        self._aead = AESGCM(_derive(key, b"seal"))
        self.token_key = _derive(key, b"tokens")

    @classmethod
    def open(cls, path: Path) -> Vault:
        """Read the key file, or make it (mode 0600) when there is none. Raises VaultError."""
        try:
            made = _make(path)
            key = base64.b64decode(path.read_bytes().strip(), validate=True)
            mode = path.stat().st_mode
        except binascii.Error:
            raise VaultError(f"{path} is not a key file; restore it from a backup") from None
        except OSError as error:
            raise VaultError(f"the key file {path} cannot be read or made: {error.strerror}") from None
        if not made and os.name == "posix" and mode & 0o077:
            raise VaultError(f"{path} is open to other users (mode {mode & 0o777:o}); run: chmod 600 {path}")
        return cls(key)

    def seal(self, text: str, about: str) -> str:
        """`text` encrypted; it opens only together with the same `about`, such as the key's id."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), about.encode())
        return _VERSION + base64.b64encode(sealed).decode()

    def unseal(self, sealed: str, about: str) -> str:
        """The text again. Raises VaultError when another key sealed it, or it was changed."""
        try:
            raw = base64.b64decode(sealed.removeprefix(_VERSION), validate=True)
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode()).decode()
        except (InvalidTag, ValueError):
            raise VaultError(
                "a stored secret does not open: the key file is not the one it was sealed with; "
                f"restore that file, or point {ENVIRONMENT} to it"
            ) from None


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"open-qianfan/" + purpose).derive(key)


def _make(path: Path) -> bool:
    """Write a fresh key unless the file is there; whoever comes first wins, and the file is whole at once."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was quicker
        except FileExistsError:
            return False
        return True
    finally:
        draft.unlink()
