"""The page of a run that `vdlLink` names: its state, its curve, its figures and its log, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from starlette.responses import HTMLResponse

from qianfan.contract.enums import TrainStatus
from qianfan.contract.times import zulu
from qianfan_platform.datasets import links
from qianfan_platform.web import Router, Visit

from . import operations, views
from .operations import Look
from .tables import TrainLine, TrainRun
from .truth import metrics
from .words import in_words

router = Router()
WIDE, HIGH = 720, 220  # pixels of the curve
POINTS: Final = 400  # of a curve, at most
LINES: Final = 200  # of the log, the newest
REFRESH_S: Final = 5
STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#222}"
    "td{padding:0 1em 0 0}pre{white-space:pre-wrap;font-size:12px}svg{border:1px solid #ddd}.w{color:#a50}"
)


@router.raw("/runs/{run_id}", methods=["GET"], public=True)
async def page(visit: Visit) -> HTMLResponse:
    """Show a run to whoever holds a link that this server made."""
    ident, query, platform = visit.request.path_params["run_id"], visit.query, visit.platform
    if not links.holds(platform.link_key, ident, query.get("until", ""), query.get("mark", "")):
        return HTMLResponse("<p>This link is not valid, or its time is over: look at the run again.</p>", 403)
    async with platform.store.reading() as tx:
        run = await tx.one(TrainRun, ident, noun="training run")
        look = await operations.look(tx, run.owner_id, run.id)
        report = await operations.report(tx, run.owner_id, run.id, 0, limit=100_000)
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(document(look, report), headers=headers)


def document(look: Look, report: Sequence[TrainLine]) -> str:
    """The whole page as HTML."""
    run, detail = look.run, views.progress_detail(look)
    title = escape(f"{look.task.name} · run {run.ordinal} · {run.train_type}")
    refresh = (
        f'<meta http-equiv="refresh" content="{REFRESH_S}">' if run.status == TrainStatus.Running else ""
    )
    events = metrics(line.event for line in report)
    figures = {
        "state": f"{run.status}, {views.percent(run)} %" + (f": {run.reason}" if run.reason else ""),
        "waits": _wait(detail["waiting"]),
        "step": f"{detail['step']} of {detail['steps']}",
        "estimate": _figures(detail["estimate"]),
        "happened": _figures(detail["happened"]),
        **{
            name: f"{value:.6g}"
            for name, value in (detail["report"] or {}).items()
            if isinstance(value, int | float)
        },
    }
    rows = "".join(
        f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in figures.items() if text
    )
    warned = "".join(f'<p class="w">{escape(text)}</p>' for text in run.warnings)
    told = [f"{zulu(line.at)}  {in_words(line.event)[1]}" for line in report[-LINES:]]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{refresh}<title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{warned}{curve(events)}<table>{rows}</table>"
        f"{answers((detail['report'] or {}).get('examples', ()))}"
        f"<h2>Log</h2><pre>{escape(chr(10).join(told))}</pre></html>"
    )


def _wait(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    begins = "" if told["seconds"] is None else f"; it begins in about {told['seconds']:.0f} s"
    return f"place {told['position']}: {told['why']}{begins}"


def _figures(told: dict[str, Any] | None) -> str:
    return f"{told['seconds']:.1f} s, {told['memory_mib']:.0f} MiB" if told else ""


def answers(examples: Sequence[dict[str, Any]]) -> str:
    """What the model said to a few samples before and after, as a table; "" when it was not asked."""
    if not examples:
        return ""
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(one[name]))}</td>" for name in views.EXAMPLE) + "</tr>"
        for one in examples
    )
    heads = "".join(f"<th>{name}</th>" for name in views.EXAMPLE)
    return f"<h2>Answers</h2><table><tr>{heads}</tr>{rows}</table>"


def curve(events: Sequence[dict[str, Any]]) -> str:
    """The loss of the steps as a line, of the evaluations as points; "" when there is none."""
    losses = [(e["step"], e["loss"]) for e in events if e["kind"] == "step" and e.get("loss") is not None]
    marks = [(e["step"], e["loss"]) for e in events if e["kind"] == "eval" and e.get("loss") is not None]
    if not losses:
        return ""
    last = max(step for step, _ in losses + marks)
    top = max(loss for _, loss in losses + marks) or 1.0

    def at(step: int, loss: float) -> tuple[float, float]:
        return round(WIDE * step / last, 1), round(HIGH * (1 - loss / top), 1)

    thinned = losses[:: max(1, len(losses) // POINTS)]
    line = " ".join("{},{}".format(*at(*one)) for one in thinned)
    points = "".join('<circle cx="{}" cy="{}" r="4" fill="#c33"/>'.format(*at(*one)) for one in marks)
    return (
        f'<svg viewBox="0 -6 {WIDE} {HIGH + 12}" width="100%" role="img">'
        f"<title>loss over {last} steps, from 0 to {top:.3f}; points: held-out part</title>"
        f'<polyline fill="none" stroke="#36c" stroke-width="1.5" points="{line}"/>{points}</svg>'
    )
