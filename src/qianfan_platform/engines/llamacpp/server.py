"""The child process that holds the model: llama.cpp's own HTTP server, on a free loopback port.

    python -m qianfan_platform.engines.llamacpp.server

It reads one JSON line from stdin (the fields of `Launch`), loads the model, prints one JSON line
`{"port": …, "control": {…}}` (see `control.candidates`) and answers until stdin closes. The parent holds the other end of stdin, so the child ends
with it, however the parent ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from qianfan_platform.engines.llamacpp.control import candidates
from qianfan_platform.engines.orphans import die_with_parent

Use = Literal["answers", "embeddings", "reranker"]


@dataclass(frozen=True)
class Launch:
    """What the child is told. Paths are absolute; `context` counts the tokens of one sequence."""

    model: str
    api_key: str
    context: int
    parallel: int
    threads: int
    adapters: list[str] = field(default_factory=list)
    use: Use = "answers"
    prompt_cache_mib: int = 256  # finished prompts kept in memory; llama.cpp's own default is 8192
    gpu_layers: int = -1  # -1: as many as fit, none without a GPU

    def line(self) -> bytes:
        """The line for the child's stdin."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Read the launch, serve, end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it decides when we end
    die_with_parent()
    launch = Launch(**json.loads(sys.stdin.buffer.readline()))
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints must not reach the parent's reading of our one line
    end_with_stdin()
    try:
        server = serve(launch)
        named = candidates(Path(launch.model)) if launch.use == "answers" else {}
    except Exception as problem:
        print(
            f"llama.cpp could not load {os.path.basename(launch.model)}: {problem}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
    port = int(server.listening_address.rsplit(":", 1)[1])
    print(json.dumps({"port": port, "control": named}), file=report, flush=True)
    threading.Event().wait()  # the library's threads serve


def serve(launch: Launch):  # type: ignore[no-untyped-def]
    """The running server; it listens when this returns."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = launch.model
    params.model_alias = {"m"}  # stands in every chunk, so it is short
    params.n_ctx = launch.context * launch.parallel
    params.n_parallel = launch.parallel
    params.n_batch = params.n_ubatch = 512
    params.n_gpu_layers = launch.gpu_layers
    params.fit_params = False  # take the numbers above as they are
    params.cpuparams.n_threads = launch.threads
    params.cpuparams_batch.n_threads = launch.threads
    params.cache_ram_mib = launch.prompt_cache_mib
    params.use_jinja = True  # else templates with a default system prompt lose it
    params.prefill_assistant = False
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in launch.adapters]
    params.lora_init_without_apply = True  # each request names its adapter
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [launch.api_key]
    params.cors_origins = ""
    params.endpoint_slots = True
    params.ui = False
    params.sse_ping_interval = -1  # silence must be heard as silence: that is how a hang is found
    params.verbosity = 1  # errors
    if launch.use != "answers":
        pooling = xllamacpp.llama_pooling_type
        params.embedding = True
        params.n_batch = params.n_ubatch = launch.context  # a text must fit one batch
        if launch.use == "reranker":
            params.pooling_type = pooling.LLAMA_POOLING_TYPE_RANK
        elif params.pooling_type == pooling.LLAMA_POOLING_TYPE_UNSPECIFIED:
            params.pooling_type = pooling.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


def end_with_stdin() -> None:
    """End this process as soon as stdin closes, even while the model loads.

    Loading keeps the interpreter lock, so a thread alone would wait for its end; on Linux the kernel's
    SIGIO, whose default is to end the process, does not."""
    stdin = sys.stdin.fileno()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(stdin, 4096):
                pass
        os._exit(0)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
    if sys.platform == "linux":
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(stdin, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(stdin, fcntl.F_SETFL, fcntl.fcntl(stdin, fcntl.F_GETFL) | os.O_ASYNC)
        gone = select.poll()
        gone.register(stdin, select.POLLHUP)
        if any(event & select.POLLHUP for _, event in gone.poll(0)):
            os._exit(0)  # it closed before the signal was set up


if __name__ == "__main__":
    main()
