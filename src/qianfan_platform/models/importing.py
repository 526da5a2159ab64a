"""Durable work of importing: weights from elsewhere are checked, packed, and must answer before they are Ready."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.bodies import ImportMeta
from qianfan.contract.enums import ModelState
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.lifecycle import MODEL_VERSION
from qianfan_platform.catalogue import fetch
from qianfan_platform.catalogue.fetch import Progress
from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.catalogue.source import BadSource, Source
from qianfan_platform.engines.llamacpp import foreign, pack
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.protocol import EngineSpec
from qianfan_platform.jobs import Step, job
from qianfan_platform.platform import Platform

from . import operations, packages
from .scratch import keep, linked, scratch
from .steps import dropped, failed
from .tables import ModelVersion

LOCAL: Final = "bos:/local/"
LONGEST: Final = 4096  # tokens of one sequence that an import is served with, where it could take more
USUAL: Final = 2048  # where the file does not say
ASKED: Final = ("Hello!", "What is 2 + 3?")
SAID: Final = 12  # tokens of an answer
CHECK: Final = "qianfan_platform.engines.llamacpp.foreign"


async def origin_of(platform: Platform, owner: int, meta: ImportMeta) -> dict[str, Any]:
    """What is noted of an import that was asked for, checked as far as that takes no time. Raises Fault."""
    if ("files" in meta) == ("source" in meta):
        raise _bad("importMeta", "it needs either files or source")
    if "source" in meta:
        return {
            "source": str(_source(meta["source"], meta.get("sha256", ""))),
            "sha256": meta.get("sha256", ""),
        }
    names: set[str] = set()
    files = []
    for one in meta["files"]:
        name = one["name"]
        if (why := foreign.refused(name)) is not None:
            raise _bad("importMeta.files", why)
        if name.lower() in names:
            raise _bad("importMeta.files", f"{name} is there twice")
        names.add(name.lower())
        ref = await platform.files.info(one["path"].removeprefix(LOCAL), owner=owner)
        if ref.folder:
            raise _bad("importMeta.files", f"{name} is a folder")
        files.append({"name": name, "id": ref.id})
    if len(files) > 1 and any(name.endswith(".gguf") for name in names):
        raise _bad("importMeta.files", "a GGUF file is a whole model: it is imported alone")
    return {"files": files, "names": sorted(one["name"] for one in files)}


def _source(text: str, sha256: str) -> Source:
    try:
        source = Source.parse(text, Path("/"), any_commit=True)
    except BadSource as problem:
        raise _bad("importMeta.source", str(problem)) from problem
    if source.kind not in ("hf", "modelscope"):
        raise _bad(
            "importMeta.source",
            f"{source.kind}: is not taken here; upload the files, or name hf: or modelscope:",
        )
    if source.needs_hash and not sha256:
        raise _bad("importMeta.source", "one file of a hub needs its sha256")
    return source


def _bad(member: str, why: str) -> Fault:
    return Fault(CONSOLE_PARAMETER, f"param[{member}] invalid: {why}", "see docs/guides/models.md")


@job("models.import", on_failure=failed, on_cancel=dropped)
async def take_in(step: Step, *, version_id: int) -> None:
    """Gather, check, pack, ask; what was uploaded for it is deleted at the end, however it ends."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.version(tx, None, version_id)
    source = await step("source", _fixed, row)
    kept = await step("keep", _keep, step, row, source)
    found = await step("check", _check, platform, kept)
    package = await step("pack", _pack, step, row, kept, found)
    async with step.transaction(last=True) as tx:
        row = await operations.version(tx, None, version_id)
        origin = {key: value for key, value in row.origin.items() if key != "files"}
        uploads = operations.uploaded(row)
        await tx.move(
            row,
            MODEL_VERSION,
            ModelState.Ready,
            package_file=package,
            weights_file=kept,
            context=_context(found["context"]),
            origin={**origin, **({"source": source} if source else {}), **found},
        )
        await operations.free(tx, row.owner_id, uploads)


def _context(made_for: int) -> int:
    return min(made_for or USUAL, LONGEST)


async def _fixed(row: ModelVersion) -> str:
    """The source with the commit that it is at now; "" of uploaded files. Raises WeightsFailed."""
    if "source" not in row.origin:
        return ""
    source = Source.parse(row.origin["source"], Path("/"), any_commit=True)
    return str(replace(source, version=await fetch.commit(source)) if source.moves else source)


async def _keep(step: Step, row: ModelVersion, source: str) -> str:
    """One blob of all files, under their own names."""
    platform: Platform = step.platform
    async with scratch(step, "import") as work:
        folder = work / "kept"
        folder.mkdir()
        if source:
            await _fetched(row, source, work, folder)
        else:
            for one in row.origin["files"]:
                blob = await platform.files.local(one["id"], owner=row.owner_id)
                await asyncio.to_thread(linked, blob, folder / one["name"])
        return await keep(step, row, folder, "imported")


async def _fetched(row: ModelVersion, source: str, work: Path, folder: Path) -> None:
    """A repository, or one file of it, from a hub; each is checked against its hash. Raises WeightsFailed."""
    place = Source.parse(source, Path("/"))
    entry = Entry(f"model version {row.id}", source=place, sha256=row.origin.get("sha256", ""))
    if not place.member:
        found = await fetch.folder(entry, work / "hub", _silent)
        names = foreign.wanted(path.name for path in found.iterdir() if path.is_file())
    else:
        file = await fetch.file(entry, work, _silent)
        found, names = file.parent, [file.name]
    for name in names:
        (found / name).replace(folder / name)


def _silent(progress: Progress) -> None:
    pass


async def _check(platform: Platform, kept: str) -> dict[str, Any]:
    """What a child process found in the files: {kind, architecture, context, parameters}. Raises PackFailed."""
    said = await fetch.told([sys.executable, "-m", CHECK, str(_weights(await platform.files.local(kept)))])
    if "failed" in said:
        raise PackFailed(str(said["failed"]))
    return said


def _weights(folder: Path) -> Path:
    """The GGUF file in a folder, else the folder."""
    return next(iter(sorted(folder.glob("*.gguf"))), folder)


async def _pack(step: Step, row: ModelVersion, kept: str, found: dict[str, Any]) -> str:
    """What the engine eats, and the answers that it gives: exports are compared with them."""
    source = _weights(await step.platform.files.local(kept))
    async with scratch(step, "pack") as folder:
        out = folder / packages.WHOLE
        if source.is_file():
            await asyncio.to_thread(linked, source, out)
        else:
            await pack.model(source, out, dtype=pack.dtype_of(source))
        cases = await _answers(out, _context(found["context"]))
        (folder / "parity.json").write_bytes(orjson.dumps(cases))
        packages.write_page(folder, kind="model", method="", entry="")
        return await keep(step, row, folder, "package")


async def _answers(model: Path, context: int) -> list[dict[str, Any]]:
    """What the model says to a few questions, as token ids with their log-probabilities. Raises EngineFailed."""
    engine = await LlamaCppEngine.start(EngineSpec("llamacpp", model, context=context, parallel=1))
    try:
        return [await _answer(engine, [{"role": "user", "content": text}]) for text in ASKED]
    finally:
        await engine.close()


async def _answer(engine: LlamaCppEngine, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
    prompt = await engine.prompt(messages)
    answer = await engine.complete(prompt, SAID)
    logprobs = await engine.logprobs(prompt, answer)
    return {"messages": list(messages), "prompt_ids": prompt, "answer_ids": answer, "logprobs": logprobs}
