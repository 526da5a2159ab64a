"""Durable work of exporting: write a version in a format of others, load what was written, and compare."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.enums import ModelExportStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import MODEL_EXPORT
from qianfan_platform.catalogue import fetch
from qianfan_platform.catalogue.fetch import Progress, WeightsFailed
from qianfan_platform.catalogue.noise import Noise, noise
from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.engines.llamacpp import header, merge, pack, widen
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import EngineSpec
from qianfan_platform.jobs import Job, JobStep, Step, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now
from qianfan_platform.training import operations as training

from . import ollama, operations, packages
from .parity import Packed, cases_in, prove
from .scratch import keep, linked, scratch
from .steps import result_of
from .tables import ModelExport, ModelVersion

MODEL, ADAPTER, BASE = "model.gguf", "adapter.gguf", "base.gguf"
OURS: Final = ("training.json", "parity.json")  # of a run's result; nobody else reads them
SIXTEEN_BITS: Final = 0.05  # nats a token that another precision may differ, at the least that is allowed
EIGHT_BITS: Final = 0.2
ASKED_CONTEXT: Final = 2048  # tokens; of the engine that is asked how the template writes


@dataclass(frozen=True)
class Parts:
    """What an export is made of. `trained`: a run's result; `base`, `base_hf`: of an adapter only."""

    package: Path
    trained: Path | None = None  # None of an import
    imported: Path | None = None
    base: Path | None = None  # GGUF
    base_hf: Path | None = None
    noise: Noise | None = None

    @property
    def is_adapter(self) -> bool:
        return packages.weights_in(self.package)[0] is not None


async def _failed(step: Step, error: BaseException, *, export_id: int) -> None:
    reason = error.text if isinstance(error, Fault) else str(error) or type(error).__name__
    async with step.transaction() as tx:
        row = await operations.export(tx, None, export_id)
        await tx.move(row, MODEL_EXPORT, ModelExportStatus.Failed, reason=reason, finished_at=utc_now())
        await _free(tx, step.job_id, row.owner_id)


async def _dropped(tx: Tx, job: Job, *, export_id: int) -> None:
    await _free(tx, job.id, job.owner_id)


async def _free(tx: Tx, job_id: int, owner: int) -> None:
    made = await tx.find(JobStep, JobStep.job_id == job_id, JobStep.name == "write")
    await operations.free(tx, owner, [row.result for row in made])


@job("models.export", on_failure=_failed, on_cancel=_dropped)
async def write_out(step: Step, *, export_id: int) -> None:
    """creating → running → succeeded."""
    platform: Platform = step.platform
    async with step.transaction() as tx:
        row = await operations.export(tx, None, export_id)
        if row.status == ModelExportStatus.Creating.value:
            await tx.move(row, MODEL_EXPORT, ModelExportStatus.Running)
        version = await operations.version(tx, None, row.version_id)
    folder = await step("write", _write, step, row, version)
    proof = await step("prove", _prove, step, row, version, folder)
    files = await step("list", _list, platform, folder)
    async with step.transaction(last=True) as tx:
        row = await operations.export(tx, None, export_id)
        await tx.move(
            row,
            MODEL_EXPORT,
            ModelExportStatus.Succeeded,
            folder=folder,
            files=files,
            proof=proof,
            finished_at=utc_now(),
        )


async def _parts(platform: Platform, row: ModelVersion) -> Parts:
    package = await platform.files.local(row.package_file or "")
    if not row.run_id:
        return Parts(package, imported=await platform.files.local(row.weights_file or ""))
    async with platform.store.reading() as tx:
        run = await training.finished(tx, row.run_id)
    trained = await platform.files.local(result_of(run, row.step))
    entry = platform.catalogue.entries[row.entry]
    return Parts(
        package,
        trained,
        base=await platform.weights.served(entry),
        base_hf=await platform.weights.hf(entry),
        noise=await noise(platform.weights, entry, run.dtype),
    )


async def _write(step: Step, export: ModelExport, row: ModelVersion) -> str:
    """The folder of the export, as one blob."""
    platform: Platform = step.platform
    parts = await _parts(platform, row)
    async with scratch(step, "export") as work:
        out = work / "written"
        out.mkdir()
        if export.format == "safetensors":
            await _safetensors(parts, out, merged=export.merged, name=row.entry)
        else:
            await _gguf(parts, out, merged=export.merged, dtype=export.dtype)
        if export.format == "ollama":
            entry = platform.catalogue.entries.get(row.entry)
            context = row.context or (entry.context if entry else ASKED_CONTEXT)
            temperature = entry.temperature if entry else None
            await _modelfile(out, {"num_ctx": context} | ({} if temperature is None else {"temperature": temperature}))  # fmt: skip
        return await keep(step, export, out, f"export-{export.format}")


