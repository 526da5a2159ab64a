"""Hostile inputs 27 and 28: chat templates and tokenizers of strangers.

Row 27 is held where a template is rendered (`engines.chat_template`) and, for what only the system can bound, where
weights are imported (`engines.trial`). Row 28 is held at the import: by the patterns known, then by a trial."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from qianfan_platform.catalogue import templates
from qianfan_platform.engines import trial
from qianfan_platform.engines.chat_template import LONGEST, Template, TemplateRefused
from qianfan_platform.engines.llamacpp import foreign
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.llamacpp.vocabulary import SPLITS
from qianfan_platform.engines.protocol import EngineSpec

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "你好"}, {"role": "user", "content": "{{ 7 * 7 }}"}]  # fmt: skip
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message['content'] }}{% endfor %}"
FAMILIES = ("chatml", "ernie", "gemma", "llama2", "llama3", "mistral", "smollm2", "zephyr")


def rendered(text: str, turns: list[dict[str, str]] = TURNS) -> str:
    return Template(text).render(turns, add_generation_prompt=True, **NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ lipsum.__globals__['os'].popen('id').read() }}", "{{ ''['__class__'] }}",
        "{{ messages.__class__ }}", "{{ ''|attr('__class__') }}", "{{ self.__init__.__globals__ }}", "{{ raise_exception.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}", "{{ ''[('__cla' ~ 'ss__')].mro() }}", "{{ cycler.next() }}", "{{ lipsum(n=9999999) }}",
        "{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% from 'x' import y %}", "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}", "{{ __import__('os') }}", "{{ config.items() }}", "{{ request.application }}",
        "{{ (messages|map('attr', '__class__'))|list }}", "{{ (messages|map(attribute='__class__.__mro__'))|first|first }}",
    ],
)  # fmt: skip
def test_row_27_nothing_of_python_is_within_reach(text: str) -> None:
    """Refused when it is read, or an error when it runs; a text never comes out."""
    with pytest.raises((TemplateError, TypeError)):
        rendered(text)
    assert TURNS[0] == {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "range of more"), ("{{ range(1000000000)|list|length }}", "range of more"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"),
        ("{% for a in messages %}" * 18 + "x" + "{% endfor %}" * 18, "steps|nests too deep|no template"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "bounds|steps"), ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "calls itself"),
        ("{{ 'x' * 10 ** 9 }}", "longer than"), ("{{ [1] * 10 ** 9 }}", "longer than"), ("{{ 10 ** (9 ** 9) }}", "bits"),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "bits"), ("{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "longer than"),
        ("{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "longer than"),
        ("{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "longer than"),
        ("{% for i in range(9999) %}{{ 'x' * 100000 }}{% endfor %}", "together longer|longer than"), ("{{ '%1000000000d' % 1 }}", "with %"),
        ("{% macro f() %}{% for i in range(9999) %}{{ 'x' * 100000 }}{% endfor %}{% endmacro %}{{ f() }}", "longer than"),
        ("{% set x %}{% for i in range(9999) %}{{ 'x' * 100000 }}{% endfor %}{% endset %}", "longer than"),
        ("{{ 'x'|center(1000000000) }}", "filter center"), ("{{ messages|tojson(indent=1000000000) }}", "indents by more"),
        ("{{ 'x\ny'|indent(1000000000) }}", "indents by more"), ("{{ ('a' * 1000).replace('a', 'b' * 1000000) }}", "longer than"),
        ("{{ ('a' * 1000)|replace('a', 'b' * 1000000) }}", "longer than"), ("{{ (['a' * 1000] * 100000)|join }}", "longer than"),
        ("{{ ('a' * 1000).join(['a' * 1000] * 100000) }}", "longer than"), ("{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "nests too deep"),
        ("{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a|tojson }}", "longer than|steps"),
    ],
)  # fmt: skip
def test_row_27_steps_and_sizes_are_counted(text: str, why: str) -> None:
    """Told by name, after little work, whatever the template is made of."""
    started = time.process_time()
    with pytest.raises(TemplateRefused, match=why):
        rendered(text)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "text",
    ["{{ '{:>1000000000}'.format(1) }}", "{{ 'x'.ljust(1000000000) }}", "{{ 'x'.zfill(1000000000) }}", "{{ ('\t' * 9).expandtabs(100000000) }}"],
)  # fmt: skip
def test_row_27_methods_that_pad_are_not_there(text: str) -> None:
    """None of them is called."""
    started = time.process_time()
    with pytest.raises(TemplateError, match="unsafe"):
        rendered(text)
    assert time.process_time() - started < 1


def test_row_27_a_bomb_that_waits_for_a_word_is_stopped_when_it_comes() -> None:
    """No trial can find it: the limits hold at every rendering, and the next one is as good as ever."""
    text = "{% if messages[0].content == 'now' %}{{ 'x' * 10 ** 8 }}{% endif %}" + PLAIN
    assert Template(text).render(TURNS, add_generation_prompt=False).startswith("<user>hi")
    with pytest.raises(TemplateRefused, match="longer than"):
        rendered(text, [{"role": "user", "content": "now"}])
    assert rendered(text).startswith("<user>hi")


def test_row_27_what_a_user_writes_is_never_a_template() -> None:
    """Braces in a message stay braces."""
    assert rendered(PLAIN).endswith("<user>{{ 7 * 7 }}")


def test_row_27_a_template_beyond_all_length_is_not_read() -> None:
    """Nor one that is none."""
    for text, why in (("x" * (LONGEST + 1), "longer than"), ("{% if %}", "no template"), ("{{", "no template"), ("{% x %}", "no template")):  # fmt: skip
        with pytest.raises(TemplateRefused, match=why):
            Template(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_templates_of_the_usual_families_mean_the_same_as_elsewhere(family: str) -> None:
    """Character by character what Transformers makes of them; errors for the same conversations."""
    from transformers.utils.chat_template_utils import render_jinja_template

    text = templates.text(family)
    system = {"role": "system", "content": "Be brief."}
    for turns in (TURNS, [system, *TURNS], TURNS[:1], TURNS[:1] * 2, TURNS * 60):
        for prompt in (True, False):
            try:
                [wanted], _ = render_jinja_template([turns], chat_template=text, add_generation_prompt=prompt, **NAMES)  # fmt: skip
            except TemplateError:
                with pytest.raises(TemplateError):
                    Template(text).render(turns, add_generation_prompt=prompt, **NAMES)
                continue
            assert Template(text).render(turns, add_generation_prompt=prompt, **NAMES) == wanted


def test_what_templates_use_is_there() -> None:
    """Loop controls, generation marks, namespaces, JSON in Chinese, slices, joins."""
    text = (
        "{%- set n = namespace(c=0) -%}{%- for m in messages[::-1] -%}{%- if loop.last %}{% break %}{% endif -%}"
        "{%- set n.c = n.c + 1 -%}{% generation %}{{ m.content|trim }}{% endgeneration %}{%- endfor -%}"
        "|{{ n.c }}|{{ {'a': '中'}|tojson }}|{{ messages|map(attribute='role')|join(',') }}|{{ 'a-b'.split('-')[1] }}"
        "|{{ 'abab'.replace('a', 'x') }}|{{ ('a', 'b')|join }}|{{ messages|selectattr('role', 'equalto', 'user')|list|length }}"
    )
    assert rendered(text) == '{{ 7 * 7 }}你好|2|{"a": "中"}|user,assistant,user|b|xbxb|ab|2'


WORDS = st.sampled_from(
    ["{{", "}}", "{%", "%}", " for ", " in ", "messages", "x", " set ", "=", "~", "*", "9", "'a'", " if ", " endif ", " endfor ", ".", "__class__", "[", "]", "(", ")", "|", "join", "range", ","]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.lists(WORDS, max_size=25).map("".join))
def test_row_27_any_text_is_a_template_or_is_refused(text: str) -> None:
    """Only errors of templates and of values come out, never one of ours."""
    with suppress(TemplateError, TypeError, ValueError, AttributeError, KeyError, ZeroDivisionError):
        assert isinstance(rendered(text), str)


# ── at the import ────────────────────────────────────────────────────────────────────────────────


def test_row_27_a_stranger_with_such_a_template_is_not_imported(tiny_hf: Path, tmp_path: Path) -> None:
    """By the check that everything imported goes through, with the line."""
    folder = Path(shutil.copytree(tiny_hf, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(PLAIN + "\n{{ messages.__class__ }}", encoding="utf-8")
    with pytest.raises(PackFailed, match=r"refused: it reaches for __class__ in line 2"):
        foreign.checked(folder)


def test_row_27_what_only_the_system_can_bound_ends_in_the_trial() -> None:
    """A list that holds itself 2⁴⁰ times has a text: time and memory are those of a child."""
    text = "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}"
    assert "chat template takes more than 1 s or 4 GiB" in str(trial.refusal(text, None, cpu_s=1))
    assert trial.refusal(PLAIN, None) is None


def changed(folder: Path, **members: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    return path


SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
REPLACE = {"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": "b"}
PLACES: list[dict[str, Any]] = [
    {"pre_tokenizer": SPLIT},
    {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}},
    {"normalizer": REPLACE},
    {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, REPLACE]}},
    {"decoder": {"type": "Sequence", "decoders": [REPLACE]}},
    {"post_processor": {"anything": [[{"Regex": "(a|aa)+$"}]]}},
]  # fmt: skip


@pytest.mark.parametrize("members", PLACES, ids=lambda members: next(iter(members)))
def test_row_28_an_unknown_pattern_is_refused_wherever_it_stands(
    tiny_hf: Path, tmp_path: Path, members: dict[str, Any]
) -> None:
    """In the cutting, the normalising, the decoding, or where nobody knows of one: named, and never run."""
    folder = Path(shutil.copytree(tiny_hf, tmp_path / "model"))
    changed(folder, **members)
    with pytest.raises(PackFailed, match=r"pattern .* none of the known"):
        foreign.checked(folder)


def test_row_28_a_tokenizer_that_hangs_or_crashes_ends_in_the_trial(tiny_hf: Path, tmp_path: Path) -> None:
    """What no rule knows of costs a child its life, and nobody else anything."""
    folder = Path(shutil.copytree(tiny_hf, tmp_path / "model"))
    file = folder / "tokenizer.json"
    assert trial.refusal(PLAIN, file) is None
    kept = file.read_text()
    changed(folder, pre_tokenizer=SPLIT)
    assert re.search("tokenizer (crashes|takes more)", str(trial.refusal(PLAIN, file, cpu_s=1)))
    file.write_text(kept)
    growing = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    changed(folder, normalizer={"type": "Sequence", "normalizers": [growing] * 9})
    assert re.search("tokenizer (crashes|takes more)", str(trial.refusal(PLAIN, file, cpu_s=1)))
    file.write_text("{}")
    assert "does not work" in str(trial.refusal(PLAIN, file, cpu_s=1))


@pytest.mark.parametrize("pattern", SPLITS, ids=SPLITS.get)
def test_row_28_the_known_patterns_are_quick_with_any_text(
    tiny_hf: Path, tmp_path: Path, pattern: str
) -> None:
    """Runs of one character, of blanks, of digits, of line ends: they are known because they are."""
    folder = Path(shutil.copytree(tiny_hf, tmp_path / "model"))
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    file = changed(folder, pre_tokenizer={"type": "Sequence", "pretokenizers": [split, bytes_]})
    foreign.checked(folder)
    assert trial.refusal(PLAIN, file) is None


@pytest.mark.anyio
async def test_row_28_the_engine_cuts_any_text_in_time(tiny_gguf: Path) -> None:
    """llama.cpp has patterns of its own; a long run of anything is no more work than other text."""
    engine = await LlamaCppEngine.start(EngineSpec("llamacpp", tiny_gguf, context=64, parallel=1))
    try:
        for text in trial.TEXTS:
            assert len(await asyncio.wait_for(engine.tokenize(text * 5), 20)) > 0
    finally:
        await engine.close()
