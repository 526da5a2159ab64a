"""Public benchmarks against any service, by lm-eval: `pip install 'open-qianfan[benchmarks]'`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qianfan.contract.routes import V2_CHAT
from qianfan.errors import InvalidArgumentError, need
from qianfan.transport import bearer

TOKEN_S: Final = 7 * 24 * 3600  # what the longest benchmarks take
GENERATED: Final = "generate_until"  # the tasks that a chat can answer


def run(
    service: str,
    tasks: Sequence[str],
    *,
    include: str | Path | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    at_once: int = 4,
    max_tokens: int = 256,
    system: str | None = None,
) -> dict[str, Any]:
    """Let a service answer benchmarks; returns `{"results": {task: {metric: value}}, "samples": {task: n}}`.

    service: an address or a preset's name, as `model=` of the V2 chat. tasks: names that lm-eval knows, which must
    be answered by generating: a chat gives no likelihoods of given texts (InvalidArgumentError). include: a folder
    of further tasks (YAML). limit: questions of each task. fewshot: examples before a question, default the task's.
    Most tasks fetch their questions from a hub. Raises MissingExtra without lm-eval."""
    harness = need("lm_eval", "to run benchmarks", "benchmarks")
    known = need("lm_eval.tasks", "to run benchmarks", "benchmarks").TaskManager(
        include_path=None if include is None else str(include)
    )
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    _check(known, tasks)
    token, config = bearer.made(TOKEN_S)
    model = {
        "model": service,
        "base_url": f"{config.CONSOLE_API_BASE_URL}{V2_CHAT.path}",
        "header": {"Authorization": f"Bearer {token}"},
        "num_concurrent": at_once,
        "max_gen_toks": max_tokens,
        "tokenizer_backend": None,
        "tokenized_requests": False,
    }
    found = harness.simple_evaluate(
        model="local-chat-completions",
        model_args=model,
        tasks=list(tasks),
        num_fewshot=fewshot,
        limit=limit,
        system_instruction=system,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        task_manager=known,
        log_samples=False,
        bootstrap_iters=1000,
    )
    return {
        "service": service,
        "results": {task: _figures(scores) for task, scores in found["results"].items()},
        "samples": {task: counts["effective"] for task, counts in found["n-samples"].items()},
    }


def _check(known: Any, tasks: Sequence[str]) -> None:
    """Raise InvalidArgumentError for a task that is unknown, or that a chat cannot answer."""
    for name in tasks:
        if name not in known.all_tasks:
            raise InvalidArgumentError(
                f"lm-eval knows no task {name!r}",
                advice="list them with `lm_eval ls tasks`, or give include= a folder of your own",
            )
        for task in known.load([name])["tasks"].values():
            if task.OUTPUT_TYPE != GENERATED:
                raise InvalidArgumentError(
                    f"the task {name!r} asks for likelihoods ({task.OUTPUT_TYPE}), which a chat does not give",
                    advice="choose a task that is answered by generating, such as gsm8k or ifeval",
                )


def _figures(scores: dict[str, Any]) -> dict[str, float]:
    """Only the numbers; `metric,filter` as lm-eval names them."""
    return {
        name: float(value)
        for name, value in scores.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
