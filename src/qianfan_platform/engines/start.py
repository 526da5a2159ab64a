"""Start an engine by its spec. The engines are imported when they are asked for."""

from __future__ import annotations

from importlib.util import find_spec

from qianfan_platform.engines.protocol import Engine, EngineFailed, EngineSpec


async def start(spec: EngineSpec) -> Engine:
    """A running engine out of which a token has come. Raises EngineFailed, which says what to do."""
    if spec.kind == "echo":
        from qianfan_platform.engines.echo import EchoEngine

        return EchoEngine(spec)
    if spec.kind == "llamacpp":
        if problem := missing():
            raise EngineFailed(problem)
        from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine

        return await LlamaCppEngine.start(spec)
    raise EngineFailed(f"there is no engine of kind {spec.kind!r}; kinds: llamacpp, echo")


def missing() -> str | None:
    """What keeps the llama.cpp engine from starting here, with the fix; None when nothing does."""
    absent = [name for name in ("xllamacpp", "pyreqwest") if find_spec(name) is None]
    if not absent:
        return None
    return f"qianfan needs {' and '.join(absent)} to run models.  pip install 'open-qianfan[platform]'"
