"""Which rules of a policy match a request, found without trying each rule in turn.

Each fact of the request that the rules look at has a sieve, which tells at once the rules that the fact lets through. Of
the rules that pass all sieves, first one first, the other conditions are tried, and equal conditions once for all of the
rules that state them. Conditions are pure and independent of each other, so neither changes what matches.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from policies_app.routing.conditions import Condition
from policies_app.routing.sieves import SIEVED, Conditions, RuleSet, Sieve, sieves_of
from policies_app.routing.types import Facts, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A condition that no sieve stands for, and the rules that state it. `bit` tells it from the others."""

    condition: Condition
    bit: int
    stated_by: RuleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleIndex:
    """The conditions of a policy's rules, arranged for matching."""

    everything: RuleSet
    sieves: tuple[Sieve, ...]
    tried: tuple[tuple[_Tried, ...], ...]

    def matches(self, facts: Facts, situation: Situation, now: datetime) -> Iterator[int]:
        """The places of the rules whose conditions all hold, first one first, each found when it is asked for."""
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
    return RuleIndex(
        everything=(1 << len(rules)) - 1, sieves=tuple(sieves_of(rules)), tried=_tried_of_rules(rules)
    )


def _tried_of_rules(rules: Conditions) -> tuple[tuple[_Tried, ...], ...]:
    """The conditions of each rule that are left to try, equal ones the same object.

    Those that most rules state go first: where such a one fails, few rules are left.
    """
    unsieved = [[stated for stated in conditions if not isinstance(stated, SIEVED)] for conditions in rules]
    stated_by: dict[Condition, RuleSet] = defaultdict(int)
    for place, conditions in enumerate(unsieved):
        for condition in conditions:
            stated_by[condition] |= 1 << place
    tried = {
        condition: _Tried(condition=condition, bit=1 << number, stated_by=stating)
        for number, (condition, stating) in enumerate(stated_by.items())
    }
    return tuple(
        tuple(sorted((tried[stated] for stated in conditions), key=_rarity)) for conditions in unsieved
    )


def _rarity(tried: _Tried) -> int:
    return -tried.stated_by.bit_count()
