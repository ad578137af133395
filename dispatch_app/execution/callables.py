"""Checks of one's own: Python callables registered under the entry point group `signalbox.validators`."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

GROUP = "signalbox.validators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a callable gets to see: one answer, and the task it was given for (empty if the caller named none)."""

    task: str
    text: str
    message: Mapping[str, Any]
    finish_reason: str | None


Check = Callable[[Submission], bool | str | Awaitable[bool | str]]
"""Answers True, or False, or says in words what is wrong. It runs on the event loop: what waits must be a coroutine."""


@cache
def registered() -> Mapping[str, Check]:
    """Every registered callable by name."""
    return {point.name: point.load() for point in entry_points(group=GROUP)}


async def run(name: str, submission: Submission) -> str:
    """What is wrong with a submission; empty if nothing is. A callable that is missing or fails accepts nothing."""
    check = registered().get(name)
    if check is None:
        return f"no validator {name} is registered here"
    try:
        verdict = check(submission)
        if inspect.isawaitable(verdict):
            verdict = await verdict
    except Exception as error:  # noqa: BLE001 - somebody else's code
        return f"{name} failed with {type(error).__name__}"
    if isinstance(verdict, str):
        return verdict
    return "" if verdict else f"{name} did not accept the answer"
