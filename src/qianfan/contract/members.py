"""Members that a JSON object has twice. Parsers keep the last one in silence; a reader may have meant the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def repeated(raw: bytes, parsed: Any, dumps: Callable[[Any], bytes]) -> str | None:
    """The name of a member that some object in `raw` has twice, None when there is none.

    parsed: what `raw` became. dumps: writes it as JSON again, with colons of texts as they are. Exact, and cheap
    where nothing is repeated: every member has one colon, so that both have as many; only when the numbers differ
    the text is read again."""
    colons = raw.count(b":")
    if type(parsed) is dict:
        members = len(parsed)
    elif type(parsed) is list:
        members = sum([len(item) for item in parsed if type(item) is dict])
    else:
        return None
    if colons == members:
        return None
    if b"\\u003" not in raw and colons == _written(parsed, dumps):  # \u003a is a colon, too
        return None
    return _first_repeated(raw)


def _written(parsed: Any, dumps: Callable[[Any], bytes]) -> int:
    try:
        return dumps(parsed).count(b":")
    except (TypeError, ValueError):  # deeper than the writer goes
        return _colons(parsed)


def _colons(parsed: Any) -> int:
    """How many colons the JSON of this has without escapes: one for each member, and those in texts."""
    count = 0
    waiting = [parsed]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is str:
            count += value.count(":")
        elif kind is list:
            waiting.extend(value)
        elif kind is dict:
            count += len(value)
            waiting.extend(value.values())
            for name in value:
                count += name.count(":")
    return count


class _Repeated(Exception):
    pass


def _first_repeated(raw: bytes) -> str | None:
    def members(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Repeated(name)
            seen.add(name)

    try:
        json.loads(raw, object_pairs_hook=members, parse_int=float, parse_float=float)
    except _Repeated as found:
        return str(found)
    except RecursionError:  # deeper than this parser goes, and not too deep for the other
        return "(deep inside)"
    return None
