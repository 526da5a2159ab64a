"""One side of `dataset.py`, in a process of its own: `python dataset_sides.py SIDE SOURCE TARGET`.

All do the same: check every row against the template, drop rows with an answer under 8 characters, tidy the
spaces of the questions, drop rows that were there before, write JSONL. One line of JSON tells CPU, memory, rows."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHORTEST = 8  # characters of an answer


def main() -> None:
    name, source, target = sys.argv[1:4]
    rows = SIDES[name](source, target)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"cpu": cpu, "peak_mib": peak_mib(), "rows": rows}))


def peak_mib() -> float:
    """The most memory that the process had; that of its parent, which getrusage takes along, is not counted."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def long_enough(row: list[dict[str, Any]]) -> bool:
    return all(len(turn["response"][0][0]) >= SHORTEST for turn in row)


def tidy(row: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**turn, "prompt": " ".join(turn["prompt"].split())} for turn in row]


def is_conversation(row: Any) -> bool:
    """What one writes to check a row of the template."""
    if not isinstance(row, list) or not row:
        return False
    for turn in row:
        if not isinstance(turn, dict) or turn.keys() != {"prompt", "response"}:
            return False
        if not isinstance(turn["prompt"], str) or not turn["prompt"].strip():
            return False
        response = turn["response"]
        if not isinstance(response, list) or len(response) != 1:
            return False
        if not isinstance(response[0], list) or len(response[0]) != 1:
            return False
        if not isinstance(response[0][0], str) or not response[0][0].strip():
            return False
    return True


def ours(source: str, target: str) -> int:
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import Dataset

    dataset = Dataset.load(data_file=source, schema=DataTemplateType.NonSortedConversation)
    dataset.filter(long_enough).map(tidy).dedup().save(data_file=target, show_progress=False)
    return counted(target)


def loop(source: str, target: str) -> int:
    """What one writes first: a line after another, nothing kept but a hash of each row."""
    import orjson

    seen = set()
    with open(source, "rb") as lines, open(target, "wb") as out:
        for line in lines:
            row = orjson.loads(line)
            if not is_conversation(row):
                raise SystemExit("a row does not fit")
            if not long_enough(row):
                continue
            text = orjson.dumps(tidy(row), option=orjson.OPT_APPEND_NEWLINE)
            key = hash(text)
            if key not in seen:
                seen.add(key)
                out.write(text)
    return counted(target)


def polars(source: str, target: str) -> int:
    """As columns, streamed: lines decoded into nested types, which refuses what does not fit."""
    import polars as pl

    kind = pl.List(pl.Struct({"prompt": pl.String, "response": pl.List(pl.List(pl.String))}))
    row, turn = pl.col("row"), pl.element()
    prompt, response = turn.struct.field("prompt"), turn.struct.field("response")
    answer = response.list.get(0, null_on_oob=True).list.get(0, null_on_oob=True)
    fits = (prompt.str.strip_chars() != "") & (response.list.len() == 1) & (answer.str.strip_chars() != "")
    tidied = prompt.str.split(" ").list.eval(pl.element().filter(pl.element() != "")).list.join(" ")
    lines = pl.scan_csv(source, has_header=False, separator="\x01", quote_char=None, new_columns=["row"])
    rows = lines.select(row.str.json_decode(kind))
    if not rows.select(row.list.eval(fits).list.all().all()).collect(engine="streaming").item():
        raise SystemExit("a row does not fit")
    kept = rows.filter(row.list.eval(answer.str.len_chars() >= SHORTEST).list.all())
    new = kept.select(row.list.eval(pl.struct(tidied.alias("prompt"), response.alias("response"))))
    text = new.select(pl.struct(row).struct.json_encode().str.slice(7).str.head(-1))
    text.unique(maintain_order=True).sink_csv(target, include_header=False, quote_style="never")
    return counted(target)


def duckdb(source: str, target: str) -> int:
    """As SQL over JSON of nested types."""
    import duckdb as engine

    kind = "STRUCT(prompt VARCHAR, response VARCHAR[][])[]"
    with engine.connect() as db:
        db.execute("SET preserve_insertion_order = true")
        read = (
            f"read_csv('{source}', columns={{'t': 'VARCHAR'}}, header=false, sep='\x01', quote='', escape='')"
        )
        db.execute(f"CREATE TEMP TABLE kept AS SELECT CAST(t::JSON AS {kind}) AS turns FROM {read}")
        bad = """SELECT count(*) FROM kept WHERE len(turns) = 0 OR len(list_filter(turns, lambda x:
            x.prompt IS NULL OR trim(x.prompt) = '' OR len(x.response) <> 1 OR len(x.response[1]) <> 1
            OR trim(x.response[1][1]) = '')) > 0"""
        if db.execute(bad).fetchone() != (0,):
            raise SystemExit("a row does not fit")
        db.execute(
            f"""COPY (SELECT any_value(line) FROM (SELECT row_number() OVER () AS n,
            to_json(list_transform(turns, lambda x: {{'prompt': trim(regexp_replace(x.prompt, ' +', ' ', 'g')),
            'response': x.response}})) AS line FROM kept
            WHERE len(list_filter(turns, lambda x: length(x.response[1][1]) < {SHORTEST})) = 0)
            GROUP BY line::VARCHAR ORDER BY min(n))
            TO '{target}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01')"""
        )
    return counted(target)


def datasets(source: str, target: str) -> int:
    """Hugging Face datasets: rows in an Arrow file, functions on them, JSON lines out."""
    import tempfile

    import orjson
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()

    def rows() -> Any:
        with open(source, "rb") as lines:
            for line in lines:
                yield {"turns": orjson.loads(line)}

    seen: set[int] = set()

    def is_new(row: dict[str, Any]) -> bool:
        key = hash(orjson.dumps(row["turns"]))
        known = key in seen
        seen.add(key)
        return not known

    with tempfile.TemporaryDirectory() as cache:
        found = Dataset.from_generator(rows, cache_dir=cache)
        if not all(is_conversation(row["turns"]) for row in found):
            raise SystemExit("a row does not fit")
        found = found.filter(lambda row: long_enough(row["turns"])).map(
            lambda row: {"turns": tidy(row["turns"])}
        )
        found.filter(is_new).to_json(target)
    return counted(target)


def near(source: str, target: str) -> int:
    """Ours with near duplicates: rows whose texts are nearly the same are one."""
    from qianfan.dataset import Dataset

    Dataset.load(data_file=source).dedup(near=True).save(data_file=target, show_progress=False)
    return counted(target)


def capped(source: str, target: str) -> int:
    """Ours, in less address space than the file has bytes; it also counts the rows and picks the last."""
    import orjson

    from qianfan.dataset import Dataset

    room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = room + (192 << 20)
    if Path(source).stat().st_size < limit:
        raise SystemExit("the file is smaller than the memory")
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    count = ours(source, target)
    dataset = Dataset.load(data_file=target)
    assert len(dataset) == count
    assert dataset[count - 1] == orjson.loads(dataset_end(target))
    return count


def dataset_end(path: str) -> bytes:
    """The last line of a file."""
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - (1 << 16)))
        return file.read().splitlines()[-1]


def counted(target: str) -> int:
    count = 0
    with open(target, "rb") as file:
        while piece := file.read(1 << 20):
            count += piece.count(b"\n")
    return count


SIDES: dict[str, Callable[[str, str], int]] = {
    one.__name__: one for one in (ours, loop, polars, duckdb, datasets, near, capped)
}

if __name__ == "__main__":
    main()
