"""Constants of prompts, under the path that published releases have."""

from __future__ import annotations

from qianfan.contract.enums import PromptFrameworkType, PromptSceneType, PromptScoreStandard, PromptType

__all__ = ["PromptFrameworkType", "PromptSceneType", "PromptScoreStandard", "PromptType"]
