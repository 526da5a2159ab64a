"""What models write around samples, and what is read in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan_platform.augmentation.parsing import LONGEST, MOST_READ, Candidate, candidates


@pytest.mark.parametrize(
    ("said", "prompts"),
    [
        ("How do I boil an egg?", ["How do I boil an egg?"]),
        ("  \n", []),
        ("5. How do I boil an egg?", ["How do I boil an egg?"]),
        ("Sample 5: How do I boil an egg?", ["How do I boil an egg?"]),
        ("**How do I boil an egg?**", ["How do I boil an egg?"]),
        ("“鸡蛋怎么煮？”", ["鸡蛋怎么煮？"]),
        ("1. one egg\n2. two eggs\n3) three eggs", ["one egg", "two eggs", "three eggs"]),
        ("Here are some samples:\n\n- one egg\n- two eggs", ["one egg", "two eggs"]),
        ("以下是新样本：\n1、煮一个鸡蛋\n2、煮两个鸡蛋", ["煮一个鸡蛋", "煮两个鸡蛋"]),
        ("第1个样本：煮鸡蛋\n第2个样本：煮面", ["煮鸡蛋", "煮面"]),
        ("1. boil:\n   two eggs\n2. fry", ["boil:\n   two eggs", "fry"]),
        ("Put these in order:\n1. boil\n2. peel", ["Put these in order:\n1. boil\n2. peel"]),
        ("```\none egg\n```", ["one egg"]),
        ('["one egg", "two eggs"]', ["one egg", "two eggs"]),
        (
            '```json\n{"samples": [{"prompt": "one egg"}, {"question": "two eggs"}]}\n```',
            ["one egg", "two eggs"],
        ),
        ('{"instruction": "one egg"}\n{"instruction": "two eggs"}', ["one egg", "two eggs"]),
        ('Sure, here you are:\n[{"prompt": "one egg"}]', ["one egg"]),
        ('Mend this JSON: {"a": 1', ['Mend this JSON: {"a": 1']),
        ('Read {"prompt": "x"} aloud', ['Read {"prompt": "x"} aloud']),
        ('{"a": 1}', ['{"a": 1}']),
    ],
)
def test_samples_are_read_in_what_was_said(said: str, prompts: list[str]) -> None:
    """One text, lists, JSON; a text that only holds a list or JSON stays one text."""
    assert [one.prompt for one in candidates(said)] == prompts


def test_answers_beside_a_sample_are_read_too() -> None:
    """As a record of a dataset, or as question and answer."""
    both = [Candidate("one egg", "boil it")]
    assert candidates('[[{"prompt": "one egg", "response": [["boil it"]]}]]') == both
    assert candidates("Question: one egg\nAnswer: boil it") == both
    assert candidates("问：煮鸡蛋\n答：十分钟") == [Candidate("煮鸡蛋", "十分钟")]


def test_the_last_of_several_is_left_out_when_its_end_is_missing() -> None:
    """Of one alone it is said elsewhere that it was cut."""
    assert [one.prompt for one in candidates("1. one egg\n2. two eg", cut=True)] == ["one egg"]
    assert [one.prompt for one in candidates("one eg", cut=True)] == ["one eg"]


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=400) | st.text('[]{}",:1.-\n ab问答', max_size=80)
)
def test_whatever_was_said_is_read_without_an_error(said: str) -> None:
    """Every sample has a text."""
    assert all(one.prompt.strip() for one in candidates(said))


def test_a_flood_is_read_in_a_moment() -> None:
    """A hundred thousand characters of list marks, of brackets or of spaces: so many samples and no more."""
    for said in (
        "1. x\n" * 40_000,
        "[" * 100_000,
        " " * 100_000 + "1.",
        "Question: x\n" * 50_000,
        "> " * 60_000,
    ):
        assert len(candidates(said)) <= MOST_READ
    assert LONGEST < 10_000
