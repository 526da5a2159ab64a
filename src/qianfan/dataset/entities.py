"""Single records of a dataset that stays on the platform: listed by number, each fetched from its own link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from qianfan.config import get_config
from qianfan.contract.entities import PAGE
from qianfan.contract.enums import DataTemplateType
from qianfan.dataset.upload import download, transport_options
from qianfan.errors import InvalidArgumentError, RequestError
from qianfan.resources import Data

if TYPE_CHECKING:
    from qianfan.dataset.sources import QianfanDataSource

_ADVICE: Final = "as in ds[5], or ds[2:5] for the four records 2, 3, 4 and 5; download the dataset for more"


def fetch(source: QianfanDataSource, key: int | slice, **options: Any) -> list[dict[str, Any]]:
    """Records of the dataset as `[{"entity_id": …, "entity_content": …}]`, in order; fewer where it ends.

    key: a number, from 0, or a closed slice with both ends. A content is the line of the record as text, or the
    bytes of a picture. options: of the calls (ak, sk, …), and filters of `Data.list_all_entity_in_dataset`.
    Raises ValueError for another key, RequestError when a content cannot be fetched in
    GET_ENTITY_CONTENT_FAILED_RETRY_TIMES tries."""
    first, last = _bounds(key)
    return [
        {"entity_id": item["id"], "entity_content": _content(source, item)}
        for item in _items(source, first, last, options)
    ]


def _bounds(key: int | slice) -> tuple[int, int]:
    """(first, last) record of a key."""
    if isinstance(key, slice):
        first, last = key.start, key.stop
        if not _is_number(first) or not _is_number(last) or key.step not in (None, 1):
            raise InvalidArgumentError("a slice of a cloud dataset has a start and a stop", advice=_ADVICE)
        if first > last:
            raise InvalidArgumentError(f"the slice {first}:{last} ends before it begins", advice=_ADVICE)
        return first, last
    if not _is_number(key):
        raise InvalidArgumentError(
            f"a cloud dataset gives records by number, not by {key!r}"[:200], advice=_ADVICE
        )
    return key, key


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _items(
    source: QianfanDataSource, first: int, last: int, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    keys = {name: value for name, value in (("ak", source.ak), ("sk", source.sk)) if value}
    filters = {name: value for name, value in options.items() if name in _FILTERS}
    while first <= last:
        size = min(PAGE, last - first + 1)
        answer = Data.list_all_entity_in_dataset(
            source.id, first, size, **filters, **{**keys, **transport_options(options)}
        )
        items = answer["result"]["items"]
        yield from items
        if len(items) < size:
            return
        first += size


_FILTERS: Final = ("import_time_closure", "annotating_time_closure", "listing_type", "label_id_str")


def _content(source: QianfanDataSource, item: dict[str, Any]) -> str | bytes:
    tries = max(1, get_config().GET_ENTITY_CONTENT_FAILED_RETRY_TIMES)
    for left in reversed(range(tries)):
        try:
            raw = download(item["url"])
            break
        except (RequestError, OSError):
            if not left:
                raise
    return raw if source.template_type is DataTemplateType.Text2Image else raw.decode("utf-8")
