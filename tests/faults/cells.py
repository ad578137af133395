"""The cells of the matrix: one fault met in one strategy by a plain or a streamed request, with or without another model.

What a cell comes to is worked out from its row of the table, never from what was seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from policies_app.routing.codes import AttemptRole, FaultClass, Strategy
from tests.faults.table import ANSWERED, Cost, Row, fault_table

BAD, GOOD = "small", "mid"
"""The sandbox's models: the first one meets the fault, the second one is the alternative."""
STRATEGIES = (Strategy.FAILOVER, Strategy.CASCADE, Strategy.PARALLEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cells that are played together."""

    strategy: Strategy
    stream: bool
    has_alternative: bool

    def __str__(self) -> str:
        kind = "stream" if self.stream else "plain"
        return f"{self.strategy}, {kind}, {'with an alternative' if self.has_alternative else 'alone'}"

    def cells(self) -> "Iterator[Cell]":
        """Every fault that is one here."""
        for known in fault_table():
            row = known.of(stream=self.streams_upstream)
            if row is not None and not self._repeats(row):
                yield Cell(group=self, row=row)

    @property
    def streams_upstream(self) -> bool:
        """Racers are always asked for streams: those can be stopped half-way."""
        return self.stream or self.strategy is Strategy.PARALLEL

    def _repeats(self, row: Row) -> bool:
        """A race asks nobody twice, so that what passes by itself is no news there."""
        return self.strategy is Strategy.PARALLEL and not self.has_alternative and row.times is not None


def groups() -> list[Group]:
    return [
        Group(strategy=strategy, stream=stream, has_alternative=has_alternative)
        for strategy in STRATEGIES
        for stream in (False, True)
        for has_alternative in (True, False)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One attempt as it has to stand on the log."""

    model: str
    role: AttemptRole
    fault: FaultClass | None
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What has to follow. `answered_by` is the place of the attempt whose answer the client gets."""

    made: tuple[Made, ...]
    told: tuple[int, str] = ANSWERED
    answered_by: int | None = None
    breaks_off: bool = False
    """The client has read a part already: a terminal error event, and no end mark."""


def new_nonce() -> str:
    return uuid4().hex[:16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One fault in one group. `nonce` is in its prompt and in every answer that is meant for it."""

    group: Group
    row: Row
    nonce: str = field(default_factory=new_nonce)

    def __str__(self) -> str:
        return f"{self.row.name} ({self.group})"

    @property
    def models(self) -> tuple[str, ...]:
        """Whom the route names. A race without an alternative has two racers that meet the same fault."""
        is_race_lost = self.group.strategy is Strategy.PARALLEL and self.row.meets is not None
        return (BAD, GOOD) if self.group.has_alternative or is_race_lost else (BAD,)

    @property
    def faulty_models(self) -> tuple[str, ...]:
        return (BAD,) if self.group.has_alternative else self.models

    @property
    def may_retry(self) -> bool:
        """Whether it takes one of the process's retries."""
        return any(made.role is AttemptRole.RETRY for made in self.expected().made)

    def expected(self) -> Expected:
        return self._of_race() if self.group.strategy is Strategy.PARALLEL else self._of_order()

    def _met(self, model: str, role: AttemptRole) -> Made:
        return Made(model=model, role=role, fault=self.row.meets, cost=self.row.cost)

    def _of_order(self) -> Expected:
        """Failover and cascade: one after the other."""
        row, first = self.row, self._met(BAD, AttemptRole.PRIMARY)
        if row.meets is None:
            return Expected(made=(first,), answered_by=1)
        begun = row.begun and self.group.stream and self.group.strategy is Strategy.FAILOVER
        if begun or row.out_of_time or not row.goes_on:
            return Expected(made=(first,), told=row.told, breaks_off=begun)
        if self.group.has_alternative:
            good = Made(model=GOOD, role=AttemptRole.FALLBACK, fault=None, cost=Cost.EXACT)
            return Expected(made=(first, good), answered_by=2)
        if not row.again:
            return Expected(made=(first,), told=row.told)
        if row.times == 1:
            again = Made(model=BAD, role=AttemptRole.RETRY, fault=None, cost=Cost.EXACT)
            return Expected(made=(first, again), answered_by=2)
        return Expected(made=(first, self._met(BAD, AttemptRole.RETRY)), told=row.told)

    def _of_race(self) -> Expected:
        """Parallel: all at once, and the good model is slower than every fault."""
        row = self.row
        first = self._met(BAD, AttemptRole.PARALLEL)
        if row.out_of_time or (row.meets is not None and not self.group.has_alternative):
            return Expected(made=(first, self._met(GOOD, AttemptRole.PARALLEL)), told=row.told)
        if row.meets is None:
            beaten = Made(model=GOOD, role=AttemptRole.PARALLEL, fault=FaultClass.SUPERSEDED, cost=Cost.PART)
            return Expected(made=(first, beaten) if self.group.has_alternative else (first,), answered_by=1)
        good = Made(model=GOOD, role=AttemptRole.PARALLEL, fault=None, cost=Cost.EXACT)
        return Expected(made=(first, good), answered_by=2)
