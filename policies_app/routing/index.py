"""Which rules of a policy match a request, found without trying each rule in turn.

A set of rules is an integer: bit n stands for the nth rule. Each fact that the rules look at has a sieve, which tells at
once the rules that the fact lets through. Only the conditions of rules that pass all sieves are tried, and equal
conditions once for all of the rules that state them. Conditions are pure and independent, so neither changes what matches.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import accumulate, combinations
from operator import and_, attrgetter, xor
from typing import Protocol

from policies_app.routing.codes import Capability
from policies_app.routing.conditions import (
    ApiKeyIs,
    Condition,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    OutputTokensBetween,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.types import Facts, Situation

RuleSet = int
Conditions = Sequence[tuple[Condition, ...]]
"""The conditions of each rule, in the order of the rules."""

_Fact = Callable[[Facts], str | None]
_FACTS: Mapping[type[TaskIs | TenantIs | ApiKeyIs | EndUserIs], _Fact] = {
    TaskIs: attrgetter("task"),
    TenantIs: attrgetter("tenant"),
    ApiKeyIs: attrgetter("api_key"),
    EndUserIs: attrgetter("end_user"),
}
_SIEVED = (*_FACTS, TagsMatch, InputTokensBetween, OutputTokensBetween, NeedsAll)


class _Sieve(Protocol):
    def passing(self, facts: Facts) -> RuleSet:
        """The rules that one fact of the request lets through."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A condition that no sieve stands for, and the rules that state it. `bit` tells it from the others."""

    condition: Condition
    bit: int
    stated_by: RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleIndex:
    """The conditions of a policy, arranged for matching."""

    everything: RuleSet
    sieves: tuple[_Sieve, ...]
    tried: tuple[tuple[_Tried, ...], ...]

    def matches(self, facts: Facts, situation: Situation, now: datetime) -> Iterator[int]:
        """The places of the rules whose conditions all hold, first one first, each worked out when it is asked for."""
        left = self.everything
        for sieve in self.sieves:
            left &= sieve.passing(facts)
        held = 0
        while left:
            place = (left & -left).bit_length() - 1
            for tried in self.tried[place]:
                if held & tried.bit:
                    continue
                if not tried.condition.holds(facts, situation, now):
                    left &= ~tried.stated_by
                    break
                held |= tried.bit
            else:
                yield place
                left &= left - 1


def index_rules(rules: Conditions) -> RuleIndex:
    """Arrange the conditions of a policy's rules for matching."""
    everything = (1 << len(rules)) - 1
    return RuleIndex(
        everything=everything, sieves=tuple(_sieves(rules, everything)), tried=_tried_of_rules(rules)
    )


def _tried_of_rules(rules: Conditions) -> tuple[tuple[_Tried, ...], ...]:
    unsieved = [
        [condition for condition in conditions if not isinstance(condition, _SIEVED)] for conditions in rules
    ]
    stated_by: dict[Condition, RuleSet] = defaultdict(int)
    for place, conditions in enumerate(unsieved):
        for condition in conditions:
            stated_by[condition] |= 1 << place
    tried = {
        condition: _Tried(condition=condition, bit=1 << number, stated_by=stating)
        for number, (condition, stating) in enumerate(stated_by.items())
    }
    return tuple(tuple(tried[condition] for condition in conditions) for conditions in unsieved)


def _sieves(rules: Conditions, everything: RuleSet) -> Iterator[_Sieve]:
    """One sieve for each fact that some rule looks at."""
    for kind, fact in _FACTS.items():
        accepted = [[stated.members for stated in _of_kind(conditions, kind)] for conditions in rules]
        if any(accepted):
            yield _ByValue.build(fact, accepted, everything)
    tags = [_of_kind(conditions, TagsMatch) for conditions in rules]
    for key in sorted({key for stated in tags for match in stated for key in match.tags}):
        accepted = [[frozenset(match.tags[key]) for match in stated if key in match.tags] for stated in tags]
        yield _ByValue.build(_Tag(key=key), accepted, everything)
    inputs = [_of_kind(conditions, InputTokensBetween) for conditions in rules]
    if any(inputs):
        yield _ByTokens.build(attrgetter("input_tokens"), inputs, everything)
    outputs = [_of_kind(conditions, OutputTokensBetween) for conditions in rules]
    if any(outputs):
        yield _ByTokens.build(attrgetter("output_tokens"), outputs, everything)
    needs = [_of_kind(conditions, NeedsAll) for conditions in rules]
    if any(needs):
        yield _ByNeeds.build(needs)


def _of_kind[C](conditions: Iterable[Condition], kind: type[C]) -> list[C]:
    return [condition for condition in conditions if isinstance(condition, kind)]
