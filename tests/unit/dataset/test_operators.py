"""The operators: each does what its example says, holds for any text, and takes no longer for a hostile one."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.dataset import qianfan_data_operators
from qianfan.dataset.operators import (
    CATALOGUE,
    STAGES,
    BadOperator,
    Operator,
    Pipeline,
    figures,
    files,
    find,
    fluency,
)
from qianfan.dataset.operators.duplicates import Seen, simhash
from qianfan.errors import InvalidArgumentError

CHANGES = [operator for operator in CATALOGUE.values() if operator.change is not None]
FILTERS = [operator for operator in CATALOGUE.values() if operator.figure is not None]
TEXTS = st.text(max_size=200) | st.text(alphabet="<>&;!-/@.:abc019 中文😀\u200d\n", max_size=200)


def names(operators: list[Operator]) -> list[str]:
    return [operator.name for operator in operators]


def test_the_catalogue_has_every_documented_operator_in_its_stage() -> None:
    """Seventeen operators, in the order of the stages."""
    stages = [STAGES.index(operator.stage) for operator in CATALOGUE.values()]
    assert stages == sorted(stages)
    assert [stages.count(number) for number in range(len(STAGES))] == [6, 7, 1, 3]


@pytest.mark.parametrize("operator", CHANGES, ids=names(CHANGES))
def test_a_change_does_what_its_example_says(operator: Operator) -> None:
    """Before and after, as documented; done twice it is as done once."""
    assert operator.change is not None
    assert operator.change(operator.before) == operator.after
    assert operator.change(operator.after) == operator.after


@pytest.mark.parametrize("operator", FILTERS, ids=names(FILTERS))
def test_a_filter_drops_its_example_and_keeps_plain_text(operator: Operator) -> None:
    """With its defaults; a plain sentence in Chinese or English stays."""
    given_ = {"number_words_min_cutoff": 2} if operator.name == "filter_check_number_words" else {}
    arguments = operator.checked(given_)
    assert operator.figure is not None
    assert operator.keeps is not None
    assert not operator.keeps(operator.figure(operator.before), arguments)
    for plain in (
        "今天的会议讨论了公司明年的计划，大家都认为应该先把现有的产品做好。",
        "The meeting today was about the plans of the company for the next year, and all of us agreed.",
    ):
        assert operator.keeps(operator.figure(plain), arguments), (plain, operator.figure(plain))


@pytest.mark.parametrize("operator", CHANGES, ids=names(CHANGES))
@given(TEXTS)
def test_a_change_holds_for_any_text(operator: Operator, text: str) -> None:
    """It gives the same for the same, and leaves plain letters alone."""
    assert operator.change is not None
    once = operator.change(text)
    assert operator.change(text) == once
    letters = "".join(re.findall("[xyz]", text))
    if operator.name not in ("remove_web_identifiers", "replace_emails", "replace_identifier"):
        assert "".join(re.findall("[xyz]", once)) == letters


@pytest.mark.parametrize("operator", FILTERS, ids=names(FILTERS))
@given(TEXTS)
def test_a_figure_is_a_number_for_any_text(operator: Operator, text: str) -> None:
    """Shares lie between 0 and 1; nothing raises."""
    assert operator.figure is not None
    figure = operator.figure(text)
    assert figure >= 0
    if operator.arguments[0].high == 1:
        assert figure <= 1


HOSTILE = [
    "<" * 40_000,
    "<!--" * 10_000,
    "&" * 40_000,
    "<a " * 14_000,
    "a@" * 20_000,
    "a." * 20_000 + "@",
    "1 " * 20_000,
    "1-" * 20_000,
    ":" * 40_000,
    "1." * 20_000,
    "a1-_" * 10_000,
    "😀\u200d" * 12_000,
    "\u202e" * 40_000,
    "哈" * 40_000,
]


@pytest.mark.parametrize("operator", [*CHANGES, *FILTERS], ids=names([*CHANGES, *FILTERS]))
def test_no_text_makes_an_operator_slow(operator: Operator) -> None:
    """Forty thousand characters of each hostile kind take no more than seconds in all."""
    work = operator.change or operator.figure
    assert work is not None
    begun = time.process_time()
    for text in HOSTILE:
        work(text)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("remove_emoji", "👨‍👩‍👧 family 🇨🇳 1️⃣ ©", " family  1 ©"),
        ("remove_emoji", "می‌خواهم नमस्ते", "می‌خواهم नमस्ते"),
        ("replace_identifier", "call +86 138-1234-5678 now", "call <ID> now"),
        ("replace_identifier", "身份证11010519491231002X，余额1234567元", "身份证<ID>，余额1234567元"),
        ("replace_identifier", "key sk-a1b2c3d4e5f6a7b8 in chapter_two_12", "key <ID> in chapter_two_12"),
        ("replace_identifier", "on 2024-10-31, from 2019-2024", "on 2024-10-31, from 2019-2024"),
        (
            "replace_ip",
            "version 1.2.3.4.5 at 10:30:00, 999.1.1.1",
            "version 1.2.3.4.5 at 10:30:00, 999.1.1.1",
        ),
        ("replace_ip", "[2001:db8::1]:80 and ::ffff:10.0.0.1", "[<IP>]:80 and <IP>"),
        ("replace_emails", "a@b, a@b.c, me@mail.example.com.", "a@b, a@b.c, <EMAIL>."),
        ("remove_web_identifiers", "if a < b and c > d", "if a < b and c > d"),
    ],
)
def test_the_borders_of_an_operator(name: str, text: str, expected: str) -> None:
    """What looks like a hit and is none, and hits that look harmless."""
    change = find(name).change
    assert change is not None
    assert change(text) == expected


def test_repetition_is_measured_as_described() -> None:
    """By hand: of six runs of five words, four come twice."""
    words = "a b c d e f a b c d e f"
    runs = [tuple(words.split()[at : at + 5]) for at in range(8)]
    assert figures.word_repetition(words) == sum(runs.count(run) > 1 for run in runs) / len(runs)
    assert figures.character_repetition("abcabcabc", 3) == 3 / 7  # abc ×3 of 7; √3 → one run counts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("这是一个关于语言的句子", "zh"),
        ("これは日本語の文章です", "ja"),
        ("이것은 한국어 문장입니다", "ko"),
        ("Это предложение на русском языке", "ru"),
        ("this is the sentence of a plain language that you know", "en"),
        ("le chat est dans la maison avec les enfants et il ne sort pas", "fr"),
        ("der Hund ist in dem Haus und er will nicht mit den Kindern gehen", "de"),
        ("el perro está en la casa y no quiere salir con los niños", "es"),
        ("123 456", ""),
        ("0÷", ""),
    ],
)
def test_a_language_is_told(text: str, code: str) -> None:
    """By its script, and by its frequent words."""
    assert fluency.language(text)[0] == code


def test_near_texts_are_found_and_others_kept() -> None:
    """A changed word is near, another text is not; the first one stays."""
    base = " ".join(f"word{number}" for number in range(60))
    near = base.replace("word30", "other")
    far = " ".join(f"thing{number}" for number in range(60))
    seen = Seen(12)
    seen.keep(simhash(base))
    assert seen.near(simhash(base))
    assert (simhash(base) ^ simhash(near)).bit_count() <= 12
    assert seen.near(simhash(near))
    assert not seen.near(simhash(far))


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=6), st.integers(0, 6))
def test_every_text_within_the_distance_is_found(number: int, flips: set[int], distance: int) -> None:
    """The pieces miss none, and find none beyond."""
    seen = Seen(distance)
    seen.keep(number)
    other = number
    for bit in flips:
        other ^= 1 << bit
    assert seen.near(other) == (len(flips) <= distance)


def test_a_pipeline_counts_every_text_once() -> None:
    """Kept and dropped sum to what went in, operator by operator, in the order of the stages."""
    texts = [
        "写信到 a.b@example.com 吧😀",
        "写信到 a.b@example.com 吧",
        "!!!! ???? ####",
        "   ",
        "plain words here",
    ]
    pipeline = Pipeline.of(
        {
            "desensitization": [{"name": "replace_emails", "args": {}}],
            "clean": [{"name": "remove_emoji", "args": {}}],
            "filter": [
                {"name": "filter_check_special_characters", "args": {"special_characters_max_cutoff": 0.5}}
            ],
            "deduplication": [{"name": "deduplication_simhash", "args": {"distance": 4}}],
        }
    )
    verdicts = list(pipeline.run(texts))
    assert [verdict.dropped_by for verdict in verdicts] == [
        "",
        "deduplication_simhash",
        "filter_check_special_characters",
        "",
        "",
    ]
    assert verdicts[0].text == "写信到 <EMAIL> 吧"
    left = len(texts)
    for row in pipeline.funnel():
        assert row["remaining"] + row["dropped"] == left
        left = row["remaining"]
    assert left == 3


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"polish": []}, "no stage 'polish'"),
        ({"clean": [{"name": "wash"}]}, "no operator 'wash'"),
        ({"filter": [{"name": "remove_emoji"}]}, "belongs to the stage clean"),
        ({"clean": [{"name": "remove_emoji", "args": {"how": 1}}]}, "has no argument 'how'"),
        (
            {"filter": [{"name": "filter_check_lang_id", "args": {"lang_id_min_cutoff": 2}}]},
            "lang_id_min_cutoff is 2",
        ),
        (
            {"filter": [{"name": "filter_check_lang_id", "args": {"lang_id_min_cutoff": "x"}}]},
            "lang_id_min_cutoff is 'x'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(stages: dict[str, object], message: str) -> None:
    """Before any text is touched."""
    with pytest.raises(BadOperator, match=message):
        Pipeline.of(stages)  # type: ignore[arg-type]


@pytest.mark.parametrize("processes", [1, 3])
def test_a_file_on_several_cores_is_as_one_text_after_another(tmp_path: Path, processes: int) -> None:
    """The same texts in the same order with the same figures, also across the borders of chunks."""
    texts = [f"text {number % 700} 写信到 a{number}@example.com" for number in range(1500)] + ["!!!!", "   "]
    stages = {
        "clean": [{"name": "remove_emoji", "args": {}}],
        "filter": [
            {"name": "filter_check_special_characters", "args": {"special_characters_max_cutoff": 0.5}}
        ],
        "deduplication": [{"name": "deduplication_simhash", "args": {"distance": 4}}],
        "desensitization": [{"name": "replace_emails", "args": {}}],
    }
    pipeline = Pipeline.of(stages)
    expected = [verdict.text for verdict in pipeline.run(texts) if not verdict.dropped_by]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    done = files.run(source, target, stages, processes=processes)
    assert [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()] == expected
    assert done["funnel"] == pipeline.funnel()
    assert (done["entities"], done["remaining"]) == (len(texts), len(expected))
    assert done["characters"] == sum(map(len, expected))
    assert 0 < len(expected) < len(texts)


def test_what_is_no_operator_is_refused_by_name() -> None:
    """A name in place of an operator, such as the wire has it."""
    with pytest.raises(InvalidArgumentError, match="'remove_emoji' is no operator"):
        qianfan_data_operators.stages_of(["remove_emoji"])  # type: ignore[list-item]
