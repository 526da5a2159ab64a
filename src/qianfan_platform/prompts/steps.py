"""Durable work on prompts: a model improves one, round by round. A killed server goes on with the next round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qianfan.contract import errors, prompt_text
from qianfan.contract.enums import PromptTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import PROMPT_OPTIMISATION
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.jobs import Retry, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform

from . import operations
from .asking import ask, unfenced

QUALITY: Final = 1
SHORTEN: Final = 2
ROUNDS: Final = 3
CHAIN_OF_THOUGHT: Final = 4

WISHES: Final = {
    QUALITY: "clearer: it names the role, the task, what to keep to, and the form of the answer",
    SHORTEN: "as short as it can be without losing anything it asks for",
    CHAIN_OF_THOUGHT: "such that the model thinks step by step before it answers",
}
PATIENCE_S: Final = 10.0


async def _failed(step: Step, error: BaseException, *, task_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.optimisation(tx, None, task_id)
        await tx.move(row, PROMPT_OPTIMISATION, PromptTaskStatus.Failed, reason=reason_of(error))


@job("prompts.optimise", on_failure=_failed)
async def optimise(step: Step, *, task_id: int) -> None:
    """Each round is a question to the model; what it drops of the variables is put back."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.optimisation(tx, None, task_id)
    wanted = payloads(row.operations)
    text, told = row.content, []
    for number in range(max(1, min(2, wanted.get(ROUNDS, 1)))):
        step.check()
        answer = await step(
            f"round {number + 1}", _round, platform, step.owner, row.service_name, text, wanted
        )
        text, missing = whole(row.content, answer, text)
        told.append(f"round {number + 1}: {len(answer)} characters" + (f"; {missing}" if missing else ""))
    async with step.transaction(last=True) as tx:
        row = await operations.optimisation(tx, None, task_id)
        await tx.move(
            row, PROMPT_OPTIMISATION, PromptTaskStatus.Done, improved=text, inference="\n".join(told)
        )


def payloads(operations: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """What is wanted, by opType; quality and one round where nothing is said."""
    return {QUALITY: 1, SHORTEN: 0, ROUNDS: 1, CHAIN_OF_THOUGHT: 0} | {
        int(operation["opType"]): int(operation["payload"]) for operation in operations
    }


async def _round(platform: Platform, owner: int, service: str, text: str, wanted: Mapping[int, int]) -> str:
    wishes = "; ".join(wish for kind, wish in WISHES.items() if wanted.get(kind)) or WISHES[QUALITY]
    instruction = (
        f"Rewrite a prompt for a language model so that it is {wishes}. Keep its language and its meaning. "
        "Keep every placeholder, such as {name}, exactly as it is written. Answer with the new prompt only."
    )
    try:
        return unfenced(await ask(platform, Caller(owner, "", "iam"), service, instruction, text))
    except Fault as fault:
        if fault.row.code in errors.PASSING:
            raise Retry(PATIENCE_S, fault.text) from fault
        raise


def whole(original: str, answer: str, before: str) -> tuple[str, str]:
    """(the new prompt, what had to be mended). An empty answer leaves the prompt as it was.

    Variables that the model dropped are put back at the end: without them the prompt could not be used."""
    if not answer:
        return before, "the model said nothing, so the prompt stays as it was"
    lost = [mark for mark in _marks(original) if mark not in answer]
    if not lost:
        return answer, ""
    return answer + "\n" + "\n".join(lost), f"put back: {', '.join(lost)}"


def _marks(text: str) -> list[str]:
    """The variables of a prompt as they are written, each once, in curly braces of one or two."""
    found: list[str] = []
    for identifier in ("{{}}", "{}"):
        half = len(identifier) // 2
        try:
            names = prompt_text.variables_of(text, identifier)
        except prompt_text.BadVariable:
            continue
        found += [f"{identifier[:half]}{name}{identifier[half:]}" for name in names]
        if found:
            break
    return list(dict.fromkeys(found))
