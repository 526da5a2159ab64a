"""The log of a run, its ledger, and a look through a sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "dataset"))

from stub_platform import StubPlatform, pointed_to

from qianfan.errors import InternalError
from qianfan.model.ledger import Ledger, Xray
from qianfan.model.log import TrainLog
from qianfan.model.runs import Run

COUNTS = {
    "samples": 4,
    "kept": 2,
    "truncated": 0,
    "dropped": 2,
    "trained_tokens": 30,
    "tokens": 90,
    "problems": [{"sample": 3, "what": "dropped", "why": "it is empty"}],
    "problems_not_shown": 1,
}


def test_a_ledger_reads_as_a_sum() -> None:
    """Counts, tokens, and the first problems with their reasons."""
    assert str(Ledger(COUNTS)).splitlines() == [
        "4 samples: 2 kept, 2 dropped",
        "30 tokens are learned, 90 are read",
        "sample 3: dropped: it is empty",
        "and 1 more",
    ]
    assert Ledger(COUNTS)["kept"] == 2
    assert list(Ledger(COUNTS).entries()) == []


def test_all_entries_come_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, or only those of one outcome."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with StubPlatform() as platform, pointed_to(platform.url):
        log = Run(1, 2).log()
        assert log.ledger is not None
        assert [row["sample"] for row in log.ledger.entries()] == [1, 2, 3]
        assert [row["sample"] for row in log.ledger.entries("dropped")] == [3]
        assert [body.get("marker") for body in platform.bodies("DescribeFineTuningTaskLedger")][:3] == [
            None,
            "2",
            "3",
        ]
        sample = log.xray(7)
        assert str(sample) == "sample 7: kept; 3 tokens, 2 learned\nuser: hi\n⟦hello⟧"
        assert "background" in sample._repr_html_()


def test_a_sample_shows_what_is_learned() -> None:
    """A preference has two sequences; text of the data is never markup."""
    one = [
        {"text": "<b>", "id": 5, "trained": False, "special": True},
        {"text": "x", "id": 6, "trained": True},
    ]
    two = [{"name": "chosen", "tokens": one}, {"name": "rejected", "tokens": one}]
    sample = Xray({"sample": 1, "sequences": two})
    assert str(sample) == "sample 1; 4 tokens, 2 learned\nchosen:\n<b>⟦x⟧\nrejected:\n<b>⟦x⟧"
    page = sample._repr_html_()
    assert "<b>" not in page
    assert '<span title="5" style="font-weight:bold">&lt;b&gt;</span>' in page


def test_a_notebook_sees_curves_ledger_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """plot() prints where there is no notebook."""
    metrics: list[dict[str, Any]] = [{"kind": "step", "step": n, "loss": 3.0 - n} for n in (1, 2)]
    said = {"sample": 1, "question": "<i>", "wanted": "b", "before": "c", "after": "d"}
    metrics.append({"kind": "finished", "step": 2, "examples": [said]})
    log = TrainLog([{"time": "12:00", "level": "info", "text": "<step>"}], metrics, COUNTS)
    assert log.examples == [said]
    page = log._repr_html_()
    assert "<td>1</td><td>&lt;i&gt;</td><td>b</td><td>c</td><td>d</td>" in page
    assert page.startswith("<svg")
    assert "&lt;step&gt;" in page
    assert "2 dropped" in page
    assert log.plot("loss") is None
    assert capsys.readouterr().out.startswith("loss\n")
    with pytest.raises(InternalError, match="without its run"):
        log.xray(1)
