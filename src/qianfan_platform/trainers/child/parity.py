"""The model's own answers, for the proof that serving gives the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from qianfan_platform.trainers.child.encoder import Encoder
from qianfan_platform.trainers.child.finishing import Final
from qianfan_platform.trainers.child.rows import Message

PROMPTS = ("Hello!", "Who are you?", "What is 2 + 3?", "Name a colour.")
ANSWER_TOKENS = 16


class Speaker(Protocol):
    """A model that can be asked, trained or not."""

    causal: Any
    spec: Any  # of which `device` is read


@torch.no_grad()
def of(
    final: Final,
    encoder: Encoder,
    questions: list[tuple[list[Message], list[int]]],
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """The trained model's greedy answers: [{messages, prompt_ids, answer_ids, logprobs}].

    questions: (messages, ids) besides the fixed ones. logprobs are of each answer token, natural logarithm,
    teacher-forced. check() may raise."""
    stops = end_tokens(final)
    fixed = [[{"role": "user", "content": text}] for text in PROMPTS]
    found = []
    for messages, prompt in [*((one, encoder.prompt(one)) for one in fixed), *questions]:
        check()
        answer, logprobs = greedy(final, prompt, stops)
        found.append({"messages": messages, "prompt_ids": prompt, "answer_ids": answer, "logprobs": logprobs})
    return found


def end_tokens(speaker: Speaker) -> set[int]:
    """Tokens that end an answer."""
    stops: set[int] = set()
    for holder in (speaker.causal.config, speaker.causal.generation_config):
        end = getattr(holder, "eos_token_id", None)
        stops |= set(end if isinstance(end, list) else [] if end is None else [end])
    return stops


@torch.no_grad()
def greedy(
    speaker: Speaker, prompt: list[int], stops: set[int], most: int = ANSWER_TOKENS, same: int = ANSWER_TOKENS
) -> tuple[list[int], list[float]]:
    """(at most so many answer ids, with the end token if it came, their log-probabilities).

    same: so many of one token in a row end it, too."""
    device = speaker.spec.device
    ids, cache = torch.tensor([prompt], device=device), None
    answer: list[int] = []
    logprobs: list[float] = []
    while len(answer) < most and (not answer or answer[-1] not in stops):
        if len(answer) >= same and len(set(answer[-same:])) == 1:
            break
        out = speaker.causal(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        scores = torch.log_softmax(out.logits[0, -1].float(), dim=-1)
        token = int(scores.argmax())
        answer.append(token)
        logprobs.append(float(scores[token]))
        ids = torch.tensor([[token]], device=device)
    return answer, logprobs
