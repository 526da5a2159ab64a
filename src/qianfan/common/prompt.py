"""A prompt template in hand: render it, keep it in a file or on the platform, improve it, compare it."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from qianfan.common.frameworks import base_prompt, crispe_prompt, fewshot_prompt
from qianfan.contract import prompt_text
from qianfan.contract.enums import PromptFrameworkType, PromptSceneType, PromptScoreStandard, PromptType
from qianfan.errors import InvalidArgumentError, RequestError
from qianfan.resources.console.prompt import Prompt as PromptResource
from qianfan.resources.console.prompt import variables_of

POLL_S: Final = 1.0  # between two looks at an optimisation, where the platform names no other
OPTIMISE_S: Final = 600.0


class Prompt:
    """A template with variables, such as `Prompt("Tell me about {place}")`.

    template: its text. identifier: what marks variables, `{}` (default), `{{}}`, `[]`, `[[]]`, `()`, `(())`.
    variables: their names; found in the text when not given. negative_template and negative_variables: what an
    image must not show, for scene_type Text2Image. name, id, labels, type, framework_type, creator_name: as the
    platform keeps them; a prompt with an id is one of the platform's.

    Raises InvalidArgumentError for an identifier or a name that cannot be used."""

    base_prompt = staticmethod(base_prompt)
    crispe_prompt = staticmethod(crispe_prompt)
    fewshot_prompt = staticmethod(fewshot_prompt)

    def __init__(
        self,
        template: str = "",
        name: str | None = None,
        id: int | str | None = None,
        identifier: str = "{}",
        variables: builtins.list[str] | None = None,
        labels: builtins.list[Any] | None = None,
        type: PromptType = PromptType.User,
        scene_type: PromptSceneType = PromptSceneType.Text2Text,
        framework_type: PromptFrameworkType = PromptFrameworkType.NotUse,
        negative_template: str | None = None,
        negative_variables: builtins.list[str] | None = None,
        creator_name: str | None = None,
    ) -> None:
        self.id, self.name, self.template, self.identifier = id, name, template, identifier
        self.variables = variables_of(template, identifier) if variables is None else builtins.list(variables)
        self.labels, self.type = builtins.list(labels or ()), PromptType(type)
        self.scene_type, self.framework_type = (
            PromptSceneType(scene_type),
            PromptFrameworkType(framework_type),
        )
        self.negative_template, self.creator_name = negative_template, creator_name
        if negative_variables is None:
            self.negative_variables = variables_of(negative_template or "", identifier)
        else:
            self.negative_variables = builtins.list(negative_variables)

    def __repr__(self) -> str:
        return f"Prompt({self.template[:60]!r}, name={self.name!r}, id={self.id!r})"

    def render(self, **kwargs: Any) -> tuple[str, str | None]:
        """(prompt, negative prompt or None) with the variables' values put in, in one pass.

        What a value holds is never looked at again. Raises InvalidArgumentError for a variable without a value."""
        text = self._rendered(self.template, self.variables, kwargs)
        if self.scene_type is not PromptSceneType.Text2Image or self.negative_template is None:
            return text, None
        return text, self._rendered(self.negative_template, self.negative_variables, kwargs)

    def _rendered(self, template: str, names: Sequence[str], values: Mapping[str, Any]) -> str:
        missing = [name for name in dict.fromkeys(names) if name not in values]
        if missing:
            raise InvalidArgumentError(
                f"the prompt needs a value for {', '.join(missing)}",
                advice="give it as a keyword of render()",
            )
        named = {name: values[name] for name in names}
        return prompt_text.render(template, self.identifier, named)

    # -- files --------------------------------------------------------------------------------------------

    def save_to_file(self, path: str | Path) -> None:
        """Write the prompt as JSON. Raises OSError."""
        kept = {
            "name": self.name,
            "template": self.template,
            "identifier": self.identifier,
            "variables": self.variables,
            "scene_type": self.scene_type.value,
            "framework_type": self.framework_type.value,
            "negative_template": self.negative_template,
            "negative_variables": self.negative_variables,
        }
        Path(path).write_text(json.dumps(kept, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_file(cls, path: str | Path) -> Prompt:
        """A prompt that `save_to_file` wrote; any other text file is a template as it stands.

        Raises OSError, and InvalidArgumentError for a template that cannot be used."""
        text = Path(path).read_text(encoding="utf-8-sig")
        try:
            kept = json.loads(text)
        except json.JSONDecodeError:
            kept = None
        if not isinstance(kept, dict) or not isinstance(kept.get("template"), str):
            return cls(text)
        names = ("name", "identifier", "variables", "negative_template", "negative_variables")
        members = {name: kept[name] for name in names if kept.get(name) is not None}
        return cls(
            kept["template"],
            scene_type=PromptSceneType(kept.get("scene_type", 1)),
            framework_type=PromptFrameworkType(kept.get("framework_type", 0)),
            **members,
        )

    # -- the platform -------------------------------------------------------------------------------------

    @classmethod
    def from_platform(cls, row: Mapping[str, Any]) -> Prompt:
        """A prompt of an item of `Prompt.list` or of the result of `Prompt.info`."""
        return cls(
            row["templateContent"],
            name=row["templateName"],
            id=row.get("templatePK") or row["templateId"],
            identifier=row["variableIdentifier"],
            variables=_names(row.get("templateVariables")),
            labels=builtins.list(row.get("labels") or ()),
            type=PromptType(row["type"]),
            scene_type=PromptSceneType(row["sceneType"]),
            framework_type=PromptFrameworkType(row["frameworkType"]),
            negative_template=row.get("negativeTemplateContent"),
            negative_variables=_names(row.get("negativeTemplateVariables")),
            creator_name=row.get("creatorName"),
        )

    def upload(self, **kwargs: Any) -> Prompt:
        """Keep the prompt on the platform: created when it has no id, else changed. Returns self.

        Raises InvalidArgumentError without a name, and APIError when the platform refuses it."""
        if self.id is None:
            if not self.name:
                raise InvalidArgumentError("a prompt needs a name to be kept", advice="set prompt.name")
            answer = PromptResource.create(
                name=self.name,
                template=self.template,
                identifier=self.identifier,  # type: ignore[arg-type]
                scene=self.scene_type,
                framework=self.framework_type,
                variables=self.variables,
                label_ids=[label["labelId"] for label in self.labels],
                negative_template=self.negative_template,
                negative_variables=self.negative_variables,
                **kwargs,
            )
            self.id = answer["result"]["templatePK"]
        else:
            PromptResource.update(
                id=self.id,
                name=self.name,
                label_ids=[label["labelId"] for label in self.labels] or None,
                template=self.template,
                identifier=self.identifier,  # type: ignore[arg-type]
                negative_template=self.negative_template,
                **kwargs,
            )["result"]
        return self

    def delete(self, **kwargs: Any) -> None:
        """Delete the prompt on the platform; it stays in hand. Raises APIError when it is not yours."""
        if self.id is None:
            return
        PromptResource.delete(self.id, **kwargs)
        self.id = None

    def optimize(
        self,
        quality: bool = True,
        shorten: bool = False,
        iteration_round: int = 1,
        chain_of_thought: bool = False,
        app_id: int | None = None,
        service_name: str | None = None,
        **kwargs: Any,
    ) -> Prompt:
        """A new prompt: this one, improved by a model of the platform. Waits for it.

        iteration_round: 1 or 2. service_name: which chat model works on it. Raises RequestError when that fails or
        takes longer than ten minutes."""
        operations = [
            {"opType": 1, "payload": int(quality)},
            {"opType": 2, "payload": int(shorten)},
            {"opType": 3, "payload": iteration_round},
            {"opType": 4, "payload": int(chain_of_thought)},
        ]
        task = PromptResource.create_optimiztion_task(
            self.template, operations, app_id, service_name, **kwargs
        )["result"]["id"]
        until = time.monotonic() + OPTIMISE_S
        while time.monotonic() < until:
            row = PromptResource.get_optimization_task(task, **kwargs)["result"]
            if row["processStatus"] == 2:
                return Prompt(
                    row["optimizeContent"],
                    identifier=self.identifier,
                    variables=self.variables,
                    scene_type=self.scene_type,
                    negative_template=self.negative_template,
                    negative_variables=self.negative_variables,
                )
            if row["processStatus"] == 3:
                reason = row.get("reason") or "the platform gives no reason"
                raise RequestError(f"the prompt could not be optimised: {reason}")
            time.sleep(float((row.get("progressDetail") or {}).get("pollAfter", POLL_S)))
        raise RequestError(f"optimisation {task} did not end within {OPTIMISE_S:g} s")

    @classmethod
    def evaluate(
        cls,
        prompt_list: builtins.list[Prompt],
        scenes: builtins.list[dict[str, Any]],
        model: Any,
        standard: PromptScoreStandard = PromptScoreStandard.SemanticSimilarity,
    ) -> builtins.list[dict[str, Any]]:
        """How well prompts do: each is rendered for each scene, the model asked, the answers scored.

        scenes: [{"args": {variable: value}, "expected": text}]. model: a Completion (or ChatCompletion).
        Returns for each prompt {"prompt", "scene": [{new_prompt, variables, expected_target, response, score}],
        "summary"}."""
        results: builtins.list[dict[str, Any]] = []
        for prompt in prompt_list:
            rendered = [prompt.render(**scene["args"])[0] for scene in scenes]
            told = [
                {
                    "new_prompt": text,
                    "variables": scene["args"],
                    "expected_target": scene["expected"],
                    "response": _answer(model, text),
                }
                for scene, text in zip(scenes, rendered, strict=True)
            ]
            results.append({"prompt": prompt, "scene": told})
        summaries = PromptResource.evaluation_summary(
            [
                {
                    "prompt": result["prompt"].template,
                    "scenes": result["scene"],
                    "response_list": [one["response"] for one in result["scene"]],
                }
                for result in results
            ]
        )["result"]["responses"]
        scores = PromptResource.evaluation_score(
            standard,
            [
                {
                    "scene": scene["expected"],
                    "response_list": [result["scene"][at]["response"] for result in results],
                }
                for at, scene in enumerate(scenes)
            ],
        )["result"]["scores"]
        for number, result in enumerate(results):
            result["summary"] = summaries[number]["response"]
            for at, one in enumerate(result["scene"]):
                one["score"] = scores[at][number]
        return results


def _names(given: Any) -> builtins.list[str] | None:
    """Names of variables as the platform sends them: one text with commas between."""
    if given is None:
        return None
    return [name for name in given.split(",") if name] if isinstance(given, str) else builtins.list(given)


def _answer(model: Any, text: str) -> str:
    from qianfan.resources.llm.chat import ChatCompletion

    chat = isinstance(model, ChatCompletion)
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    return str(model.do(**asked)["result"])
