"""The report of an evaluation: one HTML file with its figures and plots in it, which needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from qianfan.evaluation import metrics, plots
from qianfan.evaluation.statistics import Interval, Verdict, bootstrap

if TYPE_CHECKING:
    from qianfan.evaluation.evaluation_result import EvaluationResult

MOST_ROWS: Final = 200  # answers shown in full
SHOWN: Final = (*metrics.SCORES, "jsonValid")
COSTS: Final = (
    "answered",
    "notAnswered",
    "promptTokens",
    "completionTokens",
    "avgLatency",
    "p50Latency",
    "p95Latency",
)
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2330; --dim: #667; --line: #d8dbe3; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ee; --dim: #99a; --line: #3a3f4d; --paper: #171a21; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } td.n, th.n { text-align: right; white-space: nowrap; }
td.t { white-space: pre-wrap; overflow-wrap: anywhere; } .dim { color: var(--dim); }
.verdict { border-left: 4px solid; padding: .5rem 1rem; } .yes { border-color: #2a9d4a; } .no { border-color: #d1603d; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .axis { stroke: var(--line); }
"""


def page(
    result: EvaluationResult,
    *,
    title: str = "Evaluation",
    verdicts: Sequence[Verdict] = (),
    settings: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    loss: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    most_rows: int = MOST_ROWS,
) -> str:
    """The report as HTML.

    verdicts: of gates, shown first. settings, lineage: names and values, shown as tables. loss: curves by name,
    (step, value) points. most_rows: questions shown in full, the first ones."""
    body = [
        f"<h1>{_text(title)}</h1>",
        *(_verdict(one) for one in verdicts),
        _metrics(result),
        _judged(result),
        _section("Loss", plots.lines(loss)) if loss else "",
        _table("Settings", settings),
        _table("Lineage", lineage),
        _answers(result, most_rows),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def intervals(result: EvaluationResult) -> dict[str, dict[str, Interval]]:
    """For each model the mean of each score with its interval; scores that no row has are left out."""
    found: dict[str, dict[str, Interval]] = {}
    for model in result.models:
        rows = [row["scores"] for row in result.rows if row["model"] == model]
        names = dict.fromkeys(name for row in rows for name in row)
        found[model] = {
            name: bootstrap([float(row[name]) for row in rows if row.get(name) is not None])
            for name in [*[n for n in SHOWN if n in names], *[n for n in names if n not in SHOWN]]
            if any(row.get(name) is not None for row in rows)
        }
    return found


def _section(heading: str, inside: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n{inside}" if inside else ""


def _verdict(verdict: Verdict) -> str:
    said = "yes" if verdict.passed else "no"
    return f'<p class="verdict {said}"><b>{verdict.rule}: {said}.</b> {_text(verdict.reason)}</p>'


def _metrics(result: EvaluationResult) -> str:
    found = intervals(result)
    names = list(
        dict.fromkeys(name for of_model in found.values() for name in of_model if name != "judgeScore")
    )
    head = "".join(f'<th class="n">{_text(model)}</th>' for model in found)
    lines = [
        f"<tr><td>{_text(name)}</td>"
        + "".join(_mean(of_model.get(name)) for of_model in found.values())
        + "</tr>"
        for name in names
    ]
    for name in COSTS:
        values = [of_model.get(name) for of_model in result.metrics.values()]
        if any(value is not None for value in values):
            cells = "".join(f'<td class="n">{_number(value)}</td>' for value in values)
            lines.append(f'<tr><td class="dim">{name}</td>{cells}</tr>')
    if not lines:
        return ""
    unit = [name for name in names if name in SHOWN]
    drawn = plots.bars({model: {n: one[n] for n in unit if n in one} for model, one in found.items()})
    return _section("Scores", f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>{drawn}")


def _mean(interval: Interval | None) -> str:
    if interval is None:
        return '<td class="n dim">–</td>'
    spread = f'<span class="dim"> [{interval.low:.3f}, {interval.high:.3f}]</span>'
    return f'<td class="n">{interval.mean:.3f}{spread}</td>'


def _judged(result: EvaluationResult) -> str:
    spread = {
        model: {str(score): int(count) for score, count in of_model["scoreDistribution"].items()}
        for model, of_model in result.metrics.items()
        if isinstance(of_model.get("scoreDistribution"), Mapping)
    }
    return _section("Scores of the judge", plots.columns(spread)) if spread else ""


def _table(heading: str, values: Mapping[str, Any] | None) -> str:
    if not values:
        return ""
    lines = "".join(
        f'<tr><td>{_text(str(name))}</td><td class="t">{_text(str(value))}</td></tr>'
        for name, value in values.items()
    )
    return _section(heading, f"<table>{lines}</table>")


def _answers(result: EvaluationResult, most: int) -> str:
    """Question, reference, and what each model said, a row for each question."""
    rows: dict[Any, dict[str, Mapping[str, Any]]] = {}
    for row in result.rows:
        rows.setdefault(row["row"], {})[row["model"]] = row
    head = "".join(f"<th>{_text(model)}</th>" for model in result.models)
    lines = []
    for of_model in list(rows.values())[:most]:
        first = next(iter(of_model.values()))
        cells = "".join(_said(of_model.get(model)) for model in result.models)
        asked, wanted = _text(str(first["prompt"])), _text(str(first["reference"]))
        lines.append(f'<tr><td class="t">{asked}</td><td class="t">{wanted}</td>{cells}</tr>')
    if not lines:
        return ""
    more = f'<p class="dim">{len(rows) - most} more questions are not shown.</p>' if len(rows) > most else ""
    return _section(
        "Answers", f"<table><tr><th>question</th><th>reference</th>{head}</tr>{''.join(lines)}</table>{more}"
    )


def _said(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return '<td class="dim">–</td>'
    if row.get("error"):
        return f'<td class="t dim">{_text(str(row["error"]))}</td>'
    judged = row["scores"].get("judgeScore")
    why = f" {_text(str(row['reason']))}" if judged is not None and row.get("reason") else ""
    mark = "" if judged is None else f'<br><span class="dim">judge: {judged:g}{why}</span>'
    return f'<td class="t">{_text(str(row["prediction"]))}{mark}</td>'


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def _text(text: str) -> str:
    """Text of others: escaped, and kept from turning the direction of what stands beside it."""
    return f"<bdi>{escape(text)}</bdi>"
