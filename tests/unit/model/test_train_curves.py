"""The curves of a run, as text and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from qianfan.model.curves import Curves

METRICS = [
    {"kind": "step", "step": 2, "loss": 1.0, "learning_rate": 0.0005, "tokens_per_second": 90.0},
    {"kind": "step", "step": 1, "loss": 2.0, "learning_rate": 0.001, "tokens_per_second": 100.0},
    {"kind": "step", "step": 3, "loss": float("nan"), "learning_rate": 0.0},
    {"kind": "eval", "step": 2, "loss": 1.5, "perplexity": 4.5},
    {"kind": "finished", "step": 3},
]


def test_each_metric_is_a_curve_in_the_order_of_the_steps() -> None:
    """What is no number is left out; so is a curve without points."""
    curves = Curves.of(METRICS)
    assert curves["loss"] == [(1, 2.0), (2, 1.0)]
    assert curves["eval loss"] == [(2, 1.5)]
    assert curves["learning rate"][-1] == (3, 0.0)
    assert "memory MiB" not in curves
    assert list(curves.only("loss")) == ["loss"]
    with pytest.raises(KeyError, match="there is no curve 'precision'"):
        curves.only("precision")


def test_as_text_it_is_a_chart_with_its_ends() -> None:
    """Highest value above, lowest below, first and last step at the foot; a falling line falls."""
    text = Curves.of(METRICS).text(("loss",), width=40, height=4)
    lines = text.splitlines()
    assert lines[0] == "loss"
    assert lines[1].startswith("        2 ┤")
    assert lines[4].startswith("        1 ┤")
    assert lines[6].split() == ["1", "2"]
    assert lines[1].index("┤") < len(lines[1].rstrip()) < len(lines[4].rstrip())
    both = str(Curves.of(METRICS))
    assert "loss and eval loss  (● eval loss)" in both
    assert "●" in both
    assert "learning rate" in both
    assert str(Curves()) == "nothing was measured yet"


def test_a_flat_curve_and_a_single_point_can_be_drawn() -> None:
    """No division by nothing."""
    for values in ([3.0], [3.0, 3.0], [0.0]):
        curves = Curves(loss=[(float(n), value) for n, value in enumerate(values)])
        assert "┤" in curves.text()
        assert "polyline" in curves.svg()


def test_a_notebook_gets_a_picture_that_is_well_formed() -> None:
    """An SVG with one panel for each chart, and no script in it."""
    picture = Curves.of(METRICS)._repr_html_()
    root = ET.fromstring(picture)
    assert root.tag.endswith("svg")
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["loss", "eval loss", "learning rate", "tokens/s"]
    assert "script" not in picture
