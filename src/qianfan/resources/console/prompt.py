"""Prompt templates, their labels, optimisation and evaluation."""

from __future__ import annotations

import builtins
from typing import Any, Literal

from qianfan.contract import prompt_text, routes
from qianfan.contract.enums import PromptFrameworkType, PromptSceneType, PromptType
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .utils import console_call

Identifier = Literal["{}", "{{}}", "[]", "[[]]", "()", "(())"]


class Prompt:
    """Prompt templates of the platform. Further keywords go into the body; named ones win."""

    class V2:
        """The second interface: string ids, variables as a list, labels by name."""

        @classmethod
        def base_api_route(cls) -> str:
            """The path of the templates' routes."""
            return routes.PROMPT_V2_CREATE.path

        @console_call
        def create(
            cls,
            /,
            template_name: str,
            template_content: str,
            labels: builtins.list[str] | None = None,
            variable_identifier: Identifier = "{}",
            scene_type: str = "TextToText",
            variables: builtins.list[str] | None = None,
            negative_template: str | None = None,
            negative_variables: builtins.list[str] | None = None,
            hyper_parameters: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> Call:
            """Create a template. Its id is at `result.templateId` (`pt-…`).

            labels: names, at most 3, made when they are new. scene_type: TextToText or TextToImage."""
            if variables is None:
                variables = variables_of(template_content, variable_identifier)
            body = {
                **kwargs,
                "templateName": template_name,
                "templateContent": template_content,
                "variableIdentifier": variable_identifier,
                "sceneType": scene_type,
                "templateVariables": ",".join(variables),
                "labels": labels or None,
                "hyperParameters": hyper_parameters,
            }
            if scene_type == "TextToImage":
                body["negativeTemplateContent"] = negative_template
                body["negativeTemplateVariables"] = (
                    ",".join(negative_variables) if negative_variables else None
                )
            return Call(routes.PROMPT_V2_CREATE, body, creates=True)

        @console_call
        def info(cls, /, template_id: str, **kwargs: Any) -> Call:
            """One template; with its variables as keywords, rendered at `result.content`."""
            return Call(routes.PROMPT_V2_INFO, {**kwargs, "templateId": template_id})

        @console_call
        def update(
            cls,
            /,
            template_id: str,
            template_name: str | None = None,
            labels: builtins.list[str] | None = None,
            template_content: str | None = None,
            variable_identifier: Identifier | None = None,
            negative_template: str | None = None,
            hyper_parameters: dict[str, Any] | None = None,
            **kwargs: Any,
        ) -> Call:
            """Change what is given; the platform finds the variables anew."""
            body = {
                **kwargs,
                "templateId": template_id,
                "templateName": template_name,
                "labels": labels,
                "templateContent": template_content,
                "variableIdentifier": variable_identifier,
                "negativeTemplateContent": negative_template,
                "hyperParameters": hyper_parameters,
            }
            return Call(routes.PROMPT_V2_UPDATE, body)

        @console_call
        def delete(cls, /, template_id: str, **kwargs: Any) -> Call:
            """Delete a template of yours."""
            return Call(routes.PROMPT_V2_DELETE, {**kwargs, "templateId": template_id})

        @console_call
        def list(
            cls,
            /,
            marker: str | None = None,
            max_keys: int | None = None,
            page_reverse: bool | None = None,
            name: str | None = None,
            label_ids: builtins.list[str] | None = None,
            type: str | None = None,
            **kwargs: Any,
        ) -> Call:
            """List templates: `result.items`, `result.pageInfo`. type: System or Custom (default)."""
            body = {
                **kwargs,
                "marker": marker,
                "maxKeys": max_keys,
                "pageReverse": page_reverse,
                "name": name,
                "labelIds": label_ids,
                "type": type,
            }
            return Call(routes.PROMPT_V2_LIST, body)

        @console_call
        def create_label(cls, /, name: builtins.list[str], **kwargs: Any) -> Call:
            """Make labels; those that are there already stay."""
            return Call(routes.PROMPT_LABEL_V2_CREATE, {**kwargs, "name": name}, creates=True)

        @console_call
        def list_labels(
            cls,
            /,
            marker: str | None = None,
            max_keys: int | None = None,
            page_reverse: bool | None = None,
            **kwargs: Any,
        ) -> Call:
            """List labels: `result.items`, `result.pageInfo`."""
            body = {**kwargs, "marker": marker, "maxKeys": max_keys, "pageReverse": page_reverse}
            return Call(routes.PROMPT_LABEL_V2_LIST, body)

        @console_call
        def delete_label(cls, /, label_id: str, **kwargs: Any) -> Call:
            """Delete a label of yours; templates lose it."""
            return Call(routes.PROMPT_LABEL_V2_DELETE, {**kwargs, "labelId": label_id})

    @console_call
    def create(
        cls,
        /,
        name: str,
        template: str,
        identifier: Identifier = "{}",
        scene: PromptSceneType = PromptSceneType.Text2Text,
        framework: PromptFrameworkType = PromptFrameworkType.NotUse,
        variables: builtins.list[str] | None = None,
        label_ids: builtins.list[int] | None = None,
        negative_template: str | None = None,
        negative_variables: builtins.list[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Create a template. Ids at `result.templateId` (int), `result.templatePK` (`pt-…`).

        variables: found in the template when not given; 2 to 30 letters, digits and `_`, not beginning with a
        digit. The negative ones count for Text2Image only."""
        body = {
            **kwargs,
            "templateName": name,
            "templateContent": template,
            "variableIdentifier": identifier,
            "sceneType": scene,
            "frameworkType": framework,
            "templateVariables": ",".join(
                variables_of(template, identifier) if variables is None else variables
            ),
        }
        if label_ids:
            body["labelIds"] = builtins.list(label_ids)
        if scene == PromptSceneType.Text2Image:
            if negative_template:
                body["negativeTemplateContent"] = negative_template
            if negative_variables is None:
                negative_variables = variables_of(negative_template or "", identifier)
            body["negativeTemplateVariables"] = ",".join(negative_variables)
        return Call(routes.PROMPT_CREATE, body, creates=True)

    @console_call
    def info(cls, /, id: int | str, **kwargs: Any) -> Call:
        """One template; with its variables as keywords, rendered at `result.content`."""
        return Call(routes.PROMPT_INFO, {**kwargs, "id": str(id)})

    @console_call
    def update(
        cls,
        /,
        id: int | str,
        name: str | None = None,
        label_ids: builtins.list[int] | None = None,
        template: str | None = None,
        identifier: Identifier | None = None,
        negative_template: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Change what is given; the platform finds the variables anew."""
        body = {
            **kwargs,
            "templateId": id,
            "templateName": name,
            "labelIds": builtins.list(label_ids) if label_ids else None,
            "variableIdentifier": identifier or None,
            "templateContent": template or None,
            "negativeTemplateContent": negative_template or None,
        }
        return Call(routes.PROMPT_UPDATE, body)

    @console_call
    def delete(cls, /, id: int | str, **kwargs: Any) -> Call:
        """Delete a template of yours."""
        return Call(routes.PROMPT_DELETE, {**kwargs, "templateId": id})

    @console_call
    def list(
        cls,
        /,
        offset: int = 0,
        page_size: int = 10,
        name: str | None = None,
        label_ids: builtins.list[int] = [],  # noqa: B006  as documented; never changed
        type: PromptType | None = None,
        **kwargs: Any,
    ) -> Call:
        """List templates: `result.items`, `result.total`. type: preset or user; None = as the platform has it."""
        body = {
            **kwargs,
            "offset": offset,
            "pageSize": page_size,
            "name": name,
            "labelIds": builtins.list(label_ids or ()),
            "type": type,
        }
        return Call(routes.PROMPT_LIST, body)

    @console_call
    def list_labels(cls, /, offset: int = 0, page_size: int = 10, **kwargs: Any) -> Call:
        """List labels: `result.items`, `result.total`."""
        return Call(routes.PROMPT_LABEL_LIST, {**kwargs, "offset": offset, "pageSize": page_size})

    @console_call
    def create_optimiztion_task(  # the name is spelt as documented
        cls,
        /,
        content: str,
        operations: builtins.list[Any],
        app_id: int | None = None,
        service_name: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Have a model improve a prompt. Id at `result.id`.

        operations: [{"opType": 1, "payload": 1}, …]; types 1 quality, 2 shorten, 3 rounds, 4 chain of thought."""
        body = {
            **kwargs,
            "content": content,
            "operations": operations,
            "appID": app_id,
            "serviceName": service_name,
        }
        return Call(routes.PROMPT_OPTIMIZE_CREATE, body, creates=True)

    @console_call
    def get_optimization_task(cls, /, task_id: str, **kwargs: Any) -> Call:
        """One optimisation: `result.processStatus` is 1 running, 2 done, 3 failed; `result.optimizeContent`."""
        return Call(routes.PROMPT_OPTIMIZE_INFO, {**kwargs, "id": task_id})

    @console_call
    def evaluation_score(cls, /, type: int, data: builtins.list[Any]) -> Call:
        """Score answers: `result.scores[scene][prompt]`.

        type: 1 semantic, 2 regular expression, 3 exact. data: [{"scene": expected, "response_list": […]}]."""
        return Call(routes.PROMPT_EVALUATE_SCORE, {"type": type, "data": data})

    @console_call
    def evaluation_summary(cls, /, data: builtins.list[Any]) -> Call:
        """Have a model sum up how prompts did: `result.responses`."""
        return Call(routes.PROMPT_EVALUATE_SUMMARY, {"data": data})


def variables_of(template: str, identifier: str) -> builtins.list[str]:
    """Names of the variables in a template, in order, repeated ones too.

    Raises InvalidArgumentError for an identifier or a name that the platform does not take."""
    try:
        return prompt_text.variables_of(template, identifier)
    except prompt_text.BadVariable as bad:
        raise InvalidArgumentError(str(bad), advice=bad.advice) from None
