"""What became of a plan, attempt by attempt, in sentences. Pure: rows of the log in, words out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatch_app.costs.formats import show_code, show_exact_usd
from policies_app.routing.codes import AttemptRole, FaultClass

_ASIDE = frozenset({AttemptRole.SAMPLE, AttemptRole.JUDGE})
_PICK = "pick"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAttempt:
    """One attempt as its row has it. `validation` is what each validator found."""

    position: int
    model: str
    role: str
    fault: str = ""
    validation: Sequence[Mapping[str, Any]] = field(default=())
    cost_nanos: int = 0


def tell_story(
    attempts: Sequence[ToldAttempt], *, answered_by: int | None, validated: bool | None
) -> tuple[str, ...]:
    """What happened, in order; empty where the decision says it all: the one attempt that was made answered."""
    if len(attempts) < 2 and not any(attempt.fault or attempt.validation for attempt in attempts):
        return ()
    sentences = [*_of_attempts(attempts)]
    if validated is False:
        sentences.append("No answer passed, so the last one was given, marked as not validated.")
    elif _is_race(attempts) and (winner := _at(attempts, answered_by)) is not None:
        sentences.append(f"The answer is that of {winner.model}.")
    if waste := _waste(attempts, answered_by):
        sentences.append(waste)
    return tuple(sentences)


def wasted_nanos(attempts: Sequence[ToldAttempt], *, answered_by: int | None) -> int:
    """What was paid for attempts that did not give the answer: escalations, races, hedges, samples, judges, faults."""
    return sum(attempt.cost_nanos for attempt in attempts if attempt.position != answered_by)


def _of_attempts(attempts: Sequence[ToldAttempt]) -> Iterator[str]:
    racers = [attempt.model for attempt in attempts if attempt.role == AttemptRole.PARALLEL]
    if len(racers) > 1:
        yield f"{', '.join(racers[:-1])} and {racers[-1]} were asked at once."
    for attempt in attempts:
        if attempt.role not in _ASIDE:
            yield f"{_lead(attempt)} {_result(attempt)}."
    yield from _samples(attempts)
    for attempt in attempts:
        if attempt.role == AttemptRole.JUDGE:
            ending = f"was asked and {_ending(attempt)}" if attempt.fault else "judged"
            yield f"{attempt.model} {ending}, for {show_exact_usd(attempt.cost_nanos)}."


def _lead(attempt: ToldAttempt) -> str:
    model = attempt.model
    match attempt.role:
        case AttemptRole.RETRY:
            return f"{model} was asked once more and"
        case AttemptRole.FALLBACK:
            return f"{model} was asked instead and"
        case AttemptRole.ESCALATION:
            return f"So it was escalated to {model}, which"
        case AttemptRole.HEDGE:
            return f"As nothing had come by then, {model} was asked too and"
        case AttemptRole.CONTINUATION:
            return f"{model} was handed the broken stream to carry on and"
        case _:
            return model


def _result(attempt: ToldAttempt) -> str:
    if attempt.fault:
        return _ending(attempt)
    checks = [finding for finding in attempt.validation if finding.get("validator") != _PICK]
    failed = next((finding for finding in checks if not finding.get("passed")), None)
    words = "answered"
    if failed is not None:
        words += f", but its answer was not accepted: {_finding(failed)}"
    elif checks:
        words += f", and its answer passed {_counted(len(checks), 'check')}"
    return words + _pick(attempt)


def _pick(attempt: ToldAttempt) -> str:
    finding = next((found for found in attempt.validation if found.get("validator") == _PICK), None)
    if finding is None:
        return ""
    actual = finding.get("actual")
    why = f": {finding.get('expected')}" + (f", and {actual}" if actual else "")
    return f"; it was picked{why}" if finding.get("passed") else f"; it was not picked{why}"


def _finding(finding: Mapping[str, Any]) -> str:
    expected, actual = finding.get("expected", ""), finding.get("actual", "")
    return f"it was expected that {expected}" + (f", but {actual}" if actual else "")


def _ending(attempt: ToldAttempt) -> str:
    if attempt.fault == FaultClass.SUPERSEDED:
        return f"was stopped, because another answer had won, and cost {show_exact_usd(attempt.cost_nanos)}"
    if attempt.fault == FaultClass.CLIENT_DISCONNECTED:
        return "was stopped, because the client hung up"
    return f"ended in {show_code(attempt.fault)}"


def _samples(attempts: Sequence[ToldAttempt]) -> Iterator[str]:
    samples = Counter(attempt.model for attempt in attempts if attempt.role == AttemptRole.SAMPLE)
    for model, count in samples.items():
        nanos = sum(
            attempt.cost_nanos
            for attempt in attempts
            if attempt.role == AttemptRole.SAMPLE and attempt.model == model
        )
        yield f"{_counted(count, 'more sample')} of {model} cost {show_exact_usd(nanos)}."


def _is_race(attempts: Sequence[ToldAttempt]) -> bool:
    return any(attempt.role in {AttemptRole.PARALLEL, AttemptRole.HEDGE} for attempt in attempts)


def _at(attempts: Sequence[ToldAttempt], position: int | None) -> ToldAttempt | None:
    return next((attempt for attempt in attempts if attempt.position == position), None)


def _waste(attempts: Sequence[ToldAttempt], answered_by: int | None) -> str:
    wasted = wasted_nanos(attempts, answered_by=answered_by)
    if not wasted or answered_by is None:
        return ""
    total = sum(attempt.cost_nanos for attempt in attempts)
    return (
        f"{show_exact_usd(wasted)} of {show_exact_usd(total)} went to attempts that did not give the answer."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
