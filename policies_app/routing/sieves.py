"""What one subject of conditions, such as the caller's task, says of all rules at once.

A set of rules is an integer: bit n stands for the nth rule. A sieve is made when a policy is compiled, of what the rules
state about its subject; it stands for one condition of each rule at most.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, auto
from functools import reduce
from itertools import accumulate, chain, combinations
from operator import attrgetter, or_, xor
from typing import Protocol, TypeVar

from policies_app.routing.codes import Capability
from policies_app.routing.conditions import (
    ApiKeyIs,
    Condition,
    EndUserIs,
    FigureCondition,
    HealthDegraded,
    InputTokensBetween,
    LatencyAbove,
    NeedsAll,
    OutputTokensBetween,
    QualityAtLeast,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.types import Facts, Situation

RuleSet = int
Figure = Callable[[Facts, Situation, datetime], float | None]
Kind = TypeVar("Kind", bound=Condition | FigureCondition)
Stated = Mapping[int, Condition]
"""Conditions by the place of the rule that states them, one of each rule at most."""

_FACTS: Mapping[type[Condition], Callable[[Facts], str | None]] = {
    TaskIs: attrgetter("task"),
    TenantIs: attrgetter("tenant"),
    ApiKeyIs: attrgetter("api_key"),
    EndUserIs: attrgetter("end_user"),
}


class Source(IntEnum):
    """Where a subject is found, in the order in which sieves are asked."""

    FLEET = auto()
    """In the state of the fleet, and nowhere else."""
    REQUEST = auto()
    """On the request, where it is read off and takes no time to find."""
    OTHER = auto()


class Sieve(Protocol):
    """What one subject says of all rules at once."""

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        """The rules whose condition on the subject holds, and those without one."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What a sieve looks at, `detail` of a kind of conditions: the key of a tag, say, the scope of budgets, or a whole condition."""

    kind: str
    detail: Hashable = None


def subjects_of(condition: Condition) -> tuple[Subject, ...]:
    """What a condition looks at. It holds where the sieves of all these subjects let its rule pass."""
    match condition:
        case TagsMatch():
            return tuple(Subject(condition.kind, key) for key in condition.tags)
        case FigureCondition():
            return (Subject(condition.kind, condition.subject),)
        case TaskIs() | TenantIs() | ApiKeyIs() | EndUserIs() | NeedsAll() | HealthDegraded():
            return (Subject(condition.kind),)
        case _:
            return (Subject(condition.kind, condition),)


def source_of(condition: Condition) -> Source:
    """Where the subjects of a condition are found."""
    match condition:
        case LatencyAbove() | HealthDegraded() | QualityAtLeast(task=str()):
            return Source.FLEET
        case TaskIs() | TenantIs() | ApiKeyIs() | EndUserIs() | TagsMatch() | NeedsAll():
            return Source.REQUEST
        case InputTokensBetween() | OutputTokensBetween():
            return Source.REQUEST
        case _:
            return Source.OTHER


def make_sieve(subject: Subject, stated: Stated, *, everything: RuleSet) -> Sieve:
    """The sieve of a subject, of all that is stated about it. Conditions with a subject of their own are equal."""
    indifferent = everything & ~rule_set(stated)
    condition = next(iter(stated.values()))
    if subject not in subjects_of(condition):
        return _ByCondition(condition, everything, indifferent)
    match condition:
        case TaskIs() | TenantIs() | ApiKeyIs() | EndUserIs():
            members = {place: each.members for place, each in _of_kind(stated, type(condition))}
            sieve: Sieve = _ByValue(_FACTS[type(condition)], members, indifferent)
        case TagsMatch():
            key = str(subject.detail)
            values = {place: each.tags[key] for place, each in _of_kind(stated, TagsMatch)}
            sieve = _ByValue(_Tag(key), values, indifferent)
        case FigureCondition():
            bounds = {place: each.bounds for place, each in _of_kind(stated, FigureCondition)}
            sieve = _ByFigure(condition.figure, bounds, indifferent)
        case NeedsAll():
            needs = {place: each.members for place, each in _of_kind(stated, NeedsAll)}
            sieve = _ByNeeds(needs, everything)
        case HealthDegraded():
            sieve = _ByHealth(dict(_of_kind(stated, HealthDegraded)), indifferent)
        case _:
            sieve = _ByCondition(condition, everything, indifferent)
    return sieve


