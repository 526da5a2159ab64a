"""What this platform tells of a run beyond the documented interface: log, metrics, every sample, its tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from qianfan.contract import bodies, errors, routes
from qianfan.contract.enums import TrainMode
from qianfan.contract.errors import Fault
from qianfan.contract.times import zulu
from qianfan_platform.datasets import links, trainable
from qianfan_platform.trainers.xray import XrayFailed, xray
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import operations, places, specs
from .tables import TrainRun
from .views import v2_word
from .words import in_words

router = Router(aliases={"maker": "marker"})
AT_ONCE: Final = asyncio.Semaphore(2)  # processes that look at samples
MOST_KEYS: Final = 1000  # of a page of the ledger
# How the ledger's fields are spelt on the wire; those that are not here keep their names.
SPELT: Final = {"trained_tokens": "trainedTokens", "end_token": "endToken", "held_out": "heldOut"}


@router.v2(routes.FINETUNE_V2_TASK_LOG, bodies.V2TaskRef, write=False)
async def log(call: Call) -> Any:
    """The log and the metrics of a run after line `after`."""
    after = call.body.get("after", 0)
    run = await operations.run_of(call.tx, call.owner, call.body["taskId"])
    report = await operations.report(call.tx, call.owner, run.id, after)
    told = [(line, *in_words(line.event)) for line in report]
    lines = [{"n": line.n, "time": zulu(line.at), "level": level, "text": text} for line, level, text in told]
    return {
        "taskId": run.public_id,
        "runStatus": v2_word(run, call.source),
        "lines": lines,
        "metrics": metrics(line.event for line in report),
        "ledger": run.live.get("ledger"),
        "files": {
            name: _link(call, (run.files or {})[name])
            for name in places.DOWNLOADS
            if name in (run.files or {})
        },
        "next": report[-1].n if report else after,
    }


def metrics(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps and evaluations once each: after a crash those since the last checkpoint are told again."""
    found = {
        (event["kind"], event.get("step")): event
        for event in events
        if event.get("kind") in ("step", "eval", "finished")
    }
    return list(found.values())


def _link(call: Call, file: str) -> str:
    return f"{call.base_url}/v2/files/{file}?{links.make(call.platform.link_key, file)}"


@router.v2(routes.FINETUNE_V2_TASK_LEDGER, bodies.LedgerPage, write=False)
async def ledger(call: Call) -> Any:
    """What became of every sample, page by page: kept, truncated where, dropped why, and where it is from."""
    body = call.body
    run = await operations.run_of(call.tx, call.owner, body["taskId"])
    first = _number(body.get("marker", 1))
    size = min(body.get("maxKeys", 100), MOST_KEYS)
    path = await _ledger(call, run)
    entries = await asyncio.to_thread(read, path, first, size + 1, body.get("what"))
    following = str(entries[size]["sample"]) if len(entries) > size else None
    kept = (run.files or {}).get(places.LEDGER)
    return {
        "taskId": run.public_id,
        "ledger": run.live.get("ledger"),
        "samples": [_told(run, entry) for entry in entries[:size]],
        "pageInfo": page_info(first, size, following),
        "downloadUrl": _link(call, kept) if kept else "",
    }


async def _ledger(call: Call, run: TrainRun) -> Path:
    path = await places.ledger(call.platform, run)
    if path is None:
        over = run.status != "Running"
        raise Fault(
            errors.RUN_STATE,
            f"training run {run.id} has no ledger{'' if over else ' yet'}",
            f"it ended before its data were read: {run.reason}" if over else "ask again when it is prepared",
        )
    return path


def _number(marker: Any) -> int:
    try:
        return max(1, int(marker))
    except ValueError:
        raise Fault(
            errors.CONSOLE_PARAMETER, "param[marker] invalid: it is no number", "send the number of a sample"
        ) from None


def read(path: Path, first: int, most: int, what: str | None) -> list[dict[str, Any]]:
    """Entries of a ledger file from sample `first` on, at most `most`; what: only those."""
    found: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for line in file:
            entry = orjson.loads(line)
            if entry["sample"] >= first and what in (None, entry["what"]):
                found.append(entry)
                if len(found) == most:
                    break
    return found


def _told(run: TrainRun, entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with the dataset, and the line in it, that the sample came from."""
    told = {SPELT.get(name, name): value for name, value in entry.items()}
    place = trainable.origin(run.parts or [], entry["sample"])
    if place is None:
        return told
    part, line = place
    return {**told, "datasetId": part["dataset"], "datasetName": part["name"], "line": line}


@router.v2(routes.FINETUNE_V2_TASK_SAMPLE, bodies.SampleRef, write=False)
async def sample(call: Call) -> Any:
    """A sample as the trainer reads it: the text its template makes, every token, and which are learned.

    `record` is what the dataset has in that line, in the trainer's words."""
    body, platform = call.body, call.platform
    run = await operations.run_of(call.tx, call.owner, body["taskId"])
    row = await trainable.record(platform, run.parts or [], body["sample"], TrainMode(run.train_mode))
    if row is None:
        raise Fault(
            errors.NOT_FOUND,
            f"training run {run.id} has no sample {body['sample']} that could be shown",
            "its number may be beyond the ledger's last, or its dataset is deleted",
        )
    base = await platform.weights.hf(platform.catalogue.entries[run.entry])
    async with AT_ONCE:
        with TemporaryDirectory(prefix="sample-") as folder:
            rows = Path(folder) / "rows.jsonl"
            await asyncio.to_thread(rows.write_bytes, row)
            spec = await specs.spec(platform, run, base=base, rows=rows, work=Path(folder))
            try:
                found = await xray(spec, 1)
            except XrayFailed as failed:
                raise Fault(errors.RUN_STATE, f"sample {body['sample']} cannot be shown: {failed}") from None
    told = _told(run, {**found, "sample": body["sample"]})
    return {"taskId": run.public_id, **told, "record": orjson.loads(row)}
