"""Figures of a dataset drawn for a terminal, and as a table for a notebook."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qianfan.dataset.statistics import Spread, Statistics

BAR: Final = 40  # marks of the longest bar
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def drawn(figures: Statistics) -> str:
    """The figures as text: names and values, then the lengths as bars."""
    pairs = list(_pairs(figures))
    width = max(len(name) for name, _ in pairs)
    lines = [f"{name:<{width}}  {value}" for name, value in pairs]
    if figures.rows:
        lines += ["", "characters of a row", *bars(figures.characters)]
    return "\n".join(lines)


def bars(spread: Spread) -> list[str]:
    """A histogram, a line for each bin: its bounds, a bar, how many."""
    bins = spread.histogram()
    most = max((rows for _, _, rows in bins), default=0)
    names = [f"{low:,}–{high:,}" for low, high, _ in bins]
    width = max((len(name) for name in names), default=0)
    lines = []
    for name, (_, _, rows) in zip(names, bins, strict=True):
        eighths = -(-rows * BAR * 8 // most)
        bar = EIGHTHS[-1] * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        lines.append(f"{name:>{width}}  {bar:<{BAR}}  {rows:,}".rstrip())
    return lines


def as_html(figures: Statistics) -> str:
    """A table for a notebook. Whatever stands in the data is escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in _pairs(figures)
    )
    drawing = html.escape("\n".join(bars(figures.characters)))
    return f"<table>{rows}</table><pre style='line-height:1.1'>characters of a row\n{drawing}</pre>"


def show_overview(figures: Statistics) -> None:
    """Show the figures: as a table in a notebook, as text elsewhere."""
    from qianfan.dataset.progress import in_notebook

    if in_notebook():
        from IPython.display import display

        display(figures)
    else:
        print(drawn(figures))


def _pairs(figures: Statistics) -> Iterator[tuple[str, str]]:
    rows = figures.rows
    yield "rows", f"{rows:,}" + (f" ({_counts(figures.kinds)})" if len(figures.kinds) > 1 else "")
    if set(figures.kinds) == {"conversations"}:
        yield "turns", _spread(figures.turns)
    yield "characters", f"{_spread(figures.characters)}, {figures.characters.total:,} in all"
    yield "tokens (estimate)", f"{_spread(figures.tokens)}, {figures.tokens.total:,} in all"
    yield "annotated", _share(figures.annotated, rows)
    yield "exact duplicates", _share(figures.duplicates, rows)
    if figures.empty:
        yield "empty members", _counts(figures.empty)
    asked = f", of {figures.language_rows:,} rows looked at" if figures.language_rows < rows else ""
    languages = ", ".join(
        f"{name or 'none'} {_percent(count, figures.language_rows)}"
        for name, count in figures.languages.most_common(8)
    )
    yield "languages", f"{languages or 'none'}{asked}"
    longest = ", ".join(f"line {line} ({size:,})" for size, line in figures.longest)
    yield "longest rows", longest or "none"


def _spread(spread: Spread) -> str:
    told: dict[str, Any] = spread.as_dict()
    return (
        f"{told['min']:,} to {told['max']:,}, mean {told['mean']:,.1f}, "
        f"median {told['p50']:,}, 95 % up to {told['p95']:,}"
    )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common(12))


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({_percent(part, whole)})"


def _percent(part: int, whole: int) -> str:
    return f"{1000 * part // whole / 10:.1f} %" if whole else "0 %"  # rounded down: 100 % is all of them
