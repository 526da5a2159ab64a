"""Bodies are brought into one spelling before they are checked."""

from __future__ import annotations

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.web.bodies import parse, tidy

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


@pytest.mark.parametrize(
    "raw", [b'{"id": 1, "id": 2}', b'{"a": {"id": "x:", "id" : 2}}', b'{"list": [{"\\u0069d": 1, "id": 2}]}']
)
def test_a_member_that_is_there_twice_is_refused_by_name(raw: bytes) -> None:
    """Other parsers on the way may have taken the first; here nobody chooses in silence."""
    with pytest.raises(Fault, match="member 'id' twice"):
        parse(raw)


def test_colons_in_texts_and_names_are_no_members() -> None:
    """Only members count."""
    assert parse(b'{"a:": "b: c", "x": {"a:": ":"}, "u": "\\u003a"}')["x"] == {"a:": ":"}
