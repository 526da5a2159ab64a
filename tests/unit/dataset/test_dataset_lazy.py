"""`Dataset` over files that are larger than what is kept in memory."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qianfan.config import get_config
from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import Dataset
from qianfan.dataset.kept_rows import HeldRows, SpilledRows
from qianfan.errors import InvalidArgumentError, ValidationError


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Hardly any row stays in memory; the folder is where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    config = get_config()
    before = config.DATASET_MEMORY
    config.DATASET_MEMORY = 64
    yield folder
    config.DATASET_MEMORY = before


def numbers(folder: Path, count: int) -> Path:
    path = folder / "numbers.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(count)))
    return path


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("count", [9_999, 10_000, 10_001, 25_000])
@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["streamed", "in memory"])
def test_no_row_is_lost_or_doubled(
    tmp_path: Path, count: int, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row goes through every step, whatever their number is."""
    monkeypatch.setitem(get_config().__dict__, "DATASET_MEMORY", memory)
    dataset = Dataset.load(data_file=numbers(tmp_path, count))
    dataset.map(lambda row: {"n": row["n"] + 1}).filter(lambda row: row["n"] % 5 > 0).dedup()
    dataset.save(data_file=tmp_path / "out.jsonl")
    expected = [{"n": n} for n in range(1, count + 1) if n % 5]
    assert lines_of(tmp_path / "out.jsonl") == expected
    assert len(dataset) == len(expected)
    assert dataset.to_pylist() == expected
    assert dataset[len(expected) - 1] == expected[-1]


def test_functions_wait_until_rows_are_needed_and_a_save_is_one_pass(
    tmp_path: Path, little_memory: Path
) -> None:
    """Nothing runs before, each row comes once, and nothing is kept beside the file that is written."""
    seen: list[int] = []

    def noted(row: Any) -> Any:
        seen.append(row["n"])
        return row

    dataset = Dataset.load(data_file=numbers(tmp_path, 50)).map(noted)
    assert seen == []
    dataset.save(data_file=tmp_path / "out.jsonl")
    assert seen == list(range(50))
    assert list(little_memory.iterdir()) == []


def test_rows_that_are_looked_at_are_made_once(tmp_path: Path, little_memory: Path) -> None:
    """They are kept in a temporary file, which goes with the dataset."""
    calls: list[int] = []
    dataset = Dataset.load(data_file=numbers(tmp_path, 500))
    dataset.filter(lambda row: calls.append(row["n"]) is None and row["n"] % 2 == 0)
    assert len(dataset) == 250
    assert dataset[249] == dataset[-1] == {"n": 498}
    assert dataset[70:72] == [{"n": 140}, {"n": 142}, {"n": 144}]
    assert sum(row["n"] for row in dataset) == sum(range(0, 500, 2))
    assert len(calls) == 500
    assert len(list(little_memory.iterdir())) == 1
    del dataset
    assert list(little_memory.iterdir()) == []


