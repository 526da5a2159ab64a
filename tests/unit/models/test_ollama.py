"""The Modelfile: its Go template writes what the model's Jinja template writes, or there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from go_template import render as go
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan_platform.catalogue import tiny
from qianfan_platform.models import ollama

jinja2 = pytest.importorskip("jinja2")

TEMPLATES = {
    "chatml": tiny.TEMPLATE,
    "chatml with a default": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are \"kind\".<|im_end|>\\n' }}{% endif %}"
        + tiny.TEMPLATE
    ),
    "llama 3": (
        "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'"
        " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
    ),
    "llama 2": (
        "{% if messages[0]['role'] == 'system' %}{% set s = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
        "{% set loop_messages = messages[1:] %}{% else %}{% set s = '' %}{% set loop_messages = messages %}{% endif %}"
        "{% for m in loop_messages %}{% if m['role'] == 'user' %}{{ '<s>[INST] ' + (s if loop.first else '')"
        " + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' </s>' }}{% endif %}{% endfor %}"
    ),
    "virtual tokens": "{{ '<|virtual_0|><|virtual_1|>' }}" + tiny.TEMPLATE,
}
LAST_FIRST = "{% for m in messages | reverse %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
COUNTED = "{% for m in messages %}{{ loop.index ~ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
SHORTENED = "{% for m in messages %}{{ m['role'] + ': ' + m['content'][:8] + '\\n' }}{% endfor %}"


@cache
def compiled(template: str) -> Any:
    return jinja2.Environment().from_string(template)


@cache
def go_template_of(name: str) -> str:
    return ollama.go_template(texts_of(TEMPLATES[name]))


def renderer(template: str) -> ollama.Render:
    async def render(messages: Sequence[dict[str, str]]) -> str:
        return str(compiled(template).render(messages=list(messages), add_generation_prompt=True))

    return render


def texts_of(template: str) -> ollama.Texts:
    async def work() -> ollama.Texts:
        render = renderer(template)
        texts = await ollama.texts_of(render)
        await ollama.check(texts, render)
        return texts

    return asyncio.run(work())


@pytest.mark.parametrize("name", TEMPLATES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_go_template_writes_what_jinja_writes(name: str, data: Any) -> None:
    """Any conversation that ends with a question, whatever stands in it: braces, quotes, other scripts."""
    content = st.text(min_size=1, max_size=20).filter(lambda text: text == text.strip())
    turns = data.draw(st.lists(content, min_size=1, max_size=5).filter(lambda some: len(some) % 2))
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(turns)]
    if data.draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": data.draw(content)})
    expected = compiled(TEMPLATES[name]).render(messages=messages, add_generation_prompt=True)
    assert go(go_template_of(name), messages) == expected


@pytest.mark.parametrize("template", [LAST_FIRST, COUNTED, SHORTENED])
def test_a_template_that_is_more_than_texts_is_refused(template: str) -> None:
    """A Modelfile that is nearly right makes a model babble."""
    with pytest.raises(ollama.NoGoTemplate):
        texts_of(template)


def test_a_modelfile_names_files_stops_and_parameters() -> None:
    """Quoted as Ollama reads it; nothing in it ends the template too early."""
    texts = texts_of(TEMPLATES["chatml with a default"])
    text = ollama.modelfile(
        model="base.gguf",
        adapter="adapter.gguf",
        template=ollama.go_template(texts),
        stops=["<|im_end|>", 'a "b"'],
        parameters={"num_ctx": 4096, "temperature": 0.0},
    )
    assert text.startswith('FROM ./base.gguf\nADAPTER ./adapter.gguf\nTEMPLATE """')
    assert text.count('"""') == 2
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER stop "a \\"b\\""\n' in text
    assert text.endswith("PARAMETER num_ctx 4096\nPARAMETER temperature 0.0\n")
    inside = text.split('"""')[1]
    assert go(inside, [{"role": "user", "content": "hi"}]).startswith('<|im_start|>system\nYou are "kind".')
