"""What became of a plan, attempt by attempt, in sentences. Pure: rows of the log in, words out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from dispatch_app.costs.formats import show_duration, show_exact_usd
from dispatch_app.costs.told_attempts import ToldAttempt, counted, result_of
from dispatch_app.execution.picking import PICK_IN_WORDS
from policies_app.routing.codes import AttemptRole, FaultClass, Pick

_NOTHING_MORE: Mapping[str, str] = {
    "no_valid_answer": "No answer passed, so the request failed, as the rule has it.",
    "insufficient_quota": "No budget covered another attempt.",
    "killed": "A kill switch allowed no other attempt.",
}
"""Why a dispatch ended without an answer, by its error code, where its attempts do not say so."""


def tell_story(
    attempts: Sequence[ToldAttempt],
    *,
    answered_by: int | None,
    validated: bool | None,
    error_code: str = "",
) -> tuple[str, ...]:
    """What happened, in order; empty where the decision says it all: the one attempt that was made answered."""
    if len(attempts) < 2 and all(attempt.has_answered and not attempt.validation for attempt in attempts):
        return ()
    return (
        *_course(attempts, answered_by),
        *_outcome(_at(attempts, answered_by), validated=validated, error_code=error_code),
        *_waste(attempts, answered_by),
    )


def wasted_nanos(attempts: Sequence[ToldAttempt], *, answered_by: int | None) -> int:
    """What was paid for attempts that did not give the answer: escalations, races, hedges, samples, judges, faults.

    The beginning of a stream that another attempt carried on is a part of the answer.
    """
    given = {answered_by} | {
        before.position for before, after in pairwise(attempts) if after.role == AttemptRole.CONTINUATION
    }
    return sum(attempt.cost_nanos for attempt in attempts if attempt.position not in given)


def _course(attempts: Sequence[ToldAttempt], answered_by: int | None) -> Iterator[str]:
    hedge = next((attempt for attempt in attempts if attempt.role == AttemptRole.HEDGE), None)
    racers = [attempt for attempt in attempts if attempt.role == AttemptRole.PARALLEL]
    if hedge is not None:
        yield from _hedged(attempts, hedge, answered_by)
    elif len(racers) > 1:
        yield from _raced(racers)
        yield from _in_turn([attempt for attempt in attempts if attempt.role != AttemptRole.PARALLEL])
        yield from _picked(racers)
    else:
        yield from _in_turn(attempts)


def _in_turn(attempts: Sequence[ToldAttempt]) -> Iterator[str]:
    for is_aside, turns in groupby(attempts, key=_is_aside):
        run = list(turns)
        yield from _asides(run) if is_aside else (f"{_lead(turn)} {result_of(turn)}." for turn in run)


def _is_aside(attempt: ToldAttempt) -> bool:
    return attempt.role in {AttemptRole.SAMPLE, AttemptRole.JUDGE}


def _lead(attempt: ToldAttempt) -> str:
    model = attempt.model
    match attempt.role:
        case AttemptRole.RETRY:
            return f"{model} was asked once more and"
        case AttemptRole.ROTATION:
            return f"{model} was asked with another credential and"
        case AttemptRole.FALLBACK:
            return f"{model} was asked instead and"
        case AttemptRole.ESCALATION:
            return f"So it was escalated to {model}, which"
        case AttemptRole.CONTINUATION:
            return f"{model} was handed the broken stream to carry on and"
        case _:
            return model


def _asides(run: Sequence[ToldAttempt]) -> Iterator[str]:
    """What was asked in order to judge an answer, each model once."""
    for role, model in dict.fromkeys((attempt.role, attempt.model) for attempt in run):
        asked = [attempt for attempt in run if (attempt.role, attempt.model) == (role, model)]
        cost = show_exact_usd(sum(attempt.cost_nanos for attempt in asked))
        if role == AttemptRole.SAMPLE:
            yield f"To compare, {model} was asked for {counted(len(asked), 'more answer')}, for {cost}."
        else:
            times = "" if len(asked) == 1 else f" {len(asked)} times"
            yield f"{model} was asked as the judge{times}, for {cost}."
        yield from (f"{model} {result_of(attempt)} then." for attempt in asked if not attempt.has_answered)


def _raced(racers: Sequence[ToldAttempt]) -> Iterator[str]:
    *others, last = [racer.model for racer in racers]
    yield f"{', '.join(others)} and {last} were asked at once."
    yield from (f"{racer.model} {result_of(racer)}." for racer in racers)


def _picked(racers: Sequence[ToldAttempt]) -> Iterator[str]:
    """Which of the valid answers was taken, and why."""
    valid = [(racer, racer.pick) for racer in racers if racer.pick is not None]
    winner, found = next(((racer, pick) for racer, pick in valid if pick.get("passed")), (None, None))
    if winner is None or found is None:
        return
    expected, actual = str(found.get("expected")), str(found.get("actual") or "")
    by_judge = expected == PICK_IN_WORDS[Pick.JUDGE]
    if len(valid) == 1 and (by_judge or all(racer.fault != FaultClass.SUPERSEDED for racer in racers)):
        yield f"The answer of {winner.model} was taken, as the only valid one."
    elif by_judge and actual:
        yield f"As {actual}, the answer of {winner.model} was taken, which is that of the earliest step."
    elif by_judge:
        yield f"The judge picked the answer of {winner.model}."
    else:
        yield f"The answer of {winner.model} was picked: {expected}, and {actual}."
        yield from (
            f"That of {racer.model} was not: {pick.get('actual')}."
            for racer, pick in valid
            if racer is not winner
        )


def _hedged(attempts: Sequence[ToldAttempt], hedge: ToldAttempt, answered_by: int | None) -> Iterator[str]:
    """The first model's silence, who won, and what became of the other; then whoever was asked afterwards."""
    place = attempts.index(hedge)
    first = attempts[max(0, place - 1)]
    silence = show_duration(max(0, hedge.start_offset_ms - first.start_offset_ms))
    yield from _in_turn(attempts[: max(0, place - 1)])
    yield f"{first.model} gave no sign of life for {silence}, so {hedge.model} was asked too."
    ranked = sorted((first, hedge), key=lambda attempt: attempt.position != answered_by)
    yield from (f"{attempt.model} {_end_of_race(attempt, answered_by)}." for attempt in ranked)
    yield from _in_turn(attempts[place + 1 :])


