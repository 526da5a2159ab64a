"""Plots as SVG inside a page: bars with intervals, columns of counts, lines. No script, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from qianfan.evaluation.statistics import Interval

COLOURS: Final = ("#3b6fd4", "#d1603d", "#2a9d4a", "#8d5bc4", "#b08a1e")
WIDTH: Final = 1000
LABELS: Final = 110  # pixels left of the plot
HEIGHT: Final = 240  # of columns and lines
MOST_POINTS: Final = 400  # of a line


def bars(values: Mapping[str, Mapping[str, Interval]]) -> str:
    """Means from 0 to 1, a group of bars for each score, one bar for each model, with whiskers; "" for none."""
    names = list(dict.fromkeys(name for of_model in values.values() for name in of_model))
    if not names:
        return ""
    thick = 14
    group = thick * len(values) + 10
    height = group * len(names) + 20
    span = WIDTH - LABELS - 20
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LABELS + span * share
        parts.append(_line(x, 0, x, height - 18, "axis") + _label(x, height - 4, f"{share:g}", "middle"))
    for row, name in enumerate(names):
        top = row * group + 4
        parts.append(_label(LABELS - 8, top + group / 2, name, "end"))
        for place, of_model in enumerate(values.values()):
            interval = of_model.get(name)
            if interval is None:
                continue
            y, colour = top + place * thick, COLOURS[place % len(COLOURS)]
            wide = span * min(1.0, max(0.0, interval.mean))
            parts.append(
                f'<rect x="{LABELS}" y="{y}" width="{wide:.1f}" height="{thick - 3}" fill="{colour}"/>'
            )
            low, high = (LABELS + span * min(1.0, max(0.0, end)) for end in (interval.low, interval.high))
            middle = y + (thick - 3) / 2
            parts.append(
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="currentColor"/>'
            )
    return _legend(list(values)) + _svg(height, parts)


def columns(values: Mapping[str, Mapping[str, int]]) -> str:
    """Counts by score, a group of columns for each score, one column for each model."""
    scores = sorted({score for of_model in values.values() for score in of_model}, key=float)
    most = max((count for of_model in values.values() for count in of_model.values()), default=0)
    if not scores or not most:
        return ""
    step = (WIDTH - LABELS) / len(scores)
    wide = min(40.0, step * 0.8 / len(values))
    parts = [_line(LABELS, HEIGHT - 20, WIDTH, HEIGHT - 20, "axis")]
    for number, score in enumerate(scores):
        left = LABELS + number * step
        shown = "not scored" if score == "-1" else score
        parts.append(_label(left + wide * len(values) / 2, HEIGHT - 4, shown, "middle"))
        for place, of_model in enumerate(values.values()):
            count = of_model.get(score, 0)
            tall = (HEIGHT - 40) * count / most
            x, y = left + place * wide, HEIGHT - 20 - tall
            colour = COLOURS[place % len(COLOURS)]
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide - 2:.1f}" height="{tall:.1f}" fill="{colour}"/>'
            )
            if count:
                parts.append(_label(x + wide / 2, y - 3, str(count), "middle"))
    return _legend(list(values)) + _svg(HEIGHT, parts)


def lines(values: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Curves of (x, y) points by name; points that are no numbers are left out."""
    kept = {
        name: _thinned([(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)])
        for name, points in values.items()
    }
    every = [point for points in kept.values() for point in points]
    if not every:
        return ""
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(0.0, *(y for _, y in every)), max(y for _, y in every)
    across, up = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> str:
        column = LABELS + (WIDTH - LABELS - 20) * (x - left) / across
        return f"{column:.1f},{(HEIGHT - 24) * (1 - (y - low) / up) + 4:.1f}"

    parts = [
        _line(LABELS, HEIGHT - 20, WIDTH - 20, HEIGHT - 20, "axis"),
        _line(LABELS, 4, LABELS, HEIGHT - 20, "axis"),
    ]
    parts += [
        _label(LABELS - 8, 14, f"{high:.3g}", "end"),
        _label(LABELS - 8, HEIGHT - 22, f"{low:.3g}", "end"),
    ]
    parts += [
        _label(LABELS, HEIGHT - 4, f"{left:g}", "start"),
        _label(WIDTH - 20, HEIGHT - 4, f"{right:g}", "end"),
    ]
    for number, points in enumerate(kept.values()):
        path = " ".join(place(x, y) for x, y in points)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    return _legend(list(kept)) + _svg(HEIGHT, parts)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, len(points) // MOST_POINTS)
    return list(points[::step])


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="100%" role="img">{"".join(parts)}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(names: Sequence[str]) -> str:
    shown = " ".join(
        f'<span style="color:{COLOURS[place % len(COLOURS)]}">■</span> <bdi>{escape(name)}</bdi>'
        for place, name in enumerate(names)
    )
    return f"<p>{shown}</p>"
