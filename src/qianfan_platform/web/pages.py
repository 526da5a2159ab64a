"""Pages of V2 lists: a marker names the first item of a page."""

from __future__ import annotations

from typing import Any


def page_info(marker: Any, size: int, following: str | None) -> dict[str, Any]:
    """`pageInfo` of an answer. marker: as asked. following: the first item of the next page, None on the last."""
    info: dict[str, Any] = {
        "marker": "" if marker is None else str(marker),
        "maxKeys": size,
        "isTruncated": following is not None,
    }
    return {**info, "nextMarker": following} if following is not None else info
