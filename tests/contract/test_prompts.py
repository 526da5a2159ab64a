"""Prompt templates through the SDK, against a platform: every method, both generations, hostile values."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from qianfan import ChatCompletion, embedded
from qianfan.common import Prompt, hub
from qianfan.consts import PromptSceneType, PromptType
from qianfan.embedded import Embedded
from qianfan.errors import APIError, InvalidArgumentError
from qianfan.resources import Prompt as PromptResource

IDENTIFIERS = ("{}", "{{}}", "[]", "[[]]", "()", "(())")
POEM = "Write a poem about {topic} in {line_count} lines."


@pytest.fixture(autouse=True)
def _configured(echoing: Embedded) -> Iterator[None]:
    with embedded.configured(echoing.environment):
        yield


def made(name: str, template: str = POEM, **kwargs: Any) -> Any:
    answer = PromptResource.create(name=name, template=template, **kwargs)
    assert answer["success"] is True
    assert answer["status"] == 200
    return answer["result"]


def test_a_template_is_created_rendered_changed_listed_and_deleted() -> None:
    """The whole life of a template, by its int id and by its string id."""
    ids = made("life")
    assert isinstance(ids["templateId"], int)
    assert ids["templatePK"].startswith("pt-")
    for ident in (ids["templateId"], str(ids["templateId"]), ids["templatePK"]):
        row = PromptResource.info(ident, topic="rivers", line_count=4)["result"]
        assert row["content"] == "Write a poem about rivers in 4 lines."
        assert row["templateContent"] == POEM
        assert row["templateVariables"] == "topic,line_count"
        assert row["labels"] == []
        assert row["type"] == PromptType.User
    PromptResource.update(
        ids["templatePK"], name="life again", template="Sing of [topic_a].", identifier="[]"
    )
    row = PromptResource.info(ids["templateId"], topic_a="wine")["result"]
    assert (row["templateName"], row["content"], row["templateVariables"]) == (
        "life again",
        "Sing of wine.",
        "topic_a",
    )
    listed = PromptResource.list(name="life again")["result"]
    assert listed["total"] == 1
    assert listed["items"][0]["templatePK"] == ids["templatePK"]
    assert PromptResource.delete(ids["templateId"])["result"] is True
    assert PromptResource.list(name="life again")["result"]["total"] == 0


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_every_identifier_marks_variables_on_both_sides(identifier: str) -> None:
    """What the SDK finds in a template, the platform finds and renders too."""
    half = len(identifier) // 2
    left, right = identifier[:half], identifier[half:]
    text = f"Go to {left}place_1{right} by {left}way{right}, then {left}place_1{right}"
    ids = made(f"marks {identifier}", text, identifier=identifier)
    row = PromptResource.info(ids["templateId"], place_1="Xi'an", way="train")["result"]
    assert row["templateVariables"] == "place_1,way,place_1"
    assert row["content"] == "Go to Xi'an by train, then Xi'an"
    local = Prompt(text, identifier=identifier)
    assert local.render(place_1="Xi'an", way="train") == (row["content"], None)


def test_nothing_in_a_value_is_interpreted() -> None:
    """A value that looks like a variable, a template or a program stays as it is."""
    hostile = "{second}{{ 7*7 }}{% for x in y %}${secret}\\1 \\g<0> <|im_start|>"
    ids = made("hostile values", "first {first} second {second}")
    row = PromptResource.info(ids["templateId"], first=hostile, second="{first}")["result"]
    assert row["content"] == f"first {hostile} second {{first}}"
    assert (
        Prompt("first {first} second {second}").render(first=hostile, second="{first}")[0] == row["content"]
    )


def test_a_missing_value_leaves_the_placeholder_on_the_platform_and_is_an_error_in_hand() -> None:
    """The platform renders what it can; a local prompt names what is missing."""
    ids = made("half")
    assert PromptResource.info(ids["templateId"], topic="tea")["result"]["content"] == (
        "Write a poem about tea in {line_count} lines."
    )
    with pytest.raises(InvalidArgumentError, match="line_count"):
        Prompt(POEM).render(topic="tea")


def test_a_taken_name_an_unknown_id_and_a_preset_are_refused_in_words() -> None:
    """Each refusal says what happened, to what."""
    made("taken")
    with pytest.raises(APIError, match="'taken' is taken"):
        PromptResource.create(name="taken", template=POEM)
    with pytest.raises(APIError, match="does not exist"):
        PromptResource.info(987654321)
    preset = PromptResource.list(type=PromptType.Preset)["result"]["items"][0]
    with pytest.raises(APIError, match="ships with the platform and cannot be deleted"):
        PromptResource.delete(preset["templateId"])
    with pytest.raises(APIError, match="ships with the platform and cannot be changed"):
        PromptResource.update(preset["templatePK"], name="mine")


def test_an_image_template_has_a_negative_side() -> None:
    """Negative texts count for images, and are dropped for texts."""
    ids = made(
        "poster",
        "a poster of {thing}",
        scene=PromptSceneType.Text2Image,
        negative_template="no {bad_thing}",
    )
    row = PromptResource.info(ids["templateId"], thing="tea", bad_thing="text")["result"]
    assert (row["content"], row["negativeContent"]) == ("a poster of tea", "no text")
    assert row["negativeTemplateVariables"] == "bad_thing"
    local = hub.load("prompt/poster")
    assert local.render(thing="tea", bad_thing="text") == ("a poster of tea", "no text")
    plain = made("no poster", negative_template="no {bad_thing}")
    assert "negativeContent" not in PromptResource.info(plain["templateId"])["result"]


def test_labels_filter_templates() -> None:
    """Labels of the platform and of the account choose templates, alone and together."""
    labels = PromptResource.list_labels(page_size=100)["result"]
    first, second = labels["items"][0]["labelId"], labels["items"][1]["labelId"]
    one = made("labelled one", label_ids=[first])
    both = made("labelled both", label_ids=[first, second])

    def found(*numbers: int) -> set[int]:
        rows = PromptResource.list(name="labelled", label_ids=list(numbers))["result"]["items"]
        return {row["templateId"] for row in rows}

    assert found(first) == {one["templateId"], both["templateId"]}
    assert found(second) == {both["templateId"]}
    assert found(first, second) == {one["templateId"], both["templateId"]}
    assert found(424242) == set()
    PromptResource.update(both["templateId"], label_ids=[second])
    assert found(first) == {one["templateId"]}
    presets = PromptResource.list(type=PromptType.Preset, label_ids=[first])["result"]
    assert presets["total"] >= 1
    assert all(first in [label["labelId"] for label in row["labels"]] for row in presets["items"])


def test_every_preset_renders_and_the_hub_loads_it() -> None:
    """What ships with the platform is whole: listed, loadable, its variables renderable."""
    listed = PromptResource.list(type=PromptType.Preset, page_size=200)["result"]
    assert listed["total"] == len(listed["items"]) >= 15
    scenes = {row["sceneType"] for row in listed["items"]}
    assert scenes == {1, 2}
    for row in listed["items"]:
        prompt = hub.load(f"prompt/{row['templateName']}")
        values = {name: f"<{name}>" for name in {*prompt.variables, *prompt.negative_variables}}
        text, negative = prompt.render(**values)
        assert all(f"<{name}>" in text for name in prompt.variables)
        assert (negative is not None) == (row["sceneType"] == 2)


def test_the_hub_pushes_and_loads_again() -> None:
    """A local prompt becomes one of the platform's; pushed again, it changes."""
    prompt = Prompt("Say {what}", name="pushed")
    assert hub.push(prompt).id is not None
    prompt.template = "Say {what} twice"
    hub.push(prompt)
    again = hub.load("prompt/pushed")
    assert (again.id, again.render(what="hi")[0]) == (prompt.id, "Say hi twice")
    again.delete()
    with pytest.raises(InvalidArgumentError, match="no prompt called"):
        hub.load("prompt/pushed")
    with pytest.raises(APIError, match="does not exist"):
        Prompt("Say {what}", name="gone", id="pt-0000000000000000").upload()


