"""Rows that were there before."""

from __future__ import annotations

import random
import sys

from hypothesis import given
from hypothesis import strategies as st

from qianfan.dataset.seen import Seen, distinct, identity

ROWS = st.recursive(
    st.one_of(st.integers(-9, 9), st.text(max_size=2), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.binary(max_size=2)))
def test_the_table_says_what_a_set_says(items: list[bytes]) -> None:
    """An item is new once."""
    seen, known = Seen(), set[bytes]()
    for item in items:
        assert seen.is_new(item) is (item not in known)
        known.add(item)


def test_the_table_grows_and_forgets_nothing() -> None:
    """Twenty thousand rows, from the smallest table on, in at most sixteen bytes each and a little."""
    dice = random.Random(1)
    items = [dice.randbytes(12) for _ in range(20_000)]
    seen = Seen()
    assert all(map(seen.is_new, items))
    assert not any(map(seen.is_new, items))
    assert sys.getsizeof(seen._table) <= 2 * 16 * len(items)
    assert sys.getsizeof(Seen(len(items))._table) == sys.getsizeof(seen._table)


@given(ROWS, ROWS)
def test_rows_are_the_same_when_their_json_is(one: object, other: object) -> None:
    """The order of members does not count; 1 and true are not the same."""
    turned = dict(reversed(one.items())) if isinstance(one, dict) else one
    assert identity(one) == identity(turned)
    assert next(distinct([(1, one), (2, other), (3, one)])) == (1, one)
    assert len(list(distinct([(1, one), (2, other), (3, one)]))) == (
        1 if identity(one) == identity(other) else 2
    )
