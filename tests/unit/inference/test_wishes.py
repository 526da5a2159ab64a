"""Bodies of embeddings, rankings and images to make."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.inference import wishes


@pytest.mark.parametrize("value", [None, [], "text", [""], [7], ["x"] * 17, ["x" * 30_000], [["x"]]])
def test_v1_input_is_a_list_of_one_to_sixteen_texts(value: Any) -> None:
    """None empty, none endless."""
    with pytest.raises(Fault, match="input") as refused:
        wishes.texts_of_v1({"input": value})
    assert refused.value.row is errors.PARAMETER


def test_v2_takes_one_text_or_many_but_no_token_ids() -> None:
    """Token ids mean something to one tokenizer only."""
    assert wishes.texts_of_v2({"input": "a"}) == ["a"]
    assert len(wishes.texts_of_v2({"input": ["a"] * 100})) == 100
    for ids in ([1, 2], [[1, 2], [3]]):
        with pytest.raises(Fault, match="token ids"):
            wishes.texts_of_v2({"input": ids})


def test_the_best_documents_come_first() -> None:
    """Of equals, the earlier; cut to what was asked for."""
    rows = wishes.ranked(["a", "b", "c"], [0.1, 0.9, 0.1], 2)
    assert rows == [
        {"document": "b", "relevance_score": 0.9, "index": 1},
        {"document": "a", "relevance_score": 0.1, "index": 0},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"documents": ["a"]},
        {"query": "q"},
        {"query": "q", "documents": []},
        {"query": "q", "documents": ["a"] * 65},
        {"query": "q" * 2_000, "documents": ["a"]},
        {"query": "q", "documents": ["a"], "top_n": 0},
    ],
)
def test_a_ranking_that_cannot_be_is_refused(body: dict[str, Any]) -> None:
    """The limits of the documentation."""
    with pytest.raises(Fault):
        wishes.ranking(body)


def test_more_documents_than_there_are_is_all_of_them() -> None:
    """top_n above the number of documents is no mistake."""
    assert wishes.ranking({"query": "q", "documents": ["a", "b"], "top_n": 9})[2] == 2


def test_an_image_is_wished_for_with_all_its_members() -> None:
    """Those of V1; V2 spells two of them otherwise."""
    wish = wishes.image(
        {"prompt": "a cat", "negative_prompt": "dogs", "size": "768x1024", "n": 2, "steps": 10, "seed": 0,
         "cfg_scale": 7.5, "sampler_index": "Euler a", "style": "Anime"}
    )  # fmt: skip
    assert (wish.prompt, wish.negative_prompt, wish.size, wish.count) == ("a cat", "dogs", (768, 1024), 2)
    assert (wish.steps, wish.seed, wish.guidance, wish.sampler, wish.style) == (
        10,
        0,
        7.5,
        "Euler a",
        "Anime",
    )


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ({"prompt": ""}, errors.PARAMETER),
        ({"prompt": "x" * 2_000}, errors.PARAMETER),
        ({"size": "1x1"}, errors.IMAGE_SIZE),
        ({"size": ["1024x1024"]}, errors.IMAGE_SIZE),
        ({"sampler_index": "best"}, errors.IMAGE_SAMPLER),
        ({"style": "ugly"}, errors.PARAMETER),
        ({"n": 5}, errors.PARAMETER),
        ({"steps": 9}, errors.PARAMETER),
        ({"seed": 2**32}, errors.PARAMETER),
        ({"cfg_scale": 31}, errors.PARAMETER),
        ({"negative_prompt": 3}, errors.PARAMETER),
    ],
)
def test_an_image_that_cannot_be_is_refused(body: dict[str, Any], row: errors.ErrorRow) -> None:
    """With the documented code of size and sampler."""
    with pytest.raises(Fault) as refused:
        wishes.image({"prompt": "a cat", **body})
    assert refused.value.row is row
