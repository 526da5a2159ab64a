"""Evaluation: is B really better than A? Evaluators, metrics, and what may be concluded from them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .evaluation_manager import EvaluationManager as EvaluationManager
    from .evaluation_result import EvaluationResult as EvaluationResult
    from .evaluator import LocalEvaluator as LocalEvaluator
    from .evaluator import LocalRuleEvaluator as LocalRuleEvaluator
    from .evaluator import ManualEvaluatorDimension as ManualEvaluatorDimension
    from .evaluator import QianfanManualEvaluator as QianfanManualEvaluator
    from .evaluator import QianfanRefereeEvaluator as QianfanRefereeEvaluator
    from .evaluator import QianfanRuleEvaluator as QianfanRuleEvaluator
    from .gate import Gate as Gate

# The platform imports `metrics` and `statistics` of this package, so the rest waits until it is asked for.
_NAMES = {
    "EvaluationManager": "evaluation_manager",
    "EvaluationResult": "evaluation_result",
    "Gate": "gate",
    "LocalEvaluator": "evaluator",
    "LocalRuleEvaluator": "evaluator",
    "ManualEvaluatorDimension": "evaluator",
    "QianfanManualEvaluator": "evaluator",
    "QianfanRefereeEvaluator": "evaluator",
    "QianfanRuleEvaluator": "evaluator",
}

__all__ = [
    "EvaluationManager",
    "EvaluationResult",
    "Gate",
    "LocalEvaluator",
    "LocalRuleEvaluator",
    "ManualEvaluatorDimension",
    "QianfanManualEvaluator",
    "QianfanRefereeEvaluator",
    "QianfanRuleEvaluator",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _NAMES:
        raise AttributeError(f"module 'qianfan.evaluation' has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