def _end_of_race(attempt: ToldAttempt, answered_by: int | None) -> str:
    cost = show_exact_usd(attempt.cost_nanos)
    if attempt.position == answered_by:
        return "was the first to answer"
    if attempt.fault == FaultClass.SUPERSEDED:
        return f"was stopped, at a cost of {cost}"
    return f"answered too late, at a cost of {cost}" if attempt.has_answered else result_of(attempt)


def _outcome(answering: ToldAttempt | None, *, validated: bool | None, error_code: str) -> Iterator[str]:
    if answering is None:
        yield from filter(None, [_NOTHING_MORE.get(error_code)])
    elif validated is False:
        yield f"No answer passed, so that of {answering.model} was given, marked as not validated."


def _waste(attempts: Sequence[ToldAttempt], answered_by: int | None) -> Iterator[str]:
    total = sum(attempt.cost_nanos for attempt in attempts)
    wasted = wasted_nanos(attempts, answered_by=answered_by)
    if answered_by is None and total:
        yield f"It cost {show_exact_usd(total)} all the same."
    elif wasted:
        yield (
            f"{show_exact_usd(wasted)} of {show_exact_usd(total)} went to attempts that did not give the answer."
        )


def _at(attempts: Sequence[ToldAttempt], position: int | None) -> ToldAttempt | None:
    return next((attempt for attempt in attempts if attempt.position == position), None)
