"""Routes of models: made once for each path, and put under the prefix that the settings have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote

from qianfan.config import get_config
from qianfan.contract.routes import INFERENCE_PREFIX, Route, inference_path


@dataclass(frozen=True)
class Unlisted(Route):
    """The route of a model that only the list of services can name."""

    model: str = ""


@lru_cache(1024)
def endpoint_route(kind: str, endpoint: str) -> Route:
    """Route of a service by its endpoint."""
    return Route(inference_path(kind, endpoint), "inference")


@lru_cache(1024)
def own_route(path: str) -> Route:
    """Route of a path behind the prefix that is taken as it is."""
    return Route(f"{INFERENCE_PREFIX}/{quote(path, safe='/-_.~%:@')}", "inference")


@lru_cache(1024)
def preset_route(kind: str, path: str) -> Route:
    """Route of a model of the table; some have a path of their own."""
    whole = f"{INFERENCE_PREFIX}{path}" if path.startswith("/") else inference_path(kind, path)
    return Route(whole, "inference")


@lru_cache(1024)
def unlisted_route(model: str) -> Route:
    """Route that is still to be looked up."""
    return Unlisted("", "inference", model=model)


@lru_cache(16)
def v2_route(path: str) -> Route:
    """Route on the OpenAI-shaped interface."""
    return Route(path, "openai")


def prefixed(route: Route) -> Route:
    """The route under the prefix of inference that the settings have."""
    prefix = str(get_config().MODEL_API_PREFIX)
    if prefix == INFERENCE_PREFIX or not route.path.startswith(INFERENCE_PREFIX):
        return route
    return replace(route, path=f"/{prefix.strip('/')}{route.path.removeprefix(INFERENCE_PREFIX)}")
