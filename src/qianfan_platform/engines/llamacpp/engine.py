"""The llama.cpp engine: a server in a child process, asked over loopback HTTP."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from qianfan_platform.engines.calling import calling
from qianfan_platform.engines.child import Child, InChild, Pulse
from qianfan_platform.engines.http import ConnectionLost
from qianfan_platform.engines.llamacpp.answers import answer
from qianfan_platform.engines.llamacpp.control import Control
from qianfan_platform.engines.llamacpp.http import Upstream
from qianfan_platform.engines.llamacpp.server import Launch, Use
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    Message,
    RequestRefused,
    Sampling,
    Scores,
    Vectors,
)
from qianfan_platform.engines.refusing import Refusing
from qianfan_platform.engines.relevance import within_one
from qianfan_platform.engines.schemas import check
from qianfan_platform.engines.tools import flat

USUAL_TEMPERATURE = 0.2  # a small model wanders above this
USUAL_TOKENS = 512  # of an answer, where neither caller nor end token sets an end
FORCE = 10_000.0  # logit bias that makes a token certain, whatever its logit
SAMPLE = "The answer to your question is: yes, on Monday at 9."  # on which adapters must show
SAMPLE_TOKENS = 4
HEARD_S = 1.0  # a server that said something so lately need not be asked whether it lives


T = TypeVar("T")

MODULE = "qianfan_platform.engines.llamacpp.server"


class LlamaCppEngine(InChild, Refusing):
    """A running llama.cpp server. Belongs to the event loop that started it.

    Options of its spec: `idle_s` (120): longest silence in an answer; `start_timeout_s` (300); `embeddings`
    (False): embed texts instead of answering; `reranker` (False): rank documents instead, with a model made for
    it; `temperature` (0.2): where the caller names none;
    `prompt_cache_mib` (256); `gpu_layers` (-1)."""

    def __init__(self, spec: EngineSpec, child: Child, upstream: Upstream) -> None:
        self.spec = spec
        self._child = child
        self._model = spec.model.name if spec.model else ""
        self._http = upstream
        self._control = Control({})
        self._adapters = {adapter.name: number for number, adapter in enumerate(spec.adapters)}
        # First come, first served; what is inside waits for one answer at most, so long silence there means hung.
        self._slots = asyncio.Semaphore(spec.places)
        self._use = _use(spec)
        self._pulse = Pulse()
        self._closed = False

    @classmethod
    async def start(cls, spec: EngineSpec) -> LlamaCppEngine:
        """The engine, once a token has come out of it. Raises EngineFailed with its last log lines."""
        launch = _launch(spec)
        child = await Child.start(
            MODULE,
            launch.line(),
            f"the model {spec.model.name}" if spec.model else "a model",
            timeout_s=float(spec.options.get("start_timeout_s", 300)),
        )
        engine = cls(
            spec,
            child,
            Upstream(int(child.said["port"]), launch.api_key, idle_s=float(spec.options.get("idle_s", 120))),
        )
        try:
            engine._control = await child.starting(Control.of(child.said["control"], engine._http))
            if spec.adapters:
                await child.starting(engine._check_adapters())  # tokens come out in this, too
            else:
                await child.starting(engine.health(float(spec.options.get("start_timeout_s", 300))))
        except BaseException:
            await asyncio.shield(engine.close())
            raise
        return engine

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """Pieces of the answer; the last has the finish reason and the engine's token counts.

        Raises PromptTooLong, RequestRefused, EngineFailed. Leaving (aclose) hangs up and frees the slot."""
        if self._use != "answers":
            raise RequestRefused(
                f'this model serves {self._use}, it does not answer; name one of kind "chat"'
            )
        if sampling.json_schema is not None:
            check(sampling.json_schema)
        sampling = self._usual(sampling)
        if sampling.tools:
            pieces = calling(
                lambda asked, held: self._answer(asked, held, adapter, lenient=True), messages, sampling
            )
        else:
            pieces = self._answer(flat(messages), sampling, adapter)
        async with aclosing(pieces):
            async for delta in pieces:
                yield delta

    async def _answer(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        adapter: str | None,
        *,
        lenient: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """One answer in words, in a slot of its own. Messages hold texts only."""
        lora = self._lora(adapter)
        async with self._slots:
            self._must_live()
            try:
                asked = answer(self._http, messages, sampling, lora, self._control, lenient=lenient)
                async with aclosing(asked) as pieces:
                    async for delta in pieces:
                        self._pulse.beat()
                        if delta.text or delta.finish_reason:
                            yield delta
            except EngineFailed as problem:
                raise await self._explained(problem) from problem

    def _usual(self, sampling: Sampling) -> Sampling:
        """The same with what suits the model where the caller leaves it open."""
        changed: dict[str, Any] = {}
        if sampling.temperature is None:
            changed["temperature"] = self.spec.options.get("temperature", USUAL_TEMPERATURE)
        if sampling.max_tokens is None:
            changed["max_tokens"] = max(USUAL_TOKENS, sampling.min_tokens or 0)
        return replace(sampling, **changed) if changed else sampling

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """A vector for each text. Raises RequestRefused unless started with the option `embeddings`."""
        if self._use != "embeddings":
            return await super().embed(texts)
        answer = await self._ask("v1/embeddings", {"input": list(texts)})
        rows = [row["embedding"] for row in sorted(answer["data"], key=lambda row: row["index"])]
        return Vectors(rows, int(answer["usage"]["prompt_tokens"]))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Relevance by a model made for it. Raises RequestRefused unless started with the option `reranker`."""
        if self._use != "reranker":
            return await super().rerank(query, documents)
        answer = await self._ask("v1/rerank", {"query": query, "documents": list(documents)})
        rows = sorted(answer["results"], key=lambda row: row["index"])
        return Scores(
            within_one([row["relevance_score"] for row in rows]), int(answer["usage"]["prompt_tokens"])
        )

    async def count_tokens(self, text: str) -> int:
        """Tokens of a text, without any template; names of special tokens are plain text."""
        return len(await self.tokenize(text, special=False))

    async def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text. `special`: names of special tokens count as those tokens."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return list((await self._ask("tokenize", body))["tokens"])

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids; special tokens by their names."""
        return str((await self._ask("detokenize", {"tokens": list(tokens)}))["content"])

    async def render(self, messages: Sequence[Message]) -> str:
        """The prompt that the chat template makes of a conversation, up to where the answer begins."""
        return str((await self._ask("apply-template", {"messages": [dict(m) for m in messages]}))["prompt"])

    async def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what is asked with a conversation of texts; names of control tokens in them are text."""
        return await self._in_slot(lambda: self._control.prompt(messages, self._http))

    async def complete(
        self, prompt_ids: Sequence[int], max_tokens: int, *, adapter: str | None = None
    ) -> list[int]:
        """The likeliest continuation of a prompt, as token ids; an end token is the last of them."""
        body = {
            "prompt": list(prompt_ids),
            "n_predict": max_tokens,
            "temperature": 0,
            "return_tokens": True,
            **self._lora(adapter),
        }
        return list((await self._ask("completion", body))["tokens"])

    async def logprobs(
        self, prompt_ids: Sequence[int], answer_ids: Sequence[int], adapter: str | None = None
    ) -> list[float]:
        """Natural log-probability of each answer token, given the prompt and the answer before it.

        One step per token: the token is forced by a bias, which the reported probability does not contain. NaN for
        a token that ends within a character (a byte of it): llama.cpp does not tell how likely such a one is."""
        found: list[float] = []
        for place, token in enumerate(answer_ids):
            body = {
                "prompt": [*prompt_ids, *answer_ids[:place]],
                "n_predict": 1,
                "n_probs": 1,
                "temperature": 0,
                "cache_prompt": True,
                "logit_bias": [[token, FORCE]],
                "return_tokens": True,
                **self._lora(adapter),
            }
            answer = await self._ask("completion", body)
            if not answer.get("completion_probabilities") and answer.get("tokens") == [token]:
                found.append(math.nan)
                continue
            seen = (answer.get("completion_probabilities") or [{}])[0]
            if seen.get("id") != token:
                raise EngineFailed(
                    f"llama.cpp reported token {seen.get('id')} where token {token} was forced (place {place})"
                )
            found.append(float(seen["logprob"]))
        return found

    def alive(self) -> bool:
        """False when the process has ended or the engine was closed."""
        return not self._closed and self._child.alive()

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when a token came out within the last `timeout_s` seconds, or comes now; else EngineFailed.

        A busy engine proves itself by its work: a probe would only wait behind it."""
        self._must_live()
        if self._pulse.age() <= timeout_s and self._slots.locked():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._probe()
        except TimeoutError:
            if self._pulse.age() > timeout_s:
                raise EngineFailed(
                    f"no token came out of {self._model} within {timeout_s:g} s{self._child.last_words()}"
                ) from None

    async def close(self) -> None:
        """End the process. Answers under way end with EngineFailed. May be called again."""
        self._closed = True
        await self._child.stop()
        await self._http.close()

    async def stirs(self, timeout_s: float) -> None:
        """Return when the server said anything a moment ago, or answers now, or computes; else EngineFailed.

        It is asked for its slots, which the loop that decodes answers between two batches: a server whose HTTP
        lives on beside a dead decoder says nothing. In a long batch it says nothing either, but computes."""
        self._must_live()
        if self._http.silence_s() < HEARD_S:
            return
        asked, works = (
            asyncio.ensure_future(work) for work in (self._http.get("slots"), self._child.stirs(timeout_s))
        )
        try:
            await asyncio.wait([asked, works], timeout=timeout_s + 1, return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and asked.exception() is None:
                return
            await works
        finally:
            for task in (asked, works):
                task.cancel()
            await asyncio.gather(asked, works, return_exceptions=True)

    async def busy(self) -> int:
        """How many slots of the server work just now."""
        return sum(bool(slot["is_processing"]) for slot in await self._http.get("slots"))

    async def _probe(self) -> None:
        if self._use == "embeddings":
            await self.embed(["probe"])
            return
        if self._use == "reranker":
            await self.rerank("probe", ["probe"])
            return
        tokens = 0
        async for delta in self.generate(
            [{"role": "user", "content": "Hi"}], Sampling(temperature=0, max_tokens=1)
        ):
            tokens = delta.completion_tokens or tokens
        if tokens < 1:
            raise EngineFailed(f"{self._model} loads, but no token comes out of it{self._child.last_words()}")

    async def _check_adapters(self) -> None:
        """An adapter that the server did not take, or does not apply, would serve the base under a wrong name.

        Each must be in the server's list, and must change how likely the next token is."""
        if not self.spec.adapters:
            return
        loaded = {row["id"]: row["path"] for row in await self._http.get("lora-adapters")}
        for number, adapter in enumerate(self.spec.adapters):
            if loaded.get(number) != str(adapter.path.resolve()):
                raise EngineFailed(
                    f"the engine did not load the adapter {adapter.name}{self._child.last_words()}"
                )
        prompt = (await self.tokenize(SAMPLE))[:SAMPLE_TOKENS]
        base = await self._chances(prompt, None)
        for adapter in self.spec.adapters:
            if await self._chances(prompt, adapter.name) == base:
                raise EngineFailed(
                    f"the adapter {adapter.name} changes nothing: with it the engine gives every next token exactly "
                    "the probability that it has without it"
                )

    async def _chances(self, prompt: Sequence[int], adapter: str | None) -> list[float]:
        """Log-probabilities of the likeliest next tokens, computed anew."""
        body = {
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": 5,
            "temperature": 0,
            "cache_prompt": False,
            **self._lora(adapter),
        }
        seen = ((await self._ask("completion", body)).get("completion_probabilities") or [{}])[0]
        return [row["logprob"] for row in seen.get("top_logprobs") or ()]

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        return await self._in_slot(lambda: self._http.post(path, body))

    async def _in_slot(self, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._slots:
            self._must_live()
            try:
                answer = await ask()
            except EngineFailed as problem:
                raise await self._explained(problem) from problem
            self._pulse.beat()
            return answer

    def _lora(self, adapter: str | None) -> dict[str, Any]:
        if adapter is not None and adapter not in self._adapters:
            known = ", ".join(self._adapters) or "none"
            raise RequestRefused(f"this engine has no adapter {adapter!r}; it has: {known}")
        if not self._adapters:
            return {}
        return {
            "lora": [
                {"id": n, "scale": 1.0 if name == adapter else 0.0} for name, n in self._adapters.items()
            ]
        }

    def _must_live(self) -> None:
        if not self.alive():
            raise self._dead()

    async def _explained(self, problem: EngineFailed) -> EngineFailed:
        """The failure with its cause. A lost connection is noticed a moment before the end of the process."""
        if isinstance(problem, ConnectionLost):
            for _ in range(25):
                if not self.alive():
                    break
                await asyncio.sleep(0.02)
        return problem if self.alive() else self._dead()

    def _dead(self) -> EngineFailed:
        if self._closed:
            return EngineFailed(f"the engine of {self._model} was closed")
        return EngineFailed(f"the engine of {self._model} {self._child.ending()}{self._child.last_words()}")


def _launch(spec: EngineSpec) -> Launch:
    if spec.model is None:
        raise EngineFailed("an engine of kind llamacpp needs a model file (GGUF)")
    for what, path in [("model", spec.model), *((f"adapter {a.name}", a.path) for a in spec.adapters)]:
        if not path.is_file():
            raise EngineFailed(f"the file of the {what} is missing: {path}")
    names = [adapter.name for adapter in spec.adapters]
    if len(set(names)) != len(names):
        raise EngineFailed(f"two adapters have the same name: {', '.join(sorted(names))}")
    return Launch(
        model=str(spec.model.resolve()),
        api_key=secrets.token_urlsafe(24),
        context=spec.context,
        parallel=spec.parallel,
        threads=spec.threads or max(1, cores() - 1),
        adapters=[str(Path(adapter.path).resolve()) for adapter in spec.adapters],
        use=_use(spec),
        # llama.cpp hands a remembered prompt to any request, also to one with another adapter, whose answers it
        # spoils: with adapters, nothing is remembered beyond the slot, which does look at the adapter.
        prompt_cache_mib=0 if spec.adapters else int(spec.options.get("prompt_cache_mib", 256)),
        gpu_layers=int(spec.options.get("gpu_layers", -1)),
    )


def _use(spec: EngineSpec) -> Use:
    """What the process is for."""
    if spec.options.get("embeddings"):
        return "embeddings"
    return "reranker" if spec.options.get("reranker") else "answers"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
