"""Texts of prompts by well-known frameworks. They are made here; nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence

from qianfan.errors import InvalidArgumentError


def base_prompt(prompt: str, background: str = "", additional_data: str = "", output_schema: str = "") -> str:
    """Instruction, background, data, form of the answer: always four lines, an empty one for an empty part."""
    parts = {"指令": prompt, "背景信息": background, "补充数据": additional_data, "输出格式": output_schema}
    return "\n".join(f"{label}:{text}" if text else "" for label, text in parts.items())


def crispe_prompt(
    statement: str, capacity: str = "", insight: str = "", personality: str = "", experiment: str = ""
) -> str:
    """CRISPE: capacity, insight, statement, personality, experiment; empty parts are left out."""
    parts = {
        "能力与角色": capacity,
        "背景信息": insight,
        "指令": statement,
        "输出风格": personality,
        "输出范围": experiment,
    }
    return "\n".join(f"{label}：{text}" for label, text in parts.items() if text)


def fewshot_prompt(prompt: str = "", examples: Sequence[tuple[str, str]] = ()) -> str:
    """Pairs of input and output, a blank line between; the prompt first. Raises InvalidArgumentError without pairs."""
    if not examples:
        raise InvalidArgumentError(
            "a few-shot prompt needs examples", advice='give examples=[("input", "output")]'
        )
    pairs = "\n\n".join(f"输入:{given}\n输出:{wanted}" for given, wanted in examples)
    return f"{prompt}\n{pairs}" if prompt else pairs
