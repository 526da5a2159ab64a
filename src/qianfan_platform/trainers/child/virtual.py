"""Virtual tokens: the words of a prompt that nobody can type, learned in place of weights (Lester et al. 2021).

Each is a special token of the vocabulary, and the chat template begins with all of them. So training, asking,
serving and exporting need to know nothing of them: they are tokens like others. Nothing here needs torch."""

from __future__ import annotations

from typing import Any

from qianfan_platform.trainers.child.wire import Refused


def name(number: int) -> str:
    return f"<|virtual_{number}|>"


def ids_of(tokenizer: Any) -> tuple[int, ...]:
    """The ids of the virtual tokens in order; () when the vocabulary has none."""
    vocabulary = tokenizer.get_vocab()
    found: list[int] = []
    while (number := vocabulary.get(name(len(found)))) is not None:
        found.append(int(number))
    return tuple(found)


def extend(tokenizer: Any, count: int) -> None:
    """Add `count` virtual tokens to the vocabulary, and put them before the chat template.

    A tokenizer that has them already stays as it is: an earlier run's are trained on. Raises Refused when it
    has another number of them."""
    from transformers import AddedToken

    there = len(ids_of(tokenizer))
    if there:
        if there != count:
            raise Refused(
                f"the earlier run trained {there} virtual tokens and this one asks for {count}: "
                f"set virtual_tokens to {there}"
            )
        return
    names = [name(number) for number in range(count)]
    tokenizer.add_tokens(
        [AddedToken(one, special=True, normalized=False) for one in names], special_tokens=True
    )
    tokenizer.chat_template = "{{ '" + "".join(names) + "' }}" + tokenizer.chat_template
