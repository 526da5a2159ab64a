"""Lines of a batch: how they are cut, what they ask, and what is written for them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qianfan.contract.errors import Fault
from qianfan_platform.batch import lines
from qianfan_platform.evaluation.asking import Answered

ANSWER = {"content": "yes", "modelName": "m"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.binary(max_size=12), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans()
)
def test_lines_are_numbered_without_the_empty_ones(
    tmp_path: Path, texts: list[bytes], end: bytes, with_mark: bool
) -> None:
    """Whatever the bytes are, whatever ends a line, with a byte order mark or without."""
    path = tmp_path / "input"
    path.write_bytes((b"\xef\xbb\xbf" if with_mark else b"") + end.join(texts))
    whole = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    wanted = [line.strip() for line in whole.split(b"\n") if line.strip()]
    assert list(lines.read(path)) == list(enumerate(wanted))


def test_a_line_without_end_is_one_line_and_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beginning stands for it, it asks nothing, and the line after it is read."""
    monkeypatch.setattr(lines, "LONGEST", 100)
    path = tmp_path / "input"
    path.write_bytes(b'"' + b"x" * 1000 + b'"\n"next"\n' + b"y" * 500)
    found = list(lines.read(path))
    assert [(number, len(line)) for number, line in found] == [(0, 101), (1, 6), (2, 101)]
    with pytest.raises(Fault, match="longer than 100 bytes"):
        lines.prompt_of_line(*found[0], {})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "hi"}]},
        {"prompt": "hi", "id": 3},
        {"query": "hi"},
        {"body": {"messages": [{"role": "user", "content": "hi"}]}, "custom_id": "a"},
        [{"prompt": "before", "response": [["well"]]}, {"prompt": "hi"}],
        "hi",
    ],
)
def test_every_shape_asks_the_same_with_a_seed_of_its_line(row: Any) -> None:
    """The last message is what is asked; the parameters of the task hold; the same line has the same seed."""
    prompt = lines.prompt_of_line(7, json.dumps(row).encode(), {"temperature": 0.5, "max_output_tokens": 9})
    assert prompt.messages[-1] == {"role": "user", "content": "hi"}
    assert (prompt.sampling.temperature, prompt.sampling.max_tokens) == (0.5, 9)
    assert prompt.sampling.seed == lines.prompt_of_line(7, b'"hi"', {}).sampling.seed
    assert prompt.sampling.seed != lines.prompt_of_line(8, b'"hi"', {}).sampling.seed


@settings(max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["prompt", "query", "messages", "body", "response", "system", "stop"]), inner
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_asks_something_or_is_refused_in_words(row: Any) -> None:
    """Nothing else than a Fault comes of a line, and something is written for each."""
    line = json.dumps(row).encode()
    with suppress(Fault):
        assert lines.prompt_of_line(0, line, {}).messages
    written = json.loads(lines.written(line, dict(ANSWER)))
    last = written[-1] if isinstance(written, list) else written
    assert last["model_response"] == [ANSWER]


def test_what_is_no_json_is_kept_as_a_text() -> None:
    """A line of the output is always JSON, beside what was asked."""
    assert json.loads(lines.written(b"\xff{", dict(ANSWER))) == {
        "prompt": "\ufffd{",
        "model_response": [ANSWER],
    }
    assert lines.response_of(Answered(error="no"), "m") == {"content": "", "modelName": "m", "error": "no"}
