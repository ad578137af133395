"""Which rules were looked at and why each was passed over, told on demand.

Conditions are pure, so the trace is not recorded while deciding: it is worked out again for the rules that are read. What
the log keeps of every dispatch falls out of the decision's own sifting.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload

from policies_app.routing.compilation import CompiledRule
from policies_app.routing.conditions import (
    BudgetForecast,
    BudgetUsed,
    Condition,
    HealthDegraded,
    LatencyAbove,
    QualityAtLeast,
    ShareOf,
    WithinHours,
)
from policies_app.routing.index import Sifting
from policies_app.routing.types import Facts, RuleTrace, Situation

KILLED = "killed"
"""What `RuleTrace.failed` says of a rule that a kill switch took out."""
_OF_THE_MOMENT = {
    kind.kind
    for kind in (
        BudgetUsed,
        BudgetForecast,
        LatencyAbove,
        QualityAtLeast,
        HealthDegraded,
        WithinHours,
        ShareOf,
    )
}
"""Conditions on what nobody sees from the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesLookedAt(Sequence[RuleTrace]):
    """The first `length` of a policy's rules, as they met one request."""

    policy: str
    rules: tuple[CompiledRule, ...]
    length: int
    facts: Facts
    situation: Situation
    now: datetime
    sifting: Sifting = field(repr=False, compare=False)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> RuleTrace: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RuleTrace, ...]: ...
    def __getitem__(self, index: int | slice) -> RuleTrace | tuple[RuleTrace, ...]:
        if isinstance(index, slice):
            return tuple(self._trace(rule) for rule in self.rules[: self.length][index])
        return self._trace(self.rules[range(self.length)[index]])

    def __iter__(self) -> Iterator[RuleTrace]:
        return map(self._trace, self.rules[: self.length])

    def failed_kinds(self) -> list[str]:
        """What `RuleTrace.failed` says of each rule that was passed over, in order, without wording any."""
        failed = self.sifting.failed_kinds(self.length)
        if self.situation.killed.rules:
            failed = [
                KILLED if self._is_killed(rule) else kind
                for rule, kind in zip(self.rules, failed, strict=False)
            ]
        return failed if failed and failed[-1] else failed[:-1]

    def _is_killed(self, rule: CompiledRule) -> bool:
        return (self.policy, rule.name) in self.situation.killed.rules

    def _trace(self, rule: CompiledRule) -> RuleTrace:
        if self._is_killed(rule):
            return RuleTrace(
                rule=rule.name, matched=False, failed=KILLED, actual="a kill switch stops this rule"
            )
        failed = _first_failure(rule, self.facts, self.situation, self.now)
        if failed is None:
            return self._match(rule)
        return RuleTrace(
            rule=rule.name,
            matched=False,
            failed=failed.kind,
            expected=failed.expected(),
            actual=failed.actual(self.facts, self.situation, self.now),
        )

    def _match(self, rule: CompiledRule) -> RuleTrace:
        return RuleTrace(
            rule=rule.name,
            matched=True,
            expected=" and ".join([self._told(condition) for condition in rule.conditions]),
            actual=", ".join(
                [condition.actual(self.facts, self.situation, self.now) for condition in rule.conditions]
            ),
        )

    def _told(self, condition: Condition) -> str:
        """What held, with the figure that it was held against where that is not the request's own."""
        if condition.kind not in _OF_THE_MOMENT:
            return condition.expected()
        return f"{condition.expected()} ({condition.actual(self.facts, self.situation, self.now)})"


def failed_kinds(trace: Sequence[RuleTrace]) -> list[str]:
    """`RuleTrace.failed` of each rule that was passed over, in order: what the log of every dispatch keeps."""
    if isinstance(trace, RulesLookedAt):
        return trace.failed_kinds()
    return [rule.failed for rule in trace if not rule.matched]


def _first_failure(rule: CompiledRule, facts: Facts, situation: Situation, now: datetime) -> Condition | None:
    """The first condition of `rule` that does not hold, None when all do."""
    for condition in rule.conditions:
        if not condition.holds(facts, situation, now):
            return condition
    return None
