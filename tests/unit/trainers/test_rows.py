from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.trainers.child.encoder import Encoder
from qianfan_platform.trainers.child.readers import Conversations
from qianfan_platform.trainers.child.rows import conversation_of
from qianfan_platform.trainers.child.samples import IGNORED, Unusable

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(
    lambda text: text.strip() and "<|" not in text
)
turns = st.fixed_dictionaries(
    {"prompt": texts, "response": st.lists(st.lists(texts, min_size=1), min_size=1)}
)
conversations = st.tuples(st.lists(turns, min_size=1, max_size=4), st.one_of(st.none(), texts))

TEMPLATES = {
    "chatml": None,
    "with a default system text": (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "with no end token of its own": (
        "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
    ),
}


def conversation(turns: list[dict[str, Any]], system: str | None) -> list[dict[str, Any]]:
    return [{**turns[0], "system": system}, *turns[1:]] if system else turns


@pytest.mark.parametrize("template", TEMPLATES)
@given(conversations)
@settings(max_examples=30, deadline=None)
def test_the_labels_are_the_answers_and_their_end_tokens(tokenizer, template: str, case) -> None:
    """Nothing but answers is learned, every answer whole, each with the token that ends it."""
    kept = tokenizer.chat_template
    tokenizer.chat_template = TEMPLATES[template] or kept
    try:
        row = conversation(*case)
        samples = Conversations(Encoder(tokenizer), "refuse").read(row, 1 << 20).samples
    finally:
        tokenizer.chat_template = kept
    learned = [label for one in samples for label in one.labels if label != IGNORED]
    answers = [turn["response"][0][0] for turn in row]
    said = tokenizer.decode(learned)
    assert said == "".join(answer + "<|im_end|>" for answer in answers)
    for one in samples:
        assert all(label in (IGNORED, token) for label, token in zip(one.labels, one.ids, strict=True))
        assert one.labels[-1] == one.ids[-1] == tokenizer.eos_token_id
    assert sum(one.trained for one in samples) == len(learned)


@given(conversations)
@settings(max_examples=25, deadline=None)
def test_what_is_read_before_an_answer_is_what_the_model_will_be_asked(encoder: Encoder, case) -> None:
    """The tokens before the first answer are the prompt's, token for token."""
    messages = conversation_of(conversation(*case))
    first = next(at for at, message in enumerate(messages) if message["role"] == "assistant")
    encoded = encoder.encode(messages)
    prompt = encoder.prompt(messages[:first])
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.labels[: len(prompt) + 1] == [IGNORED] * len(prompt) + [encoded.ids[len(prompt)]]


@given(conversations, st.integers(20, 120))
@settings(max_examples=30, deadline=None)
def test_a_shortened_conversation_fits_and_keeps_its_last_answer(encoder: Encoder, case, limit: int) -> None:
    """Cutting takes from questions and old turns; the last answer and its end stay whole."""
    row = conversation(*case)
    messages = conversation_of(row)
    if len(encoder.encode(messages).ids) <= limit:
        return
    reader = Conversations(encoder, "truncate")
    try:
        reading = reader.read(row, limit)
    except Unusable:
        with pytest.raises(Unusable, match="does not fit"):
            reader.read(row, limit)
        return
    (encoded,) = reading.samples
    assert len(encoded.ids) <= limit
    assert "left out" in reading.why
    learned = encoder.tokenizer.decode([label for label in encoded.labels if label != IGNORED])
    assert learned.endswith(messages[-1]["content"] + "<|im_end|>")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "not a conversation"),
        ({"prompt": "a"}, "not a conversation"),
        (["a"], "turn 1 has no prompt"),
        ([{"prompt": "a", "response": [["b"]]}, {"prompt": "c"}], "turn 2 has no response"),
        ([{"prompt": "a", "response": [[]]}], "turn 1 has no response"),
        ([{"prompt": "a", "response": [["  "]]}], "turn 1 has no response"),
    ],
)
def test_a_row_that_cannot_be_learned_says_why(row, why: str) -> None:
    """A sample is never passed over in silence."""
    with pytest.raises(Unusable, match=why):
        conversation_of(row)


def test_the_name_of_a_control_token_in_a_text_is_text(encoder: Encoder) -> None:
    """It would end the turn in its middle; so it is read letter by letter, and learned so."""
    said = "No, <|im_end|>\n<|im_start|>user is how turns end."
    row = [{"prompt": "say <|im_end|> <|im_<|im_end|>", "response": [[said]]}]
    encoded = encoder.encode(conversation_of(row))
    plain = encoder.encode(conversation_of([{"prompt": "say", "response": [["ok"]]}]))
    assert encoder.decode([label for label in encoded.labels if label != IGNORED]) == said + "<|im_end|>"
    assert [token for token in encoded.ids if token in encoder.special] == [
        token for token in plain.ids if token in encoder.special
    ]
    first, ids = encoder.document("a <|endoftext|> b")
    assert encoder.decode([*first, *ids]) == "a <|endoftext|> b<|endoftext|>"
    assert sum(token in encoder.special for token in ids) == 1


def test_a_template_that_changes_an_answer_is_told(tokenizer) -> None:
    """What the model would not be asked to say is not learned, and what is left out is not passed over."""
    kept = tokenizer.chat_template
    cases = {
        "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}": "leaves out a part of the answer",
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<think>{% endif %}": "asks with 'a<|im_end|><think>' at the end",
    }
    try:
        for template, why in cases.items():
            tokenizer.chat_template = template
            with pytest.raises(Unusable, match=re.escape(why)):
                Encoder(tokenizer).encode(conversation_of([{"prompt": "a", "response": [["b"]]}]))
    finally:
        tokenizer.chat_template = kept
