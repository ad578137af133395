"""What one dispatch of a route can take at most, whatever its models do: upstream calls, time and money."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nlargest

from policies_app.routing.codes import Pick, Strategy
from policies_app.routing.compilation import MOST_RACERS, NO_JUDGES, reachable_steps, validates
from policies_app.routing.document import RouteDocument, RuleDocument, StepDocument
from policies_app.routing.money import dearest_nanos
from policies_app.routing.types import Catalogue, CatalogueModel, Judges
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, SamplesAgree

LONGEST_RETRY_WAIT_MS = 10_000
"""How long a dispatch waits at most before it asks the same model again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteWorstCase:
    """What one dispatch of a rule can take at most: upstream calls, time, and money for each choice, or text to embed.

    The money supposes that every call fills the context window of its model, at the prices of the moment, and that the
    route's strategy comes to its dearest calls; judges and samples count. It never exceeds the route's own bound.
    """

    rule: str
    attempts: int
    duration_ms: int
    cost_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepCalls:
    """The upstream calls that one step can come to, by what each can cost, and how long they take one after the other."""

    calls: tuple[int, ...]
    duration_ms: int


def worst_case(
    *, rule: RuleDocument, catalogue: Catalogue, judges: Judges = NO_JUDGES, now: datetime
) -> RouteWorstCase:
    """The bounds of one rule's route. What cannot be called, for want of a model or a price, costs nothing."""
    route = rule.route
    wanted = _Calls(route=route, catalogue=catalogue, judges=judges, now=now).of_route()
    attempts = min(route.max_attempts, wanted.attempts)
    cost_nanos = sum(nlargest(attempts, wanted.calls))
    return RouteWorstCase(
        rule=rule.name,
        attempts=attempts,
        duration_ms=min(route.deadline_ms, wanted.duration_ms),
        cost_nanos=cost_nanos if route.max_cost_nanos is None else min(cost_nanos, route.max_cost_nanos),
    )


def asked_steps(route: RouteDocument) -> int:
    """How many steps the route asks for their answers; those that a race leaves behind are asked for want of one."""
    steps = len(reachable_steps(route))
    return min(steps, MOST_RACERS) if route.strategy is Strategy.PARALLEL else steps


def stated_calls(route: RouteDocument) -> int:
    """The upstream calls that the route takes to ask, sample and judge all that it states, without any retry."""
    steps = reachable_steps(route)[: asked_steps(route)]
    return sum(1 + _calls_aside(step, route) for step in steps) + _picks_by_judge(route)


def full_answer_nanos(step: StepDocument, catalogue: Catalogue, now: datetime) -> int:
    """What the longest answer of a step can cost, its request left aside; 0 for want of a model or a price."""
    model = catalogue.get(step.model)
    price = None if model is None else model.price_at(now)
    if model is None or price is None:
        return 0
    return dearest_nanos(
        price=price, input_tokens=0, output_tokens=_most_output(model, stated=step.max_output_tokens)
    )


def _calls_aside(step: StepDocument, route: RouteDocument) -> int:
    """How many samples and judgements the step's validators ask for."""
    stated = step.validators if validates(route) else ()
    samples = sum(validator.samples - 1 for validator in stated if isinstance(validator, SamplesAgree))
    return samples + sum(isinstance(validator, JudgedAtLeast) for validator in stated)


