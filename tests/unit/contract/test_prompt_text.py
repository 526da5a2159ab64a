"""Templates: which variables they have, and one pass of rendering."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.contract.prompt_text import IDENTIFIERS, BadVariable, render, variables_of

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{1,29}", fullmatch=True)


@given(
    st.sampled_from(IDENTIFIERS), st.lists(NAMES, max_size=5), st.dictionaries(NAMES, st.text(), max_size=5)
)
def test_rendering_puts_every_value_in_once_and_looks_at_none(
    identifier: str, names: list[str], values: dict[str, str]
) -> None:
    """The result is the pieces around the variables with the values between, whatever the values hold."""
    half = len(identifier) // 2
    left, right = identifier[:half], identifier[half:]
    template = "·".join(left + name + right for name in names)
    assert variables_of(template, identifier) == names
    expected = "·".join(values.get(name, left + name + right) for name in names)
    assert render(template, identifier, values) == expected


@pytest.mark.parametrize(
    ("template", "identifier", "names"),
    [
        ("a {bc} and {bc} and {d_1}", "{}", ["bc", "bc", "d_1"]),
        ("{{a_b}} and {c}", "{{}}", ["a_b"]),
        ("(ab) and {cd}", "()", ["ab"]),
        ("((ab)) and (cd)", "(())", ["ab"]),
        ("no variables", "[]", []),
    ],
)
def test_variables_are_found_between_the_marks(template: str, identifier: str, names: list[str]) -> None:
    """In order, repeated ones too; other brackets are plain text."""
    assert variables_of(template, identifier) == names


@pytest.mark.parametrize(
    "template", ["{a}", "{}", "{1ab}", "{a b}", "{" + "x" * 31 + "}", "{{ab}}", "{变量}"]
)
def test_a_name_that_cannot_be_used_is_named(template: str) -> None:
    """Two to thirty letters, digits and underscores, not beginning with a digit."""
    with pytest.raises(BadVariable, match="cannot be the name of a variable"):
        variables_of(template, "{}")


def test_an_unknown_identifier_is_refused() -> None:
    """Only the six documented ones mark variables."""
    with pytest.raises(BadVariable, match="cannot mark variables"):
        render("x", "<>", {})
