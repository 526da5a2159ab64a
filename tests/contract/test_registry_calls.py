"""Every method of Model and Service, blocking and awaited: one and the same answer of a real platform."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from qianfan.errors import APIError, QianfanError
from qianfan.resources import Model, Service

NOBODY = {"model": "am-nobodyknows1", "version": "amv-nobodyknows1", "service": "svco-nobodyknows1"}
META = {"taskId": 999_999, "iterationId": 999_999}
TODAY = "2026-01-31T00:00:00Z"
REFUSED = {  # what needs a thing that is not there: arguments, and what is said of it
    (Model, "publish"): ((True, META, "m"), "run 999999 does not exist"),
    (Model, "batch_delete_model"): (([NOBODY["model"]],), "does not exist"),
    (Model, "batch_delete_model_version"): (([NOBODY["version"]],), "does not exist"),
    (Model.V2, "delete_model_set"): ((NOBODY["model"],), "does not exist"),
    (Model.V2, "create_custom_model"): ((NOBODY["model"], "Train", {"taskId": 1}), "does not exist"),
    (Model.V2, "delete_model"): ((NOBODY["version"],), "does not exist"),
    (Model.V2, "create_model_export_task"): ((NOBODY["version"],), "does not exist"),
    (Model.V2, "describe_model_export_task"): ((NOBODY["version"],), "does not exist"),
    (Model.V2, "describe_model_system_advanced_conf"): (("Text2Text",), "not taken here"),
    (Model.V2, "describe_model_custom_advanced_conf"): ((NOBODY["version"],), "not taken here"),
    (Model.V2, "create_model_comp_task"): (("n", NOBODY["version"], NOBODY["model"], {}), "not compressed here"),
    (Model.V2, "describe_model_comp_tasks"): ((), "not compressed here"),
    (Model.V2, "describe_model_comp_task"): (("x",), "not compressed here"),
    (Model.V2, "cancel_model_comp_task"): (("x",), "not compressed here"),
    (Model.V2, "delete_model_comp_task"): (("x",), "not compressed here"),
    (Model.V2, "set_model_gate"): ((NOBODY["model"], "tiny"), "does not exist"),
    (Model.V2, "describe_model_gate"): ((NOBODY["model"],), "does not exist"),
    (Model.V2, "delete_model_gate"): ((NOBODY["model"],), "does not exist"),
    (Service, "create"): ((NOBODY["model"], NOBODY["version"], "n", "u"), "does not exist"),
    (Service, "get"): ((NOBODY["service"],), "does not exist"),
    (Service, "update"): ((NOBODY["service"], NOBODY["model"], NOBODY["version"]), "does not exist"),
    (Service, "scale"): ((NOBODY["service"], 2), "does not exist"),
    (Service, "stop"): ((NOBODY["service"],), "does not exist"),
    (Service, "start"): ((NOBODY["service"],), "does not exist"),
    (Service, "delete"): ((NOBODY["service"],), "does not exist"),
    (Service.V2, "create_service"): ((NOBODY["model"], NOBODY["version"], "n", "u"), "does not exist"),
    (Service.V2, "modify_service"): ((NOBODY["service"], NOBODY["model"], NOBODY["version"]), "does not exist"),
    (Service.V2, "scale_service"): ((NOBODY["service"], 2), "does not exist"),
    (Service.V2, "stop_service"): ((NOBODY["service"],), "does not exist"),
    (Service.V2, "start_service"): ((NOBODY["service"],), "does not exist"),
    (Service.V2, "delete_service"): ((NOBODY["service"],), "does not exist"),
}  # fmt: skip
EVALUATION = {name for name in vars(Model) if "evaluation" in name}  # told in test_evaluation_calls


@pytest.fixture(scope="module")
def answered(platform: Embedded) -> Iterator[dict[tuple[Any, str], tuple[Any, ...]]]:
    """Arguments of what can be answered, of a set of one's own and of presets."""
    with embedded.configured(platform.environment):
        own = Model.V2.create_custom_model_set("called in both ways")["result"]["modelSetId"]
        preset = Model.preset_list(page_size=1)["result"]["items"][0]
        service = Service.V2.describe_preset_services()["result"]["serviceList"][0]["serviceId"]
        yield {
            (Model, "list"): (own,),
            (Model, "detail"): (preset["versionSummaries"][0]["versionIdStr"],),
            (Model, "user_list"): ("called",),
            (Model, "preset_list"): ("ERNIE",),
            (Model, "evaluable_model_list"): (),
            (Model.V2, "describe_system_model_sets"): (preset["modelIdStr"], 3, True),
            (Model.V2, "describe_custom_model_sets"): (own, 1),
            (Model.V2, "describe_model_set"): (own,),
            (Model.V2, "describe_model"): (preset["versionSummaries"][0]["versionIdStr"],),
            (Service, "list"): (["chat"],),
            (Service.V2, "describe_service"): (service,),
            (Service.V2, "describe_services"): (None, 5, True, "nobody's"),
            (Service.V2, "describe_service_metric"): (TODAY, TODAY, [service]),
            (Service.V2, "describe_preset_services"): ([service],),
        }
        Model.V2.delete_model_set(own)


def methods() -> set[tuple[Any, str]]:
    """All that send something."""
    return {
        (where, name)
        for where in (Model, Model.V2, Service, Service.V2)
        for name in vars(where)
        if hasattr(getattr(where, name), "aio") and (where is not Model or name not in EVALUATION)
    }


def test_every_method_is_tried(answered: dict[tuple[Any, str], Any]) -> None:
    """A new one is to be added here."""
    assert methods() == {*answered, *REFUSED, (Model.V2, "create_custom_model_set")}


def test_what_is_answered_is_the_same_in_both_ways(
    configured: Embedded, answered: dict[tuple[Any, str], tuple[Any, ...]]
) -> None:
    """The whole result, not only its members."""

    async def awaited() -> list[Any]:
        return [
            (await getattr(where, name).aio(*given))["result"] for (where, name), given in answered.items()
        ]

    blocking = [getattr(where, name)(*given)["result"] for (where, name), given in answered.items()]
    assert all(blocking[n] for n in range(len(blocking))), "nothing to compare"
    assert asyncio.run(awaited()) == blocking


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: f"{key[0].__name__}.{key[1]}")
def test_what_is_refused_is_raised_in_both_ways(configured: Embedded, key: tuple[Any, str]) -> None:
    """The class of the error, its code and its words."""
    arguments, says = REFUSED[key]
    method = getattr(*key)
    kinds = (APIError, QianfanError)
    with pytest.raises(kinds, match=says) as blocking:
        method(*arguments)
    with pytest.raises(kinds, match=says) as awaited:
        asyncio.run(method.aio(*arguments))
    assert type(blocking.value) is type(awaited.value)
    codes = [getattr(told.value, "error_code", None) for told in (blocking, awaited)]
    assert codes[0] == codes[1]
