"""Event streams: what is encoded is decoded, however the network splits it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.contract import sse

one_line = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n"), max_size=40)
names = st.one_of(st.none(), st.sampled_from(["plugin", "chat", "pluginMeta"]))
events = st.lists(st.tuples(one_line, names), max_size=8)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def decode(pieces: list[bytes]) -> list[sse.Event]:
    decoder = sse.Decoder()
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return [*found, *decoder.close()]


@given(events, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_of_any_stream_gives_its_events(
    wanted: list[tuple[str, str | None]], cuts: list[int], newline: bytes
) -> None:
    """decode(encode(events)) == events for LF, CRLF and CR, cut anywhere, even inside a character."""
    raw = b"".join(sse.encode(data, name) for data, name in wanted).replace(b"\n", newline)
    assert decode(split(raw, cuts)) == [sse.Event(data, name or "message") for data, name in wanted]


@given(one_line, st.lists(st.integers(0, 10_000), max_size=4))
def test_the_last_event_counts_without_its_blank_line(data: str, cuts: list[int]) -> None:
    """A body that ends right after its last data line still gives that event."""
    raw = sse.encode(data).rstrip(b"\n") if not data.endswith("\n") else sse.encode(data)
    assert decode(split(raw, cuts)) == [sse.Event(data)]


def test_comments_and_unknown_fields_are_passed_over() -> None:
    """Lines that are no data do not disturb: comments, ids, retry times, unknown fields."""
    raw = b": ping\n\nid: 7\nretry: 10\nwhat: ever\ndata: a\ndata: b\n\n"
    assert decode([raw]) == [sse.Event("a\nb")]


def test_data_of_several_lines_cannot_be_encoded() -> None:
    """Published clients read one line per event, so the encoder refuses more."""
    with pytest.raises(ValueError, match="one line"):
        sse.encode("a\nb")


def test_a_line_without_end_is_refused() -> None:
    """A server that never ends its line does not fill the memory."""
    decoder = sse.Decoder(max_line=100)
    with pytest.raises(ValueError, match="longer than 100"):
        list(decoder.feed(b"data: " + b"x" * 200))
