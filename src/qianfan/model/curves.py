"""The curves of a training run: on a terminal as text, in a notebook as a picture (SVG)."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

Point = tuple[float, float]

# name → (kind of event, its member). In this order they are drawn.
SERIES: Final[dict[str, tuple[str, str]]] = {
    "loss": ("step", "loss"),
    "eval loss": ("eval", "loss"),
    "learning rate": ("step", "learning_rate"),
    "tokens/s": ("step", "tokens_per_second"),
    "perplexity": ("eval", "perplexity"),
    "accuracy": ("eval", "accuracy"),  # of preferences: how often the better answer is preferred
    "memory MiB": ("step", "memory_mib"),
}
_SHARED: Final = {"eval loss": "loss"}  # drawn over another one
_USUAL: Final = ("loss", "eval loss", "accuracy", "learning rate", "tokens/s")
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille cell: column, row
_COLOURS: Final = ("#1f77b4", "#d62728")


class Curves(dict[str, list[Point]]):
    """Points `(step, value)` by name, one for each metric that was told.

    As text it is a chart of Unicode dots; a notebook draws it."""

    @classmethod
    def of(cls, metrics: Iterable[dict[str, Any]]) -> Curves:
        """The curves of a run's metrics, as `TrainLog.metrics` has them."""
        found = cls()
        told = sorted((one for one in metrics if one.get("step") is not None), key=lambda one: one["step"])
        for name, (kind, member) in SERIES.items():
            points = [
                (float(one["step"]), float(one[member]))
                for one in told
                if one.get("kind") == kind and _is_number(one.get(member))
            ]
            if points:
                found[name] = points
        return found

    def only(self, *names: str) -> Curves:
        """Some of them. Raises KeyError for a name that no run has."""
        for name in names:
            if name not in SERIES:
                raise KeyError(f"there is no curve {name!r}; there are {', '.join(SERIES)}")
        return Curves({name: points for name, points in self.items() if name in names})

    def text(self, names: Sequence[str] = (), width: int = 72, height: int = 10) -> str:
        """The charts, one below the other. width: of the whole, in characters; height: of each, in lines."""
        charts = [_chart(title, drawn, max(10, width - 12), height) for title, drawn in self._charts(names)]
        return "\n\n".join(charts) if charts else "nothing was measured yet"

    def svg(self, names: Sequence[str] = (), width: int = 640, height: int = 180) -> str:
        """The charts as one SVG picture. Sizes in pixels, height of each chart."""
        charts = self._charts(names)
        parts = [
            _panel(title, drawn, width, height, top=number * (height + 8))
            for number, (title, drawn) in enumerate(charts)
        ]
        whole = max(1, len(parts)) * (height + 8)
        label = html.escape("training curves: " + ", ".join(title for title, _ in charts))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
            f'viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" '
            f'font-family="sans-serif" font-size="11" fill="currentColor">{"".join(parts)}</svg>'
        )

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.svg()

    def _charts(self, names: Sequence[str]) -> list[tuple[str, dict[str, list[Point]]]]:
        wanted = [name for name in (names or _USUAL) if name in self]
        charts: dict[str, dict[str, list[Point]]] = {}
        for name in wanted:
            under = _SHARED.get(name, name)
            charts.setdefault(under if under in wanted else name, {})[name] = self[name]
        return [(" and ".join(drawn), drawn) for drawn in charts.values()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _bounds(drawn: dict[str, list[Point]]) -> tuple[float, float, float, float]:
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    low, high = min(ys), max(ys)
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5
    return min(xs), max(max(xs), min(xs) + 1), low, high


def _chart(title: str, drawn: dict[str, list[Point]], columns: int, rows: int) -> str:
    first, last, low, high = _bounds(drawn)
    cells = [[0] * columns for _ in range(rows)]
    marks: dict[tuple[int, int], str] = {}

    def place(x: float, y: float) -> tuple[int, int]:
        across = round((x - first) / (last - first) * (columns * 2 - 1))
        return across, round((high - y) / (high - low) * (rows * 4 - 1))

    for number, points in enumerate(drawn.values()):
        spots = [place(x, y) for x, y in points]
        if number:  # the second is few points over the first
            marks |= {(y // 4, x // 2): "●" for x, y in spots}
            continue
        for (x0, y0), (x1, y1) in zip(spots, spots[1:] or spots, strict=False):
            for x, y in _line(x0, y0, x1, y1):
                cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    lines = [f"{title}{'  (● ' + list(drawn)[1] + ')' if len(drawn) > 1 else ''}"]
    for row, cell in enumerate(cells):
        value = high - (high - low) * row / (rows - 1) if rows > 1 else high
        label = f"{_short(value):>9} ┤" if row in (0, rows // 2, rows - 1) else f"{'':>9} │"
        text = "".join(marks.get((row, at)) or chr(0x2800 + dots) for at, dots in enumerate(cell))
        lines.append(f"{label}{text}".rstrip(" \u2800"))
    left, right = _short(first), _short(last)
    lines.append(f"{'':>9} └{'─' * columns}")
    lines.append(f"{'':>11}{left}{right:>{columns - len(left)}}")
    return "\n".join(lines)


def _line(x0: int, y0: int, x1: int, y1: int) -> Iterable[tuple[int, int]]:
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _short(value: float) -> str:
    return f"{value:.4g}"


def _panel(title: str, drawn: dict[str, list[Point]], width: int, height: int, top: int) -> str:
    first, last, low, high = _bounds(drawn)
    left, above, right, below = 64, 22, 12, 20
    wide, tall = width - left - right, height - above - below

    def place(x: float, y: float) -> str:
        across = left + (x - first) / (last - first) * wide
        return f"{across:.1f},{top + above + (high - y) / (high - low) * tall:.1f}"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = top + above + share * tall
        value = html.escape(_short(high - (high - low) * share))
        parts.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.2"/><text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
    at = left
    for number, (name, points) in enumerate(drawn.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        spots = " ".join(place(x, y) for x, y in points)
        dots = "".join(
            f'<circle cx="{spot.split(",")[0]}" cy="{spot.split(",")[1]}" r="2.5" fill="{colour}"/>'
            for spot in (spots.split() if number or len(points) == 1 else ())
        )
        parts.append(
            f'<text x="{at}" y="{top + 14}" fill="{colour}">{html.escape(name)}</text>'
            f'<polyline points="{spots}" fill="none" stroke="{colour}" stroke-width="1.5">'
            f"<title>{html.escape(name)}</title></polyline>{dots}"
        )
        at += 8 * len(name) + 16
    foot = top + height - 6
    parts.append(
        f'<text x="{left}" y="{foot}">step {_short(first)}</text>'
        f'<text x="{width - right}" y="{foot}" text-anchor="end">{_short(last)}</text>'
    )
    return "".join(parts)
