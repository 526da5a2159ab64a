"""The key file and what it seals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qianfan_platform.accounts.vault import Vault, VaultError, key_file


def test_a_sealed_text_opens_with_its_own_key_and_purpose(tmp_path: Path) -> None:
    """Another key, another purpose, or a changed byte: an error that tells what to do."""
    vault = Vault.open(tmp_path / "secret.key")
    sealed = vault.seal("密钥 text", "ak-1")
    assert "密钥" not in sealed
    assert Vault.open(tmp_path / "secret.key").unseal(sealed, "ak-1") == "密钥 text"
    assert vault.seal("密钥 text", "ak-1") != sealed
    other = Vault.open(tmp_path / "other.key")
    for wrong in (lambda: other.unseal(sealed, "ak-1"), lambda: vault.unseal(sealed, "ak-2")):
        with pytest.raises(VaultError, match="restore that file"):
            wrong()
    for torn in (sealed[:-4], "", "v1.AAAA", "密"):
        with pytest.raises(VaultError):
            vault.unseal(torn, "ak-1")


def test_the_key_file_is_private_and_made_once(tmp_path: Path) -> None:
    """Mode 0600; processes that start together share one key; a file open to others is refused."""
    path = tmp_path / "data" / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        vaults = list(pool.map(Vault.open, [path] * 8))
    assert len({vault.token_key for vault in vaults}) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]
    path.chmod(0o644)
    with pytest.raises(VaultError, match="chmod 600"):
        Vault.open(path)


def test_a_broken_key_file_is_never_replaced(tmp_path: Path) -> None:
    """A new key would make all stored secrets unreadable."""
    path = tmp_path / "secret.key"
    for content in (b"", b"c2hvcnQ=", b"\xff\xfe"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(VaultError):
            Vault.open(path)
        assert path.read_bytes() == content


def test_the_environment_may_name_the_key_file(tmp_path: Path) -> None:
    """QIANFAN_SECRET_KEY_FILE goes before the data folder; empty counts as unset."""
    assert key_file(tmp_path, {}) == tmp_path / "secret.key"
    assert key_file(tmp_path, {"QIANFAN_SECRET_KEY_FILE": ""}) == tmp_path / "secret.key"
    assert key_file(tmp_path, {"QIANFAN_SECRET_KEY_FILE": "/run/key"}) == Path("/run/key")
