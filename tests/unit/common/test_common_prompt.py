"""Prompts in hand: frameworks, files, rendering. Nothing is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianfan.common import Prompt
from qianfan.consts import PromptSceneType
from qianfan.errors import InvalidArgumentError


def test_the_frameworks_write_their_lines() -> None:
    """Labels, colons and empty parts as documented."""
    assert Prompt.base_prompt("写诗", output_schema="四行") == "指令:写诗\n\n\n输出格式:四行"
    assert Prompt.crispe_prompt("写诗", capacity="诗人", experiment="一首") == (
        "能力与角色：诗人\n指令：写诗\n输出范围：一首"
    )
    assert Prompt.fewshot_prompt("分类", [("好", "正"), ("坏", "负")]) == (
        "分类\n输入:好\n输出:正\n\n输入:坏\n输出:负"
    )
    with pytest.raises(InvalidArgumentError, match="needs examples"):
        Prompt.fewshot_prompt("分类")


def test_a_prompt_in_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    """Also its identifier and what an image must not show."""
    prompt = Prompt(
        "a [[thing_a]]",
        name="poster",
        identifier="[[]]",
        scene_type=PromptSceneType.Text2Image,
        negative_template="no [[bad_thing]]",
    )
    prompt.save_to_file(tmp_path / "prompt.json")
    again = Prompt.from_file(tmp_path / "prompt.json")
    assert vars(again) == vars(prompt)
    assert again.render(thing_a="cup", bad_thing="text") == ("a cup", "no text")


def test_any_text_file_is_a_template(tmp_path: Path) -> None:
    """With a byte order mark, too; JSON that is no prompt is a text."""
    (tmp_path / "plain.txt").write_bytes(b"\xef\xbb\xbfSay {what}")
    assert Prompt.from_file(tmp_path / "plain.txt").render(what="hi") == ("Say hi", None)
    (tmp_path / "list.json").write_text("[1, 2]", encoding="utf-8")
    assert Prompt.from_file(tmp_path / "list.json").template == "[1, 2]"


def test_given_variables_are_taken_as_they_are() -> None:
    """They are not looked for in the text; the argument for the negative side counts as well."""
    prompt = Prompt(
        "{a} {bc}",
        variables=["bc"],
        scene_type=PromptSceneType.Text2Image,
        negative_template="{x} {yz}",
        negative_variables=["yz"],
    )
    assert prompt.render(bc="1", yz="2") == ("{a} 1", "{x} 2")
    with pytest.raises(InvalidArgumentError, match="bc"):
        prompt.render(yz="2")
