"""Figures in the Prometheus text format, a few lines of our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """One metric: its samples are (labels, value)."""

    name: str
    kind: Literal["counter", "gauge"]
    about: str
    samples: Iterable[tuple[Mapping[str, str], float]]


def text(metrics: Iterable[Metric]) -> str:
    """All of them, as Prometheus reads it."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.about}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{_labels(labels)} {value:.15g}" for labels, value in metric.samples]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    plain = "".join(char if char.isprintable() or char == "\n" else "?" for char in value[:200])
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