def test_a_failing_function_names_the_line_and_leaves_the_target(tmp_path: Path, little_memory: Path) -> None:
    """The error keeps its type; a file that was there stays as it was."""
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    dataset = Dataset.load(data_file=numbers(tmp_path, 100)).map(lambda row: {"n": 1 // (row["n"] - 41)})
    with pytest.raises(ZeroDivisionError) as caught:
        dataset.save(data_file=target)
    assert caught.value.__notes__ == ["in the row of line 42"]
    assert target.read_text() == "before"
    wrong = Dataset.load(data_file=numbers(tmp_path, 100)).filter(lambda row: row["n"])
    with pytest.raises(ValueError, match="row of line 1; it must return True or False"):
        len(wrong)


def test_a_schema_is_checked_while_rows_are_saved(tmp_path: Path, little_memory: Path) -> None:
    """Problems are told by the lines of the file that was loaded, after all rows; nothing is written."""
    path = tmp_path / "data.jsonl"
    good = '[{"prompt": "q", "response": [["a"]]}]\n'
    path.write_text(good * 30 + '\n[{"prompt": "q", "response": "a"}]\n' + good + "[]\n")
    for dataset, schema in (
        (Dataset.load(data_file=path, schema=DataTemplateType.NonSortedConversation), None),
        (Dataset.load(data_file=path), DataTemplateType.NonSortedConversation),
    ):
        with pytest.raises(ValidationError) as caught:
            dataset.save(data_file=tmp_path / "out.jsonl", schema=schema)
        assert str(caught.value).startswith("2 of 33 records do not fit")
        assert "data.jsonl line 32, field [0].response" in str(caught.value)
        assert "data.jsonl line 34" in str(caught.value)
        assert not (tmp_path / "out.jsonl").exists()
        assert list(Dataset.load(data_file=path))[-1] == []


def test_a_file_that_was_changed_meanwhile_is_not_mixed(tmp_path: Path, little_memory: Path) -> None:
    """Rows of two states of a file are never put together."""
    path = numbers(tmp_path, 100)
    dataset = Dataset.load(data_file=path).filter(lambda row: True)
    path.write_text('{"n": 7}\n')
    with pytest.raises(InvalidArgumentError, match="was changed since it was loaded"):
        len(dataset)


def test_a_file_is_saved_in_place_while_it_is_read(tmp_path: Path, little_memory: Path) -> None:
    """The dataset is then that of the file, with nothing pending."""
    path = numbers(tmp_path, 300)
    dataset = Dataset.load(data_file=path).filter(lambda row: row["n"] >= 290)
    assert dataset.is_changed
    assert dataset.save() is True
    assert not dataset.is_changed
    assert (
        dataset.to_pylist() == Dataset.load(data_file=path).to_pylist() == [{"n": n} for n in range(290, 300)]
    )


def test_a_large_file_goes_through_every_step_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check, filter, map, dedup, save, count and picking of 20 MiB take a third of it."""
    monkeypatch.setitem(get_config().__dict__, "DATASET_MEMORY", 1 << 18)
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for n in range(10_000):
            row = [{"prompt": f"{n % 9_000} " + "q" * 1000, "response": [["a" * 1000]]}]
            file.write(json.dumps(row) + "\n")
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    dataset = Dataset.load(data_file=path, schema=DataTemplateType.NonSortedConversation)
    dataset.filter(lambda row: len(row) == 1).map(lambda row: [dict(row[0])]).dedup()
    dataset.save(data_file=tmp_path / "out.jsonl")
    assert len(dataset) == 9_000
    assert dataset[8_999][0]["prompt"].startswith("8999 ")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(dataset._rows().base, SpilledRows)
    assert peak < 7_000_000


def test_rows_of_a_file_in_another_encoding_are_picked(tmp_path: Path, little_memory: Path) -> None:
    """An index of its bytes would be wrong, so it is read."""
    path = tmp_path / "utf16.jsonl"
    path.write_text("".join(f'{{"n": "问{n}"}}\n' for n in range(40)), encoding="utf-16")
    dataset = Dataset.load(data_file=path)
    assert dataset[39] == {"n": "问39"}
    assert len(dataset) == 40


def test_a_row_that_json_cannot_hold_is_named_when_rows_are_spilled(
    tmp_path: Path, little_memory: Path
) -> None:
    """In memory a row may hold anything."""
    dataset = Dataset.load(data_file=numbers(tmp_path, 50)).map(lambda row: {"n": object()})
    with pytest.raises(ValueError, match="line 1: the row is not plain JSON"):
        len(dataset)
    held = Dataset.create_from_pyobj([{"n": 1}]).map(lambda row: {"n": object})
    assert held[0] == {"n": object}
    assert isinstance(held._rows().base, HeldRows)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("filter"), st.integers(1, 4)),
        st.tuples(st.just("map"), st.integers(0, 3)),
        st.tuples(st.just("append"), st.integers(0, 9)),
        st.tuples(st.just("insert"), st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("dedup"), st.just(0)),
        st.tuples(st.just("look"), st.integers(0, 30)),
        st.tuples(st.just("concat"), st.integers(0, 3)),
    ),
    max_size=7,
)


def taken(dataset: Dataset, model: list[Any], what: str, n: int) -> list[Any]:
    """One step on the dataset; returns what it makes of a plain list."""
    if what == "filter":
        dataset.filter(lambda row: row["n"] % n == 0)
        return [row for row in model if row["n"] % n == 0]
    if what == "map":
        dataset.map(lambda row: {"n": row["n"] // 2 + n} if row["n"] != n else None)
        return [{"n": row["n"] // 2 + n} for row in model if row["n"] != n]
    if what == "append":
        dataset.append({"n": n})
        return [*model, {"n": n}]
    if what == "insert":
        at = min(n, len(model))
        dataset.insert({"n": -n}, at)
        return [*model[:at], {"n": -n}, *model[at:]]
    if what == "delete" and model:
        dataset.delete(n % len(model))
        return [row for at, row in enumerate(model) if at != n % len(model)]
    if what == "dedup":
        dataset.dedup()
        return [row for at, row in enumerate(model) if row not in model[:at]]
    if what == "look":
        assert dataset[n : n + 3] == model[n : n + 4]
        assert len(dataset) == len(model)
    if what == "concat":
        dataset.concat(Dataset.create_from_pyobj([{"n": n}] * n))
        return model + [{"n": n}] * n
    return model


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["streamed", "in memory"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_steps_do_what_they_do_to_a_list(
    steps: list[tuple[str, int]], memory: int, tmp_path: Path
) -> None:
    """Rows of a file that is streamed, rows in memory and a list of Python agree after any steps."""
    config, before = get_config(), get_config().DATASET_MEMORY
    config.DATASET_MEMORY = memory
    try:
        model: list[Any] = [{"n": n} for n in range(20)]
        dataset = Dataset.load(data_file=numbers(tmp_path, 20))
        for what, n in steps:
            model = taken(dataset, model, what, n)
        dataset.save(data_file=tmp_path / "out.jsonl")
        assert lines_of(tmp_path / "out.jsonl") == model
        assert dataset.to_pylist() == model
    finally:
        config.DATASET_MEMORY = before


def test_rows_may_be_added_one_by_one_to_a_large_file(tmp_path: Path, little_memory: Path) -> None:
    """A thousand of them are one step; so many other steps are taken before more are added."""
    dataset = Dataset.load(data_file=numbers(tmp_path, 50))
    for n in range(50, 1050):
        dataset.append({"n": n})
    for _ in range(250):
        dataset.delete(0)
    assert [row["n"] for row in dataset] == list(range(250, 1050))


def test_a_line_without_end_does_not_fill_the_memory_when_rows_are_counted(
    tmp_path: Path, little_memory: Path
) -> None:
    """It is named by its number."""
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n[')
        file.truncate(80 << 20)
    dataset = Dataset.load(data_file=path)
    with pytest.raises(ValidationError, match=r"long\.jsonl line 3: the line is longer than 64 MiB"):
        len(dataset)


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["streamed", "in memory"])
def test_a_dataset_knows_where_its_rows_come_from(
    tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lineage names the source and the steps; each row has its file and line."""
    monkeypatch.setitem(get_config().__dict__, "DATASET_MEMORY", memory)

    def is_even(row: Any) -> bool:
        return bool(row["n"] % 2 == 0)

    path = numbers(tmp_path, 9)
    dataset = Dataset.load(data_file=path)
    assert dataset.origin(-1) == ("numbers.jsonl", 9)
    dataset.filter(is_even).dedup()
    assert dataset.origin(3) == ("numbers.jsonl", 7)
    with pytest.raises(IndexError, match="no row 5"):
        dataset.origin(5)
    name = is_even.__qualname__
    assert dataset.lineage == (f"file {path}", f"filter {name}", "dedup")
    dataset.save(data_file=tmp_path / "out.jsonl", replace_source=True)
    assert dataset.lineage == (f"file {tmp_path / 'out.jsonl'}",)
