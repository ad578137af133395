"""Efforts of thinking in words and budgets of thinking in tokens: each as the other, where a model knows only one."""

from typing import Any

_MOST_BUDGET = 24_576
_BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": _MOST_BUDGET}
"""Tokens of thinking that an effort stands for, as Google's own OpenAI-compatible endpoint has them."""
_EFFORTS = {"low": 2_048, "medium": 8_192}
"""Up to which budget of thinking, in tokens, an effort stands for it."""


def budget_of(effort: Any) -> int:
    """The budget that an effort stands for; that of the highest, if it is not known."""
    return _BUDGETS.get(str(effort), _MOST_BUDGET)


def has_budget(effort: Any) -> bool:
    """Whether an effort has a budget of its own. What is beyond the highest only gets as much as that one."""
    return effort in _BUDGETS


def effort_of(budget_tokens: Any) -> str:
    """The effort that comes next to a budget of thinking."""
    tokens = budget_tokens if isinstance(budget_tokens, int) else 0
    return next((effort for effort, most in _EFFORTS.items() if tokens <= most), "high")
