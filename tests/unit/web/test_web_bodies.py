"""Bodies are brought into one spelling before they are checked."""

from __future__ import annotations

from qianfan_platform.web.bodies import tidy

ALIASES = {"maker": "marker", "traintype": "trainType", "pefttype": "peftType"}


def test_an_alias_in_lower_case_stands_for_any_case() -> None:
    """The documentation spells some members in two ways; at any depth."""
    sent = {"TrainType": "a", "PEFTTYPE": "LoRA", "list": [{"Maker": "m"}], "Other": 1}
    assert tidy(sent, ALIASES) == {
        "trainType": "a",
        "peftType": "LoRA",
        "list": [{"marker": "m"}],
        "Other": 1,
    }


def test_of_two_spellings_the_right_one_counts() -> None:
    """Whichever comes first; a null member is none."""
    assert tidy({"traintype": "wrong", "trainType": "right"}, ALIASES) == {"trainType": "right"}
    assert tidy({"trainType": "right", "traintype": "wrong"}, ALIASES) == {"trainType": "right"}
    assert tidy({"trainType": None, "Traintype": "only"}, ALIASES) == {"trainType": "only"}


def test_secrets_that_leak_into_bodies_go_no_further() -> None:
    """`ak` and `sk` of published clients, in any case."""
    assert tidy({"AK": "x", "sk": "y", "name": "n"}, ALIASES) == {"name": "n"}
