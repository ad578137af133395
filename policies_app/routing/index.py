"""Which rules of a policy match a request, and which condition keeps the others from it, without trying each rule in turn.

Each subject of the conditions has a sieve, which tells at once the rules that it lets through. Those that look at the fleet
alone, or at what is read off the request, come first. Of the rules that pass all of these, first one first, the sieves of
their other conditions are asked. Conditions are pure and independent of each other, so neither changes what matches.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import and_, or_

from policies_app.routing.conditions import Condition
from policies_app.routing.sieves import (
    RuleSet,
    Sieve,
    Source,
    Stated,
    Subject,
    make_sieve,
    source_of,
    subjects_of,
)
from policies_app.routing.types import Facts, FleetState, Situation

Conditions = Sequence[tuple[Condition, ...]]
"""The conditions of each rule, in the order of the rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleIndex:
    """The conditions of a policy's rules, arranged for matching.

    The sieves are those `of_fleet`, the quick ones `of_request`, and the `others`, numbered in this order, the others from
    `first_other` on; `others_of_rule` has their numbers for each rule. `kinds` has the kinds of each rule's conditions,
    `first_kinds` those of the first ones. `turns` has the first conditions of all rules, their second ones and so on.
    """

    of_fleet: "FleetSieves"
    of_request: tuple[Sieve, ...]
    others: tuple[Sieve, ...]
    first_other: int
    others_of_rule: tuple[tuple[int, ...], ...]
    kinds: tuple[tuple[str, ...], ...]
    first_kinds: tuple[str, ...]
    turns: tuple["_Turn", ...]

    def sift(self, facts: Facts, situation: Situation, now: datetime) -> "Sifting":
        """Hold the rules against a request."""
        return Sifting(self, facts, situation, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """The nth conditions of all rules: the rules that have so many, and those of them by the number of the sieve."""

    stated_by: RuleSet
    by_sieve: tuple[tuple[int, RuleSet], ...]


@dataclass(frozen=True, slots=True)
class _FleetPassing:
    """What each sieve, and all of them together, let pass in one state of the fleet."""

    fleet: FleetState
    each: tuple[RuleSet, ...]
    together: RuleSet


class FleetSieves:
    """The sieves that look at nothing but the fleet.

    Its state is one value for all requests until something changes, so what they let pass is kept with the last one.
    """

    __slots__ = ("_everything", "_kept", "_sieves")

    def __init__(self, sieves: Sequence[Sieve], everything: RuleSet) -> None:
        self._sieves = sieves
        self._everything = everything
        self._kept: _FleetPassing | None = None

    def passing(self, facts: Facts, situation: Situation, now: datetime) -> _FleetPassing:
        """What they let pass in the situation, whatever the request."""
        kept = self._kept
        if kept is None or kept.fleet is not situation.fleet:
            each = tuple(sieve.passing(facts, situation, now) for sieve in self._sieves)
            together = reduce(and_, each, self._everything)
            kept = self._kept = _FleetPassing(situation.fleet, each, together)
        return kept


class Sifting:
    """The rules of a policy as they meet one request. Each sieve is asked once, when its answer is first needed."""

    __slots__ = ("_facts", "_index", "_left", "_now", "_passing", "_situation")

    def __init__(self, index: RuleIndex, facts: Facts, situation: Situation, now: datetime) -> None:
        of_fleet = index.of_fleet.passing(facts, situation, now)
        of_request = [sieve.passing(facts, situation, now) for sieve in index.of_request]
        self._index = index
        self._facts = facts
        self._situation = situation
        self._now = now
        self._left = reduce(and_, of_request, of_fleet.together)
        self._passing: list[RuleSet | None] = [*of_fleet.each, *of_request, *(None for _ in index.others)]

    def matches(self) -> Iterator[int]:
        """The places of the rules whose conditions all hold, first one first, each found when it is asked for."""
        left = self._left
        while left:
            first = left & -left
            place = first.bit_length() - 1
            for sieve in self._index.others_of_rule[place]:
                left &= self._ask(sieve)
                if not left & first:
                    break
            else:
                yield place
                left ^= first

    def failed_kinds(self, length: int) -> list[str]:
        """Of the first `length` rules, the kind of the first condition of each that does not hold, empty where all hold."""
        failed, left = list(self._index.first_kinds[:length]), (1 << length) - 1
        for number, turn in enumerate(self._index.turns):
            if not left & turn.stated_by:
                break
            failing = 0
            for sieve, stating in turn.by_sieve:
                if concerned := left & stating:
                    failing |= concerned & ~self._ask(sieve)
            if number:
                for place in _places(failing):
                    failed[place] = self._index.kinds[place][number]
            left ^= failing
        for place in _places(left):
            failed[place] = ""
        return failed

    def _ask(self, sieve: int) -> RuleSet:
        passing = self._passing[sieve]
        if passing is None:
            asked = self._index.others[sieve - self._index.first_other]
            passing = self._passing[sieve] = asked.passing(self._facts, self._situation, self._now)
        return passing


def index_rules(rules: Conditions) -> RuleIndex:
    """Arrange the conditions of a policy's rules for matching."""
    looked_at = [_subjects(place, conditions) for place, conditions in enumerate(rules)]
    stated = _by_subject(rules, looked_at)
    everything = (1 << len(rules)) - 1
    sources: dict[Source, dict[Subject, Sieve]] = {source: {} for source in Source}
    for subject in sorted(stated, key=lambda subject: -len(stated[subject])):
        source = source_of(next(iter(stated[subject].values())))
        sources[source][subject] = make_sieve(subject, stated[subject], everything=everything)
    number_of = {subject: number for number, subject in enumerate(chain(*sources.values()))}
    numbers = [[[number_of[subject] for subject in each] for each in of_rule] for of_rule in looked_at]
    first_other = len(number_of) - len(sources[Source.OTHER])
    kinds = tuple(tuple(condition.kind for condition in conditions) for conditions in rules)
    return RuleIndex(
        of_fleet=FleetSieves(tuple(sources[Source.FLEET].values()), everything),
        of_request=tuple(sources[Source.REQUEST].values()),
        others=tuple(sources[Source.OTHER].values()),
        first_other=first_other,
        others_of_rule=tuple(
            tuple(sorted(number for number in chain(*of_rule) if number >= first_other))
            for of_rule in numbers
        ),
        kinds=kinds,
        first_kinds=tuple(of_rule[0] if of_rule else "" for of_rule in kinds),
        turns=tuple(_turns(numbers)),
    )


def _subjects(place: int, conditions: Sequence[Condition]) -> Sequence[tuple[Subject, ...]]:
    """What each condition of a rule looks at. One that looks at what a different one has taken gets a subject of its own."""
    found: list[tuple[Subject, ...]] = []
    for number, condition in enumerate(conditions):
        if condition in conditions[:number]:
            subjects = found[conditions.index(condition)]
        else:
            subjects = subjects_of(condition)
            if not set(subjects).isdisjoint(chain(*found)):
                subjects = (Subject(condition.kind, (place, number)),)
        found.append(subjects)
    return found


def _by_subject(
    rules: Conditions, looked_at: Sequence[Sequence[tuple[Subject, ...]]]
) -> Mapping[Subject, Stated]:
    stated: dict[Subject, dict[int, Condition]] = defaultdict(dict)
    for place, conditions in enumerate(rules):
        for condition, subjects in zip(conditions, looked_at[place], strict=True):
            for subject in subjects:
                stated[subject][place] = condition
    return stated


def _turns(sieves_of: Sequence[Sequence[Sequence[int]]]) -> Iterator[_Turn]:
    """The turns, by the sieves of each rule's conditions."""
    for number in range(max(map(len, sieves_of), default=0)):
        by_sieve: dict[int, RuleSet] = defaultdict(int)
        for place, of_rule in enumerate(sieves_of):
            for sieve in of_rule[number] if number < len(of_rule) else ():
                by_sieve[sieve] |= 1 << place
        yield _Turn(stated_by=reduce(or_, by_sieve.values(), 0), by_sieve=tuple(by_sieve.items()))


def _places(rules: RuleSet) -> Iterator[int]:
    """The places of the rules of a set, first one first."""
    while rules:
        yield (rules & -rules).bit_length() - 1
        rules &= rules - 1