def test_a_model_improves_a_prompt_and_keeps_its_variables() -> None:
    """The optimisation is a job that really asks the model; what the model drops is put back."""
    prompt = Prompt("Describe {place_name} briefly", name="to improve")
    better = prompt.optimize(iteration_round=2)
    assert better.template
    assert "{place_name}" in better.template
    assert better.render(place_name="Xi'an")[0] != better.template


def test_an_optimisation_that_no_model_can_do_fails_with_the_reason() -> None:
    """An unknown service is named, in the task and in the error."""
    task = PromptResource.create_optimiztion_task(
        "Hello", [{"opType": 1, "payload": 1}], service_name="nobody-serves-this"
    )["result"]["id"]
    row: Any = {}
    for _ in range(100):
        row = PromptResource.get_optimization_task(task)["result"]
        if row["processStatus"] != 1:
            break
        time.sleep(0.1)
    assert row["processStatus"] == 3
    assert "nobody-serves-this" in row["reason"]
    assert row["operations"] == [{"opType": 1, "payload": 1}]


def test_scores_are_indexed_by_scene_and_prompt() -> None:
    """Exact, by pattern, and by meaning; a mapping of answers counts as its values."""
    data: list[Any] = [
        {"scene": "Beijing", "response_list": [" Beijing\n", "Shanghai"]},
        {"scene": "^4[0-9]$", "response_list": {"a": "42", "b": "52"}},
    ]
    assert PromptResource.evaluation_score(3, data)["result"]["scores"] == [[1.0, 0.0], [0.0, 0.0]]
    assert PromptResource.evaluation_score(2, data)["result"]["scores"] == [[1.0, 0.0], [1.0, 0.0]]
    [first, _] = PromptResource.evaluation_score(1, data)["result"]["scores"]
    assert first[0] > first[1] >= 0