def rule_set(places: Iterable[int]) -> RuleSet:
    """The set of the rules at these places."""
    return reduce(or_, (1 << place for place in places), 0)


def _of_kind(stated: Stated, kind: type[Kind]) -> Iterator[tuple[int, Kind]]:
    for place, condition in stated.items():
        if isinstance(condition, kind):
            yield place, condition


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag's value as a fact."""

    key: str

    def __call__(self, facts: Facts) -> str | None:
        return facts.tags.get(self.key)


class _ByValue:
    """A fact that must be one of some values, those that each rule takes."""

    def __init__(
        self,
        fact: Callable[[Facts], str | None],
        taken: Mapping[int, Collection[str]],
        indifferent: RuleSet,
    ) -> None:
        by_value: dict[str, RuleSet] = defaultdict(lambda: indifferent)
        for place, values in taken.items():
            for value in values:
                by_value[value] |= 1 << place
        self._fact = fact
        self._by_value = dict(by_value)
        self._indifferent = indifferent

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        value = self._fact(facts)
        return self._indifferent if value is None else self._by_value.get(value, self._indifferent)


class _ByFigure:
    """A figure that must lie in a range, from its least up to just below its end. None lies in no range."""

    def __init__(
        self, figure: Figure, ranges: Mapping[int, tuple[float, float]], indifferent: RuleSet
    ) -> None:
        enters_or_leaves: dict[float, RuleSet] = defaultdict(int)
        for place, (least, below) in ranges.items():
            if least < below:
                enters_or_leaves[least] ^= 1 << place
                enters_or_leaves[below] ^= 1 << place
        self._figure = figure
        self._bounds = sorted(enters_or_leaves)
        toggled = (enters_or_leaves[bound] for bound in self._bounds)
        self._passing = tuple(accumulate(toggled, xor, initial=indifferent))

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        figure = self._figure(facts, situation, now)
        return self._passing[0 if figure is None else bisect_right(self._bounds, figure)]


class _ByNeeds:
    """Capabilities that the request must need. `required` has those of each rule that cares."""

    def __init__(self, required: Mapping[int, frozenset[Capability]], everything: RuleSet) -> None:
        requiring = {
            capability: rule_set(place for place, needs in required.items() if capability in needs)
            for capability in Capability
        }
        every_need = chain.from_iterable(
            combinations(Capability, length) for length in range(len(Capability) + 1)
        )
        self._passing = {
            needs: everything & ~reduce(or_, (requiring[lacking] for lacking in set(Capability) - needs), 0)
            for needs in map(frozenset, every_need)
        }

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        return self._passing[facts.needs]


class _ByHealth:
    """Models and providers of which one must fare badly. Mostly none does."""

    def __init__(self, stated: Mapping[int, HealthDegraded], indifferent: RuleSet) -> None:
        by_model: dict[str, RuleSet] = defaultdict(int)
        by_provider: dict[str, RuleSet] = defaultdict(int)
        for place, condition in stated.items():
            for model in condition.models:
                by_model[model] |= 1 << place
            for provider in condition.providers:
                by_provider[provider] |= 1 << place
        self._by_model = dict(by_model)
        self._by_provider = dict(by_provider)
        self._indifferent = indifferent

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        passing, fleet = self._indifferent, situation.fleet
        if fleet.targets:
            for model in self._by_model.keys() & fleet.targets.keys():
                if fleet.is_ailing(model):
                    passing |= self._by_model[model]
        if fleet.degraded_providers:
            for provider in self._by_provider.keys() & fleet.degraded_providers:
                passing |= self._by_provider[provider]
        return passing


class _ByCondition:
    """One condition, tried once for all of the rules that state it."""

    def __init__(self, condition: Condition, everything: RuleSet, indifferent: RuleSet) -> None:
        self._holds = condition.holds
        self._everything = everything
        self._indifferent = indifferent

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> RuleSet:
        return self._everything if self._holds(facts, situation, now) else self._indifferent
