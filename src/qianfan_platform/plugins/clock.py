"""What time it is, in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

from qianfan.contract.errors import PARAMETER, Fault

_DAYS: Final = ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"]
_CITIES: Final = {
    "beijing": "Asia/Shanghai", "北京": "Asia/Shanghai", "上海": "Asia/Shanghai", "shanghai": "Asia/Shanghai",
    "中国": "Asia/Shanghai", "china": "Asia/Shanghai", "香港": "Asia/Hong_Kong", "hong kong": "Asia/Hong_Kong",
    "台北": "Asia/Taipei", "taipei": "Asia/Taipei", "东京": "Asia/Tokyo", "tokyo": "Asia/Tokyo",
    "新加坡": "Asia/Singapore", "singapore": "Asia/Singapore", "伦敦": "Europe/London", "london": "Europe/London",
    "巴黎": "Europe/Paris", "paris": "Europe/Paris", "柏林": "Europe/Berlin", "berlin": "Europe/Berlin",
    "纽约": "America/New_York", "new york": "America/New_York", "洛杉矶": "America/Los_Angeles",
    "los angeles": "America/Los_Angeles", "悉尼": "Australia/Sydney", "sydney": "Australia/Sydney",
    "莫斯科": "Europe/Moscow", "moscow": "Europe/Moscow", "utc": "UTC", "gmt": "UTC",
}  # fmt: skip


def now(zone: str = "", moment: datetime | None = None) -> str:
    """Date, time, day of the week and zone, such as `2026-11-21 17:00:00 Saturday (Asia/Shanghai)`.

    zone: a name such as `Asia/Shanghai`, a city, `UTC+8`; "" is the server's own. Raises Fault."""
    moment = moment or datetime.now(UTC)
    there = moment.astimezone(_zone(zone)) if zone.strip() else moment.astimezone()
    name = _CITIES.get(zone.strip().lower()) or zone.strip() or there.tzname() or "local"
    day = f"{there:%A} {_DAYS[there.weekday()]}"
    return f"{there:%Y-%m-%d %H:%M:%S} {day} ({name})"


def zone_named(text: str) -> str:
    """The time zone of a city that `text` names; "" when it names none."""
    low = text.lower()
    return next((zone for city, zone in _CITIES.items() if city in low), "")


def _zone(text: str) -> ZoneInfo | timezone:
    text = text.strip()[:64]
    offset = text.upper().removeprefix("UTC").removeprefix("GMT")
    try:
        if offset[:1] in ("+", "-"):
            hours, _, minutes = offset[1:].partition(":")
            shift = timedelta(hours=int(hours), minutes=int(minutes or 0))
            return timezone(-shift if offset[0] == "-" else shift)
        return ZoneInfo(_CITIES.get(text.lower(), text))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise Fault(
            PARAMETER, f"there is no time zone {text!r}", "name one such as Asia/Shanghai or UTC+8"
        ) from None


def without_cities(text: str) -> str:
    """`text` in lower case without the cities that are known here."""
    low = text.lower()
    for city in sorted(_CITIES, key=len, reverse=True):
        low = low.replace(city, " ")
    return low
