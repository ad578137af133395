"""What a plan will do, in words: whom it asks, in which order, and how an answer is chosen."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from policies_app.routing.codes import HealthState, Pick, Strategy, WhenNonePasses
from policies_app.routing.compilation import MOST_RACERS
from policies_app.routing.types import Candidate, RoutePlan

_SHOWN = 3


def plan_in_words(plan: RoutePlan) -> str:
    """Whom the plan asks, and when, as a clause."""
    match plan.strategy:
        case Strategy.SINGLE | Strategy.FAILOVER:
            return _in_order(plan)
        case Strategy.CASCADE:
            return _cascade(plan)
        case Strategy.PARALLEL:
            return _parallel(plan)
        case Strategy.HEDGED:
            return _hedged(plan)
        case _:
            assert_never(plan.strategy)


def remarks(plan: RoutePlan) -> Iterator[str]:
    """What else bears on the plan, a sentence each: answers that do not pass, hang-ups, targets that fail, cold starts."""
    if plan.set_aside is not None:
        yield f"Embeddings are asked for in order: {plan.set_aside} is for answers in words."
    if plan.strategy is Strategy.CASCADE and plan.candidates[-1].validators:
        yield (
            "If none passes, the last answer is given, marked as not validated."
            if plan.when_none_passes is WhenNonePasses.RETURN_LAST
            else "If none passes, the request fails."
        )
    if plan.drain_ms is not None:
        yield f"If the client hangs up, the answer is read on for {plan.drain_ms / 1000:g} s at most."
    for candidate in plan.candidates:
        remark = _health_remark(candidate)
        if remark:
            yield remark
    first = plan.candidates[0]
    if first.cold_penalty_ms:
        yield f"{first.model.name} is cold, which takes about {first.cold_penalty_ms} ms more."


def listed(items: Sequence[str], *, separator: str = ", ") -> str:
    """The first few items, and how many more there are."""
    hidden = len(items) - _SHOWN
    return separator.join(items[:_SHOWN]) + (f"{separator}and {hidden} more" if hidden > 0 else "")


def _in_order(plan: RoutePlan) -> str:
    first, *others = _names(plan.candidates)
    return f"{first} is first" + (f", then {listed(others)}" if others else "")


def _cascade(plan: RoutePlan) -> str:
    first, *others = plan.candidates
    words = f"{first.model.name} is first"
    if not first.validators:
        return words + (f", then {listed(_names(others))}" if others else "")
    words += f", its answer must pass {_checks(first)}"
    if not others:
        return words
    escalated = [
        candidate.model.name + (f" ({_checks(candidate)})" if candidate.validators else "")
        for candidate in others
    ]
    return f"{words}, else {listed(escalated, separator=', then ')}"


def _parallel(plan: RoutePlan) -> str:
    racers, others = _racers(plan)
    if len(racers) == 1:
        asked = f"{racers[0].model.name} is first"
        return asked + (f", then {listed(_names(others))} if it fails" if others else "")
    words = f"{_joined(_names(racers))} are asked at once, {_pick(plan, racers)}"
    if others:
        words += f"; {listed(_names(others))} only if none of them answers"
    return words


def _racers(plan: RoutePlan) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
    """Whom the bound on upstream calls lets be asked at once, with one call kept for the judge, and the others."""
    kept_free = 1 if plan.pick is Pick.JUDGE else 0
    width = max(1, min(MOST_RACERS, plan.max_attempts - kept_free))
    return plan.candidates[:width], plan.candidates[width:]


def _pick(plan: RoutePlan, racers: Sequence[Candidate]) -> str:
    valid = " valid" if any(candidate.validators for candidate in racers) else ""
    match plan.pick:
        case Pick.FIRST_VALID:
            return f"the first{valid} answer is taken"
        case Pick.HIGHEST_CONFIDENCE:
            return f"the most confident{valid} answer is taken"
        case Pick.LONGEST_AGREEING:
            return f"the longest{valid} answer of those that agree is taken"
        case Pick.WEIGHTED:
            return f"the{valid} answer of the greatest weight is taken"
        case Pick.JUDGE:
            return _judge(plan)
        case _:
            assert_never(plan.pick)


def _judge(plan: RoutePlan) -> str:
    if any(planned.judge.reference == plan.judge for planned in plan.judges):
        return f"judge {plan.judge} picks"
    named = "the judge" if plan.judge is None else f"judge {plan.judge}"
    return f"{named} cannot be asked, so the answer of the earliest step is taken"


def _hedged(plan: RoutePlan) -> str:
    if len(plan.candidates) == 1:
        return f"{_in_order(plan)}, not hedged because no second model is left"
    first, second, *others = _names(plan.candidates)
    if plan.hedge_delay_ms is None:
        return f"{_in_order(plan)}, not hedged because the usual delay of {first} is not known yet"
    words = (
        f"{first} is first, hedged: {second} is asked too if {first} is silent for {plan.hedge_delay_ms} ms"
    )
    return words + (f", then {listed(others)}" if others else "")


def _health_remark(candidate: Candidate) -> str:
    name = candidate.model.name
    match candidate.state:
        case HealthState.OPEN:
            return f"{name} is failing, and tried because no other model that fits fares better."
        case HealthState.COOLING:
            return f"{name} is rate limited, and tried because no other model that fits fares better."
        case HealthState.HALF_OPEN:
            return f"{name} failed lately and is being tried again."
        case HealthState.HEALTHY:
            return ""
        case _:
            assert_never(candidate.state)


def _checks(candidate: Candidate) -> str:
    count = len(candidate.validators)
    return "1 check" if count == 1 else f"{count} checks"


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.model.name for candidate in candidates]


def _joined(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"
