"""The four ways the interface writes a time. All take an aware datetime, or None for "not yet"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))


def plain(moment: datetime | None) -> str:
    """`2024-01-02 03:04:05`, in local time, without a zone: datasets and V1 fine-tuning."""
    if moment is None:
        return "0000-00-00 00:00:00"
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def zulu(moment: datetime | None) -> str:
    """`2024-01-02T03:04:05Z`: V2."""
    if moment is None:
        return "0000-00-00T00:00:00Z"
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def china(moment: datetime | None) -> str:
    """`2024-01-02T11:04:05+08:00`: models."""
    return "" if moment is None else moment.astimezone(CHINA).isoformat(timespec="seconds")


def unix(moment: datetime | None) -> int:
    """Seconds since 1970: services. 0 when not yet."""
    return 0 if moment is None else int(moment.timestamp())
