"""Which rules of a policy match a request, and which condition keeps the others from it, without trying each rule in turn.

Each subject of the conditions has a sieve, which tells at once the rules that it lets through. Those whose subject is read
off the request come first. Of the rules that pass all of these, first one first, the sieves of their other conditions are
asked. Conditions are pure and independent of each other, so neither changes what matches.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from policies_app.routing.conditions import Condition
from policies_app.routing.sieves import READ_OFF, RuleSet, Sieve, Stated, Subject, make_sieve, subjects_of
from policies_app.routing.types import Facts, Situation

Conditions = Sequence[tuple[Condition, ...]]
"""The conditions of each rule, in the order of the rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleIndex:
    """The conditions of a policy's rules, arranged for matching.

    The first `read_off` of the sieves are quick. `others` has, for each rule, the places of the sieves of its conditions
    that are not. `kinds` has the kinds of each rule's conditions, `first_kinds` those of the first ones. `stated` has, for the
    first condition of all rules, their second one and so on, the places of sieves and the rules for which these stand for it.
    """

    everything: RuleSet
    sieves: tuple[Sieve, ...]
    read_off: int
    others: tuple[tuple[int, ...], ...]
    kinds: tuple[tuple[str, ...], ...]
    first_kinds: tuple[str, ...]
    stated: tuple[tuple[tuple[int, RuleSet], ...], ...]

    def sift(self, facts: Facts, situation: Situation, now: datetime) -> "Sifting":
        """Hold the rules against a request."""
        return Sifting(self, facts, situation, now)


class Sifting:
    """The rules of a policy as they meet one request. Each sieve is asked once, when its answer is first needed."""

    __slots__ = ("_facts", "_index", "_now", "_passing", "_situation")

    def __init__(self, index: RuleIndex, facts: Facts, situation: Situation, now: datetime) -> None:
        self._index = index
        self._facts = facts
        self._situation = situation
        self._now = now
        self._passing: list[RuleSet | None] = [None] * len(index.sieves)

    def matches(self) -> Iterator[int]:
        """The places of the rules whose conditions all hold, first one first, each found when it is asked for."""
        ask, others = self._ask, self._index.others
        left = self._index.everything
        for sieve in range(self._index.read_off):
            left &= ask(sieve)
        while left:
            first = left & -left
            place = first.bit_length() - 1
            for sieve in others[place]:
                left &= ask(sieve)
                if not left & first:
                    break
            else:
                yield place
                left ^= first

    def failed_kinds(self, length: int) -> list[str]:
        """Of the first `length` rules, the kind of the first condition of each that does not hold, empty where all hold."""
        failed, left = list(self._index.first_kinds[:length]), (1 << length) - 1
        for number, stated in enumerate(self._index.stated):
            failing = 0
            for sieve, stating in stated:
                if left & stating:
                    failing |= left & stating & ~self._ask(sieve)
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
            passing = self._index.sieves[sieve].passing(self._facts, self._situation, self._now)
            self._passing[sieve] = passing
        return passing


def index_rules(rules: Conditions) -> RuleIndex:
    """Arrange the conditions of a policy's rules for matching."""
    looked_at = [tuple(_subjects(place, conditions)) for place, conditions in enumerate(rules)]
    stated = _by_subject(rules, looked_at)
    subjects = sorted(stated, key=lambda subject: (subject.kind not in READ_OFF, -len(stated[subject])))
    everything, read_off = (1 << len(rules)) - 1, sum(subject.kind in READ_OFF for subject in subjects)
    sieve_of = {subject: number for number, subject in enumerate(subjects)}
    sieves_of = [[[sieve_of[subject] for subject in each] for each in of_rule] for of_rule in looked_at]
    kinds = tuple(tuple(condition.kind for condition in conditions) for conditions in rules)
    return RuleIndex(
        everything=everything,
        sieves=tuple(make_sieve(subject, stated[subject], everything=everything) for subject in subjects),
        read_off=read_off,
        others=tuple(
            tuple(sorted(sieve for sieve in chain(*of_rule) if sieve >= read_off)) for of_rule in sieves_of
        ),
        kinds=kinds,
        first_kinds=tuple(of_rule[0] if of_rule else "" for of_rule in kinds),
        stated=tuple(_sieves_by_number(sieves_of)),
    )


def _subjects(place: int, conditions: Sequence[Condition]) -> Iterator[tuple[Subject, ...]]:
    """What each condition of a rule looks at. One that looks at what a different one has taken gets a subject of its own."""
    taken: set[Subject] = set()
    for number, condition in enumerate(conditions):
        subjects = subjects_of(condition)
        if not taken.isdisjoint(subjects) and condition not in conditions[:number]:
            subjects = (Subject(condition.kind, (place, number)),)
        taken.update(subjects)
        yield subjects


def _by_subject(
    rules: Conditions, looked_at: Sequence[Sequence[tuple[Subject, ...]]]
) -> Mapping[Subject, Stated]:
    stated: dict[Subject, dict[int, Condition]] = defaultdict(dict)
    for place, conditions in enumerate(rules):
        for condition, subjects in zip(conditions, looked_at[place], strict=True):
            for subject in subjects:
                stated[subject][place] = condition
    return stated


def _sieves_by_number(
    sieves_of: Sequence[Sequence[Sequence[int]]],
) -> Iterator[tuple[tuple[int, RuleSet], ...]]:
    """See `RuleIndex.stated`."""
    for number in range(max(map(len, sieves_of), default=0)):
        stating: dict[int, RuleSet] = defaultdict(int)
        for place, of_rule in enumerate(sieves_of):
            for sieve in of_rule[number] if number < len(of_rule) else ():
                stating[sieve] |= 1 << place
        yield tuple(stating.items())


def _places(rules: RuleSet) -> Iterator[int]:
    """The places of the rules of a set, first one first."""
    while rules:
        yield (rules & -rules).bit_length() - 1
        rules &= rules - 1
