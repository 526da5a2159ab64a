"""The table of `qianfan doctor`."""

from __future__ import annotations

import pytest

from qianfan.cli.doctor import Finding, show


def test_a_fix_is_shown_as_it_must_be_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets are part of the command, not of the table's markup."""
    monkeypatch.setenv("COLUMNS", "200")
    show([Finding("extra train", "note", "lacks torch", "pip install 'open-qianfan[train]'")])
    assert "pip install 'open-qianfan[train]'" in capsys.readouterr().out