def _picks_by_judge(route: RouteDocument) -> bool:
    return route.strategy is Strategy.PARALLEL and route.pick is Pick.JUDGE and route.judge is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a strategy would take if its envelope had no end. `calls` may hold more than `attempts`: the dearest count."""

    attempts: int
    calls: tuple[int, ...]
    duration_ms: int


_NOTHING = _Wanted(attempts=0, calls=(), duration_ms=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """The calls of one route, by what they can cost."""

    route: RouteDocument
    catalogue: Catalogue
    judges: Judges
    now: datetime

    def of_route(self) -> _Wanted:
        steps = reachable_steps(self.route)
        if not steps:
            return _NOTHING
        return self._at_once(steps) if self.route.strategy is Strategy.PARALLEL else self._in_order(steps)

    def _in_order(self, steps: Sequence[StepDocument]) -> _Wanted:
        """One after the other. The last one that is left may be asked once more after a fault."""
        asked = [self._step(step) for step in steps]
        retry_ms = LONGEST_RETRY_WAIT_MS + max(step.duration_ms for step in asked)
        calls = tuple(cost for step in asked for cost in step.calls)
        return _Wanted(
            attempts=len(calls) + 1,
            calls=(*calls, max(step.calls[0] for step in asked)),
            duration_ms=sum(step.duration_ms for step in asked) + retry_ms,
        )

    def _at_once(self, steps: Sequence[StepDocument]) -> _Wanted:
        """Either some racers answer, and are judged; or all of them fail, and the other steps are asked in order, as they are.

        Any of the steps may race, because those before it may be left out.
        """
        asked = [self._step(step) for step in steps]
        judging = [self._judge(self.route.judge)] if self.route.judge and _picks_by_judge(self.route) else []
        racing = sum(nlargest(MOST_RACERS, (len(step.calls) for step in asked)))
        racing_ms = max(step.duration_ms for step in asked)
        others = [replace(step, validators=()) for step in steps[MOST_RACERS:]]
        in_order = self._in_order(others) if others else _NOTHING
        retried = [max(step.calls[0] for step in asked)] if others else []
        return _Wanted(
            attempts=max(
                racing + sum(len(step.calls) for step in judging),
                len(steps) - len(others) + in_order.attempts,
            ),
            calls=(*(cost for step in (*asked, *judging) for cost in step.calls), *retried),
            duration_ms=racing_ms + max(in_order.duration_ms, sum(step.duration_ms for step in judging)),
        )

    def _step(self, step: StepDocument) -> _StepCalls:
        """Asking a step and, where the strategy looks at validators, all that these ask for."""
        cost_nanos = _full_context_nanos(
            self.catalogue.get(step.model), self.now, most_output=step.max_output_tokens
        )
        alone = _StepCalls(calls=(cost_nanos,), duration_ms=self._within_deadline(step.timeout_ms))
        aside = tuple(self._aside(step, alone)) if validates(self.route) else ()
        return _StepCalls(
            calls=(cost_nanos, *(cost for asked in aside for cost in asked.calls)),
            duration_ms=alone.duration_ms + sum(asked.duration_ms for asked in aside),
        )

    def _aside(self, step: StepDocument, alone: _StepCalls) -> Iterator[_StepCalls]:
        """Samples, which are asked at once, and judges."""
        for validator in step.validators:
            match validator:
                case SamplesAgree():
                    yield replace(alone, calls=alone.calls * (validator.samples - 1))
                case JudgedAtLeast():
                    yield self._judge(validator.judge)

    def _judge(self, reference: JudgeReference) -> _StepCalls:
        judge = self.judges.get((reference.name, reference.version))
        if judge is None:
            return _StepCalls(calls=(), duration_ms=0)
        model = self.catalogue.get(judge.model)
        cost_nanos = _full_context_nanos(model, self.now, most_output=judge.max_output_tokens)
        return _StepCalls(calls=(cost_nanos,), duration_ms=self._within_deadline(judge.timeout_ms))

    def _within_deadline(self, timeout_ms: int | None) -> int:
        deadline_ms = self.route.deadline_ms
        return deadline_ms if timeout_ms is None else min(timeout_ms, deadline_ms)


def _full_context_nanos(model: CatalogueModel | None, now: datetime, *, most_output: int | None) -> int:
    """The most that one call of a model can cost: the context full, with as much output as is dearest."""
    price = None if model is None else model.price_at(now)
    if model is None or price is None:
        return 0
    most_output = _most_output(model, stated=most_output)
    output_tokens = most_output if price.dearest_output_nanos > price.dearest_input_nanos else 0
    return dearest_nanos(
        price=price, input_tokens=model.context_window_tokens - output_tokens, output_tokens=output_tokens
    )


def _most_output(model: CatalogueModel, *, stated: int | None) -> int:
    if model.embeds:
        return 0
    limit = min(model.max_output_tokens, model.context_window_tokens)
    return limit if stated is None else min(limit, stated)
