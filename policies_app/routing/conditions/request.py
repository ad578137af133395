"""Conditions on the request itself: its task, who calls, and its shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import ClassVar

from policies_app.routing.codes import Capability
from policies_app.routing.conditions.figures import FigureCondition
from policies_app.routing.conditions.operand_lists import distinct_texts, one_of
from policies_app.routing.operands import OperandError, require_integer
from policies_app.routing.types import Facts, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class _OneOf:
    """A fact equals one of the values of the operand that the subclass declares."""

    kind: ClassVar[str]
    noun: ClassVar[str]
    operand: ClassVar[str]

    members: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        values = distinct_texts(getattr(self, self.operand), self.operand)
        object.__setattr__(self, self.operand, values)
        object.__setattr__(self, "members", frozenset(values))

    def expected(self) -> str:
        """What must hold, in words."""
        return f"{self.noun} is {one_of(getattr(self, self.operand))}"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        value = self._fact(facts)
        return f"no {self.noun} was given" if value is None else f"{self.noun} is {value}"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return isinstance(other, type(self)) and self.members <= other.members

    def contradicts(self, other: object) -> bool:
        """Whether this one and `other` can never hold together."""
        return isinstance(other, type(self)) and self.members.isdisjoint(other.members)

    def _fact(self, facts: Facts) -> str | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIs(_OneOf):
    """The caller's task is one of `tasks`."""

    kind: ClassVar[str] = "task"
    noun: ClassVar[str] = "task"
    operand: ClassVar[str] = "tasks"

    tasks: tuple[str, ...]

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return facts.task in self.members

    def _fact(self, facts: Facts) -> str | None:
        return facts.task


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantIs(_OneOf):
    """The caller's tenant is one of `tenants`."""

    kind: ClassVar[str] = "tenant"
    noun: ClassVar[str] = "tenant"
    operand: ClassVar[str] = "tenants"

    tenants: tuple[str, ...]

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return facts.tenant in self.members

    def _fact(self, facts: Facts) -> str | None:
        return facts.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyIs(_OneOf):
    """The caller's API key, by public id, is one of `api_keys`."""

    kind: ClassVar[str] = "api_key"
    noun: ClassVar[str] = "API key"
    operand: ClassVar[str] = "api_keys"

    api_keys: tuple[str, ...]

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return facts.api_key in self.members

    def _fact(self, facts: Facts) -> str | None:
        return facts.api_key


@dataclass(frozen=True, slots=True, kw_only=True)
class EndUserIs(_OneOf):
    """The end user that the caller speaks for is one of `end_users`."""

    kind: ClassVar[str] = "end_user"
    noun: ClassVar[str] = "end user"
    operand: ClassVar[str] = "end_users"

    end_users: tuple[str, ...]

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return facts.end_user in self.members

    def _fact(self, facts: Facts) -> str | None:
        return facts.end_user


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsMatch:
    """Every key of `tags` is a tag of the request, with one of that key's values."""

    kind: ClassVar[str] = "tags"

    tags: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        keys = distinct_texts(self.tags, "tags")
        object.__setattr__(self, "tags", {key: distinct_texts(self.tags[key], f"tags.{key}") for key in keys})

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        for key, values in self.tags.items():  # noqa: SIM110 - a generator costs more than the comparison
            if facts.tags.get(key) not in values:
                return False
        return True

    def expected(self) -> str:
        """What must hold, in words."""
        return " and ".join(f"tag {key} is {one_of(values)}" for key, values in self.tags.items())

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        given = facts.tags
        return ", ".join(
            f"tag {key} is {given[key]}" if key in given else f"no tag {key}" for key in self.tags
        )

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return isinstance(other, TagsMatch) and all(
            key in self.tags and set(self.tags[key]) <= set(values) for key, values in other.tags.items()
        )

    def contradicts(self, other: object) -> bool:
        """Whether this one and `other` can never hold together."""
        return isinstance(other, TagsMatch) and any(
            key in self.tags and set(self.tags[key]).isdisjoint(values) for key, values in other.tags.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokensBetween(FigureCondition):
    """A number of tokens lies between two bounds, both included; a bound of None is open."""

    kind: ClassVar[str]
    noun: ClassVar[str]

    minimum: int | None = None
    maximum: int | None = None

    least: int = field(init=False, repr=False, compare=False, default=0)
    most: float = field(init=False, repr=False, compare=False, default=inf)

    def __post_init__(self) -> None:
        if self.minimum is None and self.maximum is None:
            raise OperandError("minimum: give a minimum, a maximum or both")
        for name, value in (("minimum", self.minimum), ("maximum", self.maximum)):
            if value is not None:
                require_integer(value, name, least=0)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise OperandError(f"minimum: {self.minimum} exceeds the maximum of {self.maximum}")
        object.__setattr__(self, "least", 0 if self.minimum is None else self.minimum)
        object.__setattr__(self, "most", inf if self.maximum is None else self.maximum)

    @property
    def subject(self) -> None:
        """There is one such number of each request."""

    @property
    def bounds(self) -> tuple[float, float]:
        """In tokens."""
        return self.least, self.most + 1

    def expected(self) -> str:
        """What must hold, in words."""
        if self.maximum is None:
            return f"{self.noun} is at least {self.minimum} tokens"
        if self.minimum is None:
            return f"{self.noun} is at most {self.maximum} tokens"
        return f"{self.noun} is between {self.minimum} and {self.maximum} tokens"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return isinstance(other, type(self)) and other.least <= self.least and self.most <= other.most

    def contradicts(self, other: object) -> bool:
        """Whether this one and `other` can never hold together."""
        return isinstance(other, type(self)) and (self.most < other.least or other.most < self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTokensBetween(_TokensBetween):
    """The estimated input lies in a range."""

    kind: ClassVar[str] = "input_tokens"
    noun: ClassVar[str] = "estimated input"

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> int:
        """The estimated input."""
        return facts.input_tokens

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        return f"estimated input is {facts.input_tokens} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTokensBetween(_TokensBetween):
    """The output limit that the caller asked for lies in a range; a caller that set none is in no range."""

    kind: ClassVar[str] = "output_tokens"
    noun: ClassVar[str] = "requested output"

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> int | None:
        """The output limit."""
        return facts.output_tokens

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        if facts.output_tokens is None:
            return "no output limit was requested"
        return f"requested output is {facts.output_tokens} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsAll:
    """The request needs every one of `capabilities`."""

    kind: ClassVar[str] = "needs"

    capabilities: tuple[Capability, ...]

    members: frozenset[Capability] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        if not self.capabilities:
            raise OperandError("capabilities: give at least one")
        members = frozenset(Capability(capability) for capability in self.capabilities)
        object.__setattr__(self, "capabilities", tuple(sorted(members)))
        object.__setattr__(self, "members", members)

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        return self.members <= facts.needs

    def expected(self) -> str:
        """What must hold, in words."""
        return f"the request needs {', '.join(self.capabilities)}"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        return f"the request needs {', '.join(sorted(facts.needs)) or 'nothing special'}"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return isinstance(other, NeedsAll) and self.members >= other.members

    def contradicts(self, other: object) -> bool:
        """Never: a request may need anything at once."""
        return False