async def _safetensors(parts: Parts, out: Path, *, merged: bool, name: str) -> None:
    if parts.imported is not None:
        gguf = next(iter(parts.imported.glob("*.gguf")), None)
        if gguf is None:
            await asyncio.to_thread(_copied, parts.imported.iterdir(), out)
        else:
            await asyncio.to_thread(out.rmdir)
            await _converted(gguf, out)
        return
    assert parts.trained is not None
    assert parts.base_hf is not None
    if not parts.is_adapter:
        await asyncio.to_thread(_copied, parts.trained.iterdir(), out)
    elif merged:
        await merge.merge(parts.base_hf, parts.trained, out)
    else:
        beside = [
            file
            for file in parts.base_hf.iterdir()
            if file.name.startswith(("tokenizer", "chat_template", "special_tokens"))
        ]
        await asyncio.to_thread(_copied, [*beside, *parts.trained.iterdir()], out)
        config = orjson.loads((out / "adapter_config.json").read_bytes())
        config["base_model_name_or_path"] = name
        (out / "adapter_config.json").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))


async def _converted(gguf: Path, out: Path) -> None:
    """An imported GGUF file in Hugging Face layout. Raises WeightsFailed where nobody knows how."""
    try:
        await fetch.converted(gguf, out, Entry(gguf.name), _silent)
    except WeightsFailed as problem:
        raise WeightsFailed(f"{problem}; it was imported as GGUF: export it with format gguf") from problem


async def _gguf(parts: Parts, out: Path, *, merged: bool, dtype: str) -> None:
    adapter, whole = packages.weights_in(parts.package)
    if whole is not None:
        if not dtype or _file_type(whole) == pack.FILE_TYPES[dtype]:
            await asyncio.to_thread(linked, whole, out / MODEL)
        else:
            await widen.widened(whole, out / MODEL, dtype)  # type: ignore[arg-type]
        return
    assert adapter is not None
    assert parts.base is not None
    assert parts.base_hf is not None
    if merged:
        await pack.model(
            parts.base_hf,
            out / MODEL,
            template_gguf=parts.base,
            dtype=dtype,  # type: ignore[arg-type]
            adapter=parts.trained,
        )
    else:
        await asyncio.to_thread(
            shutil.copyfile, parts.base, out / BASE
        )  # perhaps a file of the operator's own
        await asyncio.to_thread(linked, adapter, out / ADAPTER)


def _file_type(gguf: Path) -> int:
    return int(header.read(gguf).fields.get("general.file_type", -1))


async def _modelfile(out: Path, parameters: dict[str, Any]) -> None:
    """The Modelfile beside the GGUF files. Raises NoGoTemplate."""
    packed = _packed(out)
    head = header.read(packed.model)
    engine = await LlamaCppEngine.start(EngineSpec("llamacpp", packed.model, context=512, parallel=1))
    try:
        texts = await _texts(engine)
        ends = [head.fields.get(f"tokenizer.ggml.{role}_token_id") for role in ("eos", "eot", "eom")]
        stops = [await engine.detokenize([end]) for end in dict.fromkeys(ends) if end is not None]
    finally:
        await engine.close()
    text = ollama.modelfile(
        model=packed.model.name,
        adapter=packed.adapter.name if packed.adapter else "",
        template=ollama.go_template(texts),
        stops=[stop for stop in stops if stop],
        parameters=parameters,
    )
    (out / "Modelfile").write_text(text, encoding="utf-8")


async def _texts(engine: LlamaCppEngine) -> ollama.Texts:
    try:
        texts = await ollama.texts_of(engine.render)
        await ollama.check(texts, engine.render)
    except ollama.NoGoTemplate as problem:
        raise ollama.NoGoTemplate(
            f"{problem}; export with format gguf, whose file carries the template itself"
        ) from problem
    return texts


def _packed(folder: Path) -> Packed:
    """The GGUF files of an export."""
    adapter = folder / ADAPTER
    return Packed(folder / BASE, adapter) if adapter.exists() else Packed(folder / MODEL)


async def _prove(step: Step, export: ModelExport, row: ModelVersion, folder: str) -> dict[str, Any]:
    """Load what was written, and compare with what the trainer said, or the import when it came."""
    platform: Platform = step.platform
    parts = await _parts(platform, row)
    written = await platform.files.local(folder)
    cases = cases_in(parts.trained or parts.package)
    least = EIGHT_BITS if export.dtype == "q8_0" else SIXTEEN_BITS
    if export.format != "safetensors":
        return await prove(_packed(written), cases, parts.noise, least=least)
    async with scratch(step, "proof") as work:
        if (written / "adapter_config.json").is_file():
            assert parts.base is not None
            await pack.adapter(written, parts.base, work / ADAPTER)
            packed = Packed(parts.base, work / ADAPTER)
        else:
            template = packages.weights_in(parts.package)[1] or parts.base
            dtype = pack.dtype_of(written)
            await pack.model(written, work / MODEL, template_gguf=template, dtype=dtype)
            packed = Packed(work / MODEL)
        return await prove(packed, cases, parts.noise, least=least)


async def _list(platform: Platform, folder: str) -> list[dict[str, Any]]:
    written = await platform.files.local(folder)
    return await asyncio.to_thread(_hashed, sorted(written.iterdir()))


def _hashed(paths: Iterable[Path]) -> list[dict[str, Any]]:
    found = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append({"name": path.name, "size": path.stat().st_size, "sha256": digest})
    return found


def _copied(files: Iterable[Path], out: Path) -> None:
    for file in files:
        if file.is_file() and file.name not in OURS:
            (linked if file.suffix == ".safetensors" else shutil.copyfile)(file, out / file.name)


def _silent(progress: Progress) -> None:
    pass
