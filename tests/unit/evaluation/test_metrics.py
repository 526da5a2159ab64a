"""Metrics against the figures that sacrebleu 2.6, rouge-score 0.1.2, scikit-learn 1.9 and jieba 0.42 gave once."""

from __future__ import annotations

import importlib.util
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.evaluation import metrics

# answer, reference, then sentence BLEU (effective order), ROUGE-1, -2, -L, and F1 of the tokens
TABLE = [
    ("the cat sat on the mat", "the cat is on the mat", 0.379918, 0.833333, 0.6, 0.833333, 0.833333),
    (
        "It is a guide to action which ensures that the military always obeys the commands of the party.",
        "It is a guide to action that ensures that the military will forever heed Party commands.",
        0.404727, 0.705882, 0.5, 0.647059, 0.705882,
    ),
    ("Paris", "Paris", 1.0, 1.0, 0.0, 1.0, 1.0),
    ("hello", "goodbye world", 0.0, 0.0, 0.0, 0.0, 0.0),
    ("今天天气很好，我们去公园散步吧。", "今天天气不错，我们一起去公园走走吧。", 0.270225, 0.666667, 0.428571, 0.666667, 0.666667),
    ("模型 A 的准确率是 95%", "A 模型的准确率为 95%", 0.365555, 0.888889, 0.5, 0.777778, 0.888889),
    ("a b c d e f g", "g f e d c b a", 0.106822, 1.0, 0.0, 0.142857, 1.0),
    ("the the the the the the the", "the cat is on the mat", 0.078098, 0.307692, 0.0, 0.307692, 0.307692),
    ("短", "这是一个很长的参考答案，而回答只有一个字。", 0.0, 0.0, 0.0, 0.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0][:12])
def test_scores_are_those_of_the_well_known_implementations(
    row: tuple[str, str, float, float, float, float, float],
) -> None:
    """Each score to six digits."""
    answer, reference, *wanted = row
    found = metrics.overlap(answer, reference)
    own = [
        found["bleu4"],
        found["rouge_1"],
        found["rouge_2"],
        found["rouge_l"],
        metrics.f1(answer, reference),
    ]
    assert own == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "wanted"), [(TABLE, 0.230652), (TABLE[:2], 0.394272), (TABLE[4:6], 0.306034)]
)
def test_bleu_of_a_corpus_adds_up_counts(rows: list[tuple[str, str, float]], wanted: float) -> None:
    """As sacrebleu's corpus score of the same tokens."""
    pairs = [(metrics.tokens(row[0]), metrics.tokens(row[1])) for row in rows]
    assert metrics.corpus_bleu(pairs) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("sacrebleu", "rouge_score")),
    reason="sacrebleu and rouge-score are not installed (the benchmarks extra brings them)",
)
@pytest.mark.filterwarnings("ignore")
def test_scores_of_any_texts_are_those_of_the_installed_implementations() -> None:
    """200 drawn pairs of Chinese and English, against the libraries themselves."""
    import sacrebleu
    from rouge_score import rouge_scorer

    class Cut:
        def tokenize(self, text: str) -> list[str]:
            return [token for token in metrics.tokens(text) if any(map(str.isalnum, token))]

    rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Cut())
    bleu = sacrebleu.BLEU(effective_order=True, tokenize="none", smooth_method="exp")
    drawn = random.Random(7)
    words = ["the", "cat", "sat", "on", "mat", *"今天天气很好去公园", ",", "。", "3.5"]
    for _ in range(200):
        answer, reference = (" ".join(drawn.choices(words, k=drawn.randint(1, 20))) for _ in range(2))
        found, wanted = metrics.overlap(answer, reference), rouge.score(reference, answer)
        texts = [" ".join(metrics.tokens(text)) for text in (answer, reference)]
        assert found["bleu4"] == pytest.approx(bleu.sentence_score(texts[0], texts[1:]).score / 100)
        for own, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
            assert found[own] == pytest.approx(wanted[theirs].fmeasure)


def test_chinese_is_cut_into_characters_and_width_and_case_do_not_count() -> None:
    """What a token is."""
    assert metrics.tokens("Ｐａｒｉｓ是首都，对吗?") == ["paris", "是", "首", "都", ",", "对", "吗", "?"]
    assert metrics.tokens("don't 3.5") == ["don", "'", "t", "3", ".", "5"]
    assert metrics.tokens("去 the 公园", stop_words={"the"}) == ["去", "公", "园"]


@pytest.mark.skipif(importlib.util.find_spec("jieba") is None, reason="jieba is not installed")
def test_chinese_by_word_is_what_jieba_says() -> None:
    """F1 of words; jieba 0.42 cuts both sentences into eight words, five of them in both."""
    left, right = "今天天气很好，我们去公园散步吧。", "今天天气不错，我们一起去公园走走吧。"
    assert metrics.f1(left, right, words=True) == pytest.approx(0.625)


@pytest.mark.skipif(importlib.util.find_spec("jieba") is not None, reason="jieba is installed")
def test_chinese_by_word_without_jieba_says_what_is_missing() -> None:
    """An ImportError that names the package; nothing else changes."""
    assert not metrics.has_words()
    with pytest.raises(ImportError, match="jieba"):
        metrics.f1("今天", "今天", words=True)
    assert "f1Words" not in metrics.agreement("今天", "今天", words=metrics.has_words())


def test_exact_and_same_are_two_things() -> None:
    """Exact match is of the text, accuracy of what is said."""
    assert metrics.agreement("Paris.", "paris") == {"exactMatch": 0, "accuracy": 1, "f1Score": 1}
    assert metrics.exact_match(" a\n", "a") == 1
    assert metrics.accuracy("？", "!") == 0
    assert metrics.accuracy("", "") == 1


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": 1}', 1),
        ("```json\n[1]\n```", 1),
        ("3", 0),
        ('"a"', 0),
        ("{'a': 1}", 0),
        ("", 0),
        ("[" * 100_000, 0),
    ],
    ids=["object", "fenced", "number", "text", "quotes", "empty", "deep"],
)
def test_json_is_an_object_or_an_array(text: str, valid: float) -> None:
    """Alone or in a fence; a text that nests without end is simply not valid."""
    assert metrics.json_valid(text) == valid


def test_cosine_is_that_of_scikit_learn() -> None:
    """And a vector without length is near nothing."""
    assert metrics.cosine([1, 2, 3], [3, 2, -1]) == pytest.approx(0.28571429)
    assert metrics.cosine([0, 0], [1, 0]) == 0


def test_rouge_l_of_long_texts_is_quick() -> None:
    """Two texts of 4,000 tokens take a fraction of a second."""
    left = [str(n % 977) for n in range(metrics.MAX_LCS)]
    began = time.process_time()
    assert 0 < metrics.rouge_l(left, left[::-1]) < 1
    assert time.process_time() - began < 2


TEXTS = st.text(alphabet="ab 天气。,", max_size=30)


@given(TEXTS, TEXTS)
def test_every_score_is_between_0_and_1_and_the_same_text_has_1(left: str, right: str) -> None:
    """For any two texts."""
    scores = {**metrics.overlap(left, right), **metrics.agreement(left, right)}
    assert all(0 <= value <= 1 + 1e-9 for value in scores.values())
    same = metrics.agreement(left, left)
    assert set(same.values()) == {1.0}


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_longest_common_sequence_is_that_of_the_plain_table(left: list[str], right: list[str]) -> None:
    """The bits say what the textbook's table says."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    size = len(left) + len(right)
    wanted = 2 * table[-1][-1] / size if left and right else 0
    assert metrics.rouge_l(left, right) == pytest.approx(wanted)