def test_a_pattern_that_never_ends_and_one_that_is_none_are_refused() -> None:
    """A hostile pattern costs a second, not the server."""
    begun = time.monotonic()
    with pytest.raises(APIError, match="longer than"):
        PromptResource.evaluation_score(2, [{"scene": "(a|aa)+$", "response_list": ["a" * 60 + "b"]}])
    assert time.monotonic() - begun < 10
    with pytest.raises(APIError, match="no regular expression"):
        PromptResource.evaluation_score(2, [{"scene": "(", "response_list": ["a"]}])


def test_prompts_are_compared_scene_by_scene() -> None:
    """The high-level evaluation renders, asks, scores and sums up."""
    prompts = [Prompt("Say {word_a}"), Prompt("{word_a}")]
    scenes = [
        {"args": {"word_a": "tea"}, "expected": "tea"},
        {"args": {"word_a": "wine"}, "expected": "wine"},
    ]
    results = Prompt.evaluate(prompts, scenes, ChatCompletion())
    assert [len(result["scene"]) for result in results] == [2, 2]
    assert all(result["summary"] for result in results)
    assert all(0 <= one["score"] <= 1 and one["response"] for result in results for one in result["scene"])
    assert results[0]["scene"][1]["new_prompt"] == "Say wine"


def test_the_second_interface_speaks_of_the_same_templates() -> None:
    """V2: string ids, variables as a list, labels by name, markers that name the first item."""
    v2 = PromptResource.V2
    first = v2.create("v2 first", POEM, labels=["v2 label"])["result"]["templateId"]
    second = v2.create("v2 second", "{other}")["result"]["templateId"]
    row = v2.info(first, topic="tea", line_count="2")["result"]
    assert row["content"] == "Write a poem about tea in 2 lines."
    assert row["templateVariables"] == ["topic", "line_count"]
    assert [label["labelName"] for label in row["labels"]] == ["v2 label"]
    page = v2.list(name="v2 ", max_keys=1)["result"]
    assert [item["templateId"] for item in page["items"]] == [second]
    assert page["pageInfo"]["isTruncated"]
    assert page["pageInfo"]["nextMarker"] == first
    page = v2.list(name="v2 ", marker=first)["result"]
    assert [item["templateId"] for item in page["items"]] == [first]
    assert [item["templateId"] for item in v2.list(name="v2 ", page_reverse=True)["result"]["items"]] == [
        first,
        second,
    ]
    v2.update(first, template_content="Only {topic}")
    assert PromptResource.info(first, topic="tea")["result"]["content"] == "Only tea"
    labels = v2.list_labels(max_keys=100)["result"]["items"]
    label = next(item for item in labels if item["labelName"] == "v2 label")
    assert v2.delete_label(label["labelId"])["result"] is True
    assert PromptResource.info(first)["result"]["labels"] == []
    assert v2.delete(first)["result"] is True
    assert v2.list(type="System", max_keys=100)["result"]["items"][0]["type"] == "System"


def test_the_command_keeps_renders_improves_and_deletes(
    scripts: Any, echoing: Embedded, tmp_path: Any
) -> None:
    """`qianfan prompt` from a file to the platform and back."""
    import json
    import os
    import subprocess
    import sys

    file = tmp_path / "poem.txt"
    file.write_text(POEM, encoding="utf-8")
    environment = {**os.environ, **echoing.environment}

    def run(*words: str) -> str:
        line = [sys.executable, "-m", "qianfan.cli.main", "prompt", *words]
        ran = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    ident = run("save", str(file)).strip()
    assert ident.startswith("pt-")
    assert run("render", "poem", "topic=tea", "line_count=2").strip() == "Write a poem about tea in 2 lines."
    listed = json.loads(run("list", "poem", "--json"))["prompts"]
    assert ident in [row["templatePK"] for row in listed]
    assert "{topic}" in run("optimize", ident)
    run("delete", "poem")
    assert ident not in run("list", "poem", "--json")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "two\nlines", "\u202egnp.exe", "<script>alert(1)</script>", "a%_b"]
)
def test_a_hostile_name_is_a_text(name: str) -> None:
    """Stored and found as it is written; a path is no path, a pattern no pattern."""
    ids = made(name)
    assert PromptResource.info(ids["templateId"])["result"]["templateName"] == name
    listed = PromptResource.list(name=name)["result"]
    assert [row["templateName"] for row in listed["items"]] == [name]
    assert hub.load(f"prompt/{name}").id == ids["templatePK"]
