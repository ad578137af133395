"""Sets of rules by what one fact of a request lets through, worked out when a policy is compiled.

A set of rules is an integer: bit n stands for the nth rule.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, chain, combinations
from math import inf
from operator import attrgetter, or_, xor
from typing import Protocol, TypeVar

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
from policies_app.routing.types import Facts

RuleSet = int
Conditions = Sequence[tuple[Condition, ...]]
"""The conditions of each rule, in the order of the rules."""

Kind = TypeVar("Kind", bound=Condition)

_FACTS: Mapping[type[TaskIs | TenantIs | ApiKeyIs | EndUserIs], Callable[[Facts], str | None]] = {
    TaskIs: attrgetter("task"),
    TenantIs: attrgetter("tenant"),
    ApiKeyIs: attrgetter("api_key"),
    EndUserIs: attrgetter("end_user"),
}
_TOKENS: Mapping[type[InputTokensBetween | OutputTokensBetween], Callable[[Facts], int | None]] = {
    InputTokensBetween: attrgetter("input_tokens"),
    OutputTokensBetween: attrgetter("output_tokens"),
}
SIEVED = (*_FACTS, *_TOKENS, TagsMatch, NeedsAll)
"""The conditions that the sieves of a policy stand for, whole."""


class Sieve(Protocol):
    """What one fact says of all rules at once."""

    def passing(self, facts: Facts) -> RuleSet:
        """The rules whose conditions on the fact all hold, and those without one."""
        ...


def sieves_of(rules: Conditions) -> Iterator[Sieve]:
    """One sieve for each fact that some rule looks at."""
    for kind, fact in _FACTS.items():
        accepted = [[stated.members for stated in _of_kind(stated_all, kind)] for stated_all in rules]
        if any(accepted):
            yield _ByValue(fact, accepted)
    yield from _tag_sieves([_of_kind(conditions, TagsMatch) for conditions in rules])
    for range_kind, tokens in _TOKENS.items():
        ranges = [_of_kind(conditions, range_kind) for conditions in rules]
        if any(ranges):
            yield _ByTokens(tokens, [[(stated.least, stated.most) for stated in each] for each in ranges])
    needs = [_of_kind(conditions, NeedsAll) for conditions in rules]
    if any(needs):
        yield _ByNeeds([frozenset(chain(*(stated.members for stated in each))) for each in needs])


def _tag_sieves(rules: Sequence[Sequence[TagsMatch]]) -> Iterator[Sieve]:
    for key in sorted({key for stated in rules for match in stated for key in match.tags}):
        accepted = [[match.tags[key] for match in stated if key in match.tags] for stated in rules]
        yield _ByValue(_Tag(key), accepted)


def _of_kind(conditions: Iterable[Condition], kind: type[Kind]) -> list[Kind]:
    return [condition for condition in conditions if isinstance(condition, kind)]


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag's value as a fact."""

    key: str

    def __call__(self, facts: Facts) -> str | None:
        return facts.tags.get(self.key)


class _ByValue:
    """A fact that must be one of some values. `accepted` has, for each rule, the values that each condition takes."""

    def __init__(
        self, fact: Callable[[Facts], str | None], accepted: Sequence[Sequence[Collection[str]]]
    ) -> None:
        by_value: dict[str, RuleSet] = defaultdict(int)
        indifferent = 0
        for place, stated in enumerate(accepted):
            if not stated:
                indifferent |= 1 << place
            else:
                for value in set(stated[0]).intersection(*stated[1:]):
                    by_value[value] |= 1 << place
        self._fact = fact
        self._by_value = {value: rules | indifferent for value, rules in by_value.items()}
        self._indifferent = indifferent

    def passing(self, facts: Facts) -> RuleSet:
        value = self._fact(facts)
        return self._indifferent if value is None else self._by_value.get(value, self._indifferent)


class _ByTokens:
    """A number of tokens that must lie in some ranges, both ends included. None lies in no range."""

    def __init__(
        self,
        tokens: Callable[[Facts], int | None],
        ranges: Sequence[Sequence[tuple[int, float]]],
    ) -> None:
        enters_or_leaves: dict[float, RuleSet] = defaultdict(int)
        indifferent = 0
        for place, stated in enumerate(ranges):
            least = max((least for least, _ in stated), default=0)
            most = min((most for _, most in stated), default=inf)
            if not stated:
                indifferent |= 1 << place
            elif least <= most:
                enters_or_leaves[least] ^= 1 << place
                enters_or_leaves[most + 1] ^= 1 << place
        self._tokens = tokens
        self._bounds = sorted(enters_or_leaves)
        toggled = (enters_or_leaves[bound] for bound in self._bounds)
        self._passing = tuple(accumulate(toggled, xor, initial=indifferent))

    def passing(self, facts: Facts) -> RuleSet:
        tokens = self._tokens(facts)
        return self._passing[0 if tokens is None else bisect_right(self._bounds, tokens)]


class _ByNeeds:
    """Capabilities that the request must need. `required` has those of each rule, none for one that does not care."""

    def __init__(self, required: Sequence[frozenset[Capability]]) -> None:
        everything = (1 << len(required)) - 1
        requiring = {
            capability: reduce(
                or_, (1 << place for place, needs in enumerate(required) if capability in needs), 0
            )
            for capability in Capability
        }
        every_need = chain.from_iterable(
            combinations(Capability, length) for length in range(len(Capability) + 1)
        )
        self._passing = {
            needs: everything & ~reduce(or_, (requiring[lacking] for lacking in set(Capability) - needs), 0)
            for needs in map(frozenset, every_need)
        }

    def passing(self, facts: Facts) -> RuleSet:
        return self._passing[facts.needs]
