"""Filters of rows on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.dataset import Dataset
from qianfan.dataset import local_data_operators as local
from qianfan.dataset import qianfan_data_operators as online
from qianfan.errors import InvalidArgumentError

PLAIN = "今天的天气很好，我们去公园走一走，晚上再回来吃饭。"
ENGLISH = "We went for a walk in the park and had dinner at home in the evening."
COLUMN = {"filter_column": "text"}


@pytest.mark.parametrize(
    ("keeps", "dropped"),
    [
        (local.LocalCheckCharacterRepetitionFilter(**COLUMN), "哈" * 30),
        (local.LocalCheckWordRepetitionFilter(**COLUMN), "买一送一快来买" * 5),
        (local.LocalCheckWordNumberFilter(**COLUMN, word_number_min_cutoff=10), "太短了"),
        (
            local.LocalCheckFlaggedWordsFilter(**COLUMN, flagged_words=["博彩", "Jackpot"]),
            "博彩 jackpot 博彩",
        ),
        (local.LocalCheckStopwordsFilter(**COLUMN), "红色蓝色绿色黄色紫色"),
        (local.LocalCheckSpecialCharactersFilter(**COLUMN), "#### ==== 好"),
        (local.LocalCheckEachSentenceIsLongEnoughFilter(**COLUMN), "好。是。行。今天的天气很好。"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, local.LocalFilter) else "",
)
def test_plain_chinese_is_kept_and_what_a_filter_is_for_goes(keeps: local.LocalFilter, dropped: str) -> None:
    """Each filter, on a dataset."""
    rows = [{"text": PLAIN}, {"text": dropped}]
    assert Dataset.create_from_pyobj(rows).filter(keeps).to_pylist() == [{"text": PLAIN}]


def test_plain_english_is_kept_by_all_of_them() -> None:
    """With the defaults of EN; answers in lists are read as one text."""
    dataset = Dataset.create_from_pyobj([{"text": [[ENGLISH]]}])
    for name, kind in vars(local).items():
        if name.startswith("LocalCheck"):
            dataset.filter(kind(filter_column="text", text_language="EN"))
    assert len(dataset) == 1


def test_a_language_decides_the_limits() -> None:
    """Runs of ten characters outside of Chinese, three in it."""
    text = {"text": "abcabcabcabcabcabc"}
    assert not local.LocalCheckCharacterRepetitionFilter("text")(text)
    assert local.LocalCheckCharacterRepetitionFilter("text", "en", character_repetition_max_cutoff=0.9)(text)
    with pytest.raises(InvalidArgumentError, match="no list of stopwords for JA"):
        local.LocalCheckStopwordsFilter("text", text_language="JA")
    assert local.LocalCheckStopwordsFilter("text", text_language="JA", stopwords=["の"])({"text": "私の本"})


def test_packed_rows_must_be_unpacked_first() -> None:
    """A conversation has no columns; after unpack it has, and pack makes it whole again."""
    rows: list[Any] = [[{"prompt": PLAIN, "response": [["好"]]}], [{"prompt": "####", "response": [["?"]]}]]
    dataset = Dataset.create_from_pyobj(rows)
    keeps = local.LocalCheckSpecialCharactersFilter(filter_column="prompt")
    with pytest.raises(ValueError, match="unpack"):
        Dataset.create_from_pyobj(rows).filter(keeps).to_pylist()
    assert dataset.unpack()
    dataset.filter(keeps)
    assert dataset.pack()
    assert dataset.to_pylist() == rows[:1]


def test_a_column_that_is_not_there_is_told() -> None:
    """With those that are."""
    with pytest.raises(ValueError, match="no column 'text'; it has 'prompt'"):
        local.LocalCheckWordNumberFilter("text")({"prompt": "a"})
    with pytest.raises(InvalidArgumentError, match="filter_column"):
        local.LocalCheckWordNumberFilter("")


def test_operators_clean_the_rows_that_are_here() -> None:
    """All texts of a conversation, in stages; a dropped text takes its row with it; texts stay texts."""
    rows: list[Any] = [
        [{"prompt": "写信到 a@b.com 😀", "response": [["好"]]}],
        [{"prompt": "####", "response": [["好"]]}],
        [{"prompt": "写信到 a@b.com", "response": [["好 😀"]]}],
    ]
    dataset = Dataset.create_from_pyobj(rows)
    work = [online.ReplaceEmails(), online.FilterCheckSpecialCharacters(0.5), online.RemoveEmoji()]
    assert dataset.process(work).to_pylist() == [
        [{"prompt": "写信到 <EMAIL> ", "response": [["好"]]}],
        [{"prompt": "写信到 <EMAIL>", "response": [["好 "]]}],
    ]
    assert dataset.is_changed
    assert Dataset.create_from_pyobj(["a 😀", "b"]).process([online.RemoveEmoji()]).to_pylist() == ["a ", "b"]
    with pytest.raises(ValueError, match="process\\(\\)"):
        dataset.start_online_data_process_task(work)
