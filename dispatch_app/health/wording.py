"""How a target fares, in words, from what each process says of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dispatch_app.execution.breaker import Cause
from policies_app.routing.codes import FaultClass, HealthState

WORST_FIRST = (HealthState.OPEN, HealthState.COOLING, HealthState.HALF_OPEN, HealthState.HEALTHY)
_LABELS = {
    HealthState.OPEN: "open",
    HealthState.COOLING: "cooling",
    HealthState.HALF_OPEN: "half-open",
    HealthState.HEALTHY: "healthy",
}
_CAUSES = {
    Cause.FAILURES: "",
    Cause.CREDENTIAL: "its vendor refuses the credential",
    Cause.RATE_LIMIT: "rate limit",
    Cause.QUOTA: "its vendor gives no more credit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """One target as one process sees it. `remaining_s` is None where nothing says when that ends."""

    state: HealthState
    cause: Cause | None = None
    remaining_s: float | None = None
    is_learned: bool = False
    is_being_probed: bool = False
    last_fault: FaultClass | None = None
    last_wire_status: int | None = None


def worst_state(views: Iterable[TargetView]) -> HealthState:
    """The state that needs a look first; healthy without a process that knows the target."""
    states = {view.state for view in views}
    return next((state for state in WORST_FIRST if state in states), HealthState.HEALTHY)


def label_of(state: HealthState) -> str:
    """The state in a word."""
    return _LABELS[state]


def describe(views: Sequence[TargetView], *, processes: int) -> list[str]:
    """A sentence for each state that the target is in, worst first. `processes` is how many serve."""
    if not views:
        return ["Not called in the last 15 minutes."]
    groups = [[view for view in views if view.state is state] for state in WORST_FIRST]
    return [_sentence(group, processes=max(processes, len(views))) for group in groups if group]


def _sentence(group: Sequence[TargetView], *, processes: int) -> str:
    state = group[0].state
    parts = [
        f"{_LABELS[state]} in {len(group)} of {processes} process{'' if processes == 1 else 'es'}",
        *_causes(group),
        _what_comes_next(group),
        _last_fault(group) if state is not HealthState.HEALTHY else "",
    ]
    text = ", ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:]}."


def _causes(group: Sequence[TargetView]) -> list[str]:
    causes = {view.cause for view in group if view.cause is not None}
    phrases = [_CAUSES[cause] for cause in Cause if cause in causes]
    if any(view.is_learned for view in group):
        phrases.append(
            "partly as told by another process" if len(group) > 1 else "as told by another process"
        )
    return phrases


def _what_comes_next(group: Sequence[TargetView]) -> str:
    state = group[0].state
    if state is HealthState.HALF_OPEN:
        is_probed = any(view.is_being_probed for view in group)
        return "being probed now" if is_probed else "the next call that has an alternative probes it"
    waits = [view.remaining_s for view in group if view.remaining_s is not None]
    if state is HealthState.HEALTHY or not waits:
        return ""
    ends_by_itself = all(view.cause is Cause.RATE_LIMIT for view in group)
    return f"{'takes traffic again' if ends_by_itself else 'next probe'} in {show_wait(min(waits))}"


def _last_fault(group: Sequence[TargetView]) -> str:
    known = next((view for view in group if view.last_fault is not None), None)
    if known is None or known.last_fault is None:
        return ""
    is_error = known.last_wire_status is not None and known.last_wire_status >= 400
    return f"last fault: {known.last_wire_status if is_error else known.last_fault.value.replace('_', ' ')}"


def show_wait(seconds: float) -> str:
    """A time to wait, rounded up: nothing comes sooner than said."""
    whole = max(1, -int(-seconds // 1))
    if whole < 120:
        return f"{whole} s"
    return f"{-(-whole // 60)} min"
