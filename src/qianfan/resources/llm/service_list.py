"""Models of the account that the table of presets lacks: the platform's list of services, kept for a while.

Only asked with IAM keys, and only for names that the table does not know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from qianfan.config import get_config
from qianfan.contract.routes import CONSOLE_PREFIX

REFRESH_S: Final = 600.0  # QIANFAN_INFER_RESOURCE_REFRESH_INTERVAL


@dataclass(frozen=True)
class Services:
    """What the list said: kind → (name in lower case → (name, path behind the prefix, `/chat/x`))."""

    by_kind: Mapping[str, Mapping[str, tuple[str, str]]] = field(default_factory=dict)
    at: float = 0.0  # monotonic seconds

    def names(self, *kinds: str) -> set[str]:
        """Names of some kinds."""
        return {name for kind in kinds for name, _ in self.by_kind.get(kind, {}).values()}

    def path(self, model: str, *kinds: str) -> str | None:
        """Path of a model behind the prefix of inference, or None."""
        found = (self.by_kind.get(kind, {}).get(model.lower()) for kind in kinds)
        return next((path for one in found if one for _, path in (one,)), None)


class ServiceLists:
    """Lists by console and access key. One thread asks at a time; the others wait and take its answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lists: dict[tuple[str, str], Services] = {}
        self._lock = Lock()
        self._clock = clock

    def get(self, access_key: str, secret_key: str, older_than: Services | None = None) -> Services:
        """The list, asked for when there is none, when it is too old, or when it is `older_than`."""
        with self._lock:
            services = self._kept(access_key, older_than)
            if services is None:
                from qianfan.resources.console.service import Service  # most programs ask for no list

                answer = Service.list(ak=access_key, sk=secret_key)
                services = Services(read(answer.body), self._clock())
                self._lists[get_config().CONSOLE_API_BASE_URL, access_key] = services
            return services

    async def aget(self, access_key: str, secret_key: str, older_than: Services | None = None) -> Services:
        """The same for asyncio: in a thread, so that tasks and threads share one question."""
        services = self._kept(access_key, older_than)
        if services is None:
            import asyncio  # not needed by programs that are synchronous

            services = await asyncio.to_thread(self.get, access_key, secret_key, older_than)
        return services

    def _kept(self, access_key: str, older_than: Services | None) -> Services | None:
        config = get_config()
        services = self._lists.get((config.CONSOLE_API_BASE_URL, access_key))
        asked_for = config.INFER_RESOURCE_REFRESH_INTERVAL
        life_s = REFRESH_S if asked_for is None else float(asked_for)
        if services is None or services is older_than or self._clock() - services.at >= life_s:
            return None
        return services


def read(body: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, str]]]:
    """Services of an answer by kind and name. Of one name counts the first that answers, your own before others."""
    result = body.get("result")
    rows = result if isinstance(result, Mapping) else {}
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for row in [*sorted(rows.get("custom") or (), key=_is_away), *(rows.get("common") or ())]:
        name, url = row.get("name"), row.get("url")
        if not isinstance(name, str) or not isinstance(url, str) or not name or not url:
            continue
        _, mark, path = url.partition(CONSOLE_PREFIX)
        kind, _, endpoint = path.strip("/").partition("/")
        if not mark or not endpoint:  # only the end of the address: the type says the rest
            kind, endpoint = str(row.get("apiType") or ""), url.rstrip("/").rpartition("/")[2]
        if kind and endpoint:
            found.setdefault(kind, {}).setdefault(name.lower(), (name, f"/{kind}/{endpoint}"))
    return found


def _is_away(row: Mapping[str, Any]) -> bool:
    """Whether a service says that it does not answer now: it is stopped, failed, or not there yet."""
    versions = row.get("versionList") or ()
    return bool(versions) and all(version.get("serviceStatus") not in (None, "Done") for version in versions)


LISTS: Final = ServiceLists()  # of this process
