"""PostgreSQL as the ledger's lanes meet it: connections that carry statements, are slow, and break at the worst moment.

A statement runs on the server, not in the process that sent it: it may be committed although the answer is lost, or
although the sender has died.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import msgspec
import psycopg

from dispatch_app.execution.ports import (
    AttemptRecord,
    BudgetKey,
    DispatchRecord,
    Settlement,
)
from dispatch_app.ledger.wire import BEGIN_SQL, SETTLE_SQL, Purse, SettlementRow, WantedBudget
from tests.simulation.accounts import Accounts, Begin, Finish, UniqueError
from tests.simulation.chance import Chance
from tests.simulation.loop import Host, SimulatedLoop, elapse
from tests.simulation.trace import Trace

_read_dispatches = msgspec.json.Decoder(list[DispatchRecord]).decode
_read_attempts = msgspec.json.Decoder(list[AttemptRecord]).decode
_read_budgets = msgspec.json.Decoder(list[WantedBudget]).decode
_read_purses = msgspec.json.Decoder(list[Purse]).decode
_read_settlements = msgspec.json.Decoder(list[SettlementRow]).decode
_read_finishes = msgspec.json.Decoder(list[Finish]).decode
_write = msgspec.json.Encoder().encode


class _Fate(Enum):
    """What becomes of one statement."""

    ANSWERED = auto()
    LOST = auto()
    """The connection breaks before anything was done."""
    UNHEARD = auto()
    """It is committed, and the connection breaks before the answer."""
    BELATED = auto()
    """The connection breaks at once, and the server commits all the same, a while later."""


@dataclass(slots=True, kw_only=True)
class Weather:
    """How bad it is: shares of statements that break, and how long the others take."""

    broken_share: float = 0.0
    least_s: float = 0.0003
    most_s: float = 0.005


class Server:
    """One server on `accounts`. `disturbances` are the times, as pairs, in which it was not at its best."""

    def __init__(self, *, accounts: Accounts, loop: SimulatedLoop, chance: Chance, trace: Trace) -> None:
        self.accounts = accounts
        self.weather = Weather()
        self.disturbed_until = 0.0
        self._loop = loop
        self._chance = chance
        self._trace = trace
        self._host = Host("database")
        self._connections: set[Connection] = set()
        self._numbers = 0
        self._down_until = 0.0
        self._stalled_until = 0.0

    async def connect(self) -> "Connection":
        """A new connection.

        :raises psycopg.OperationalError: while the server is down.
        """
        await elapse(self._chance.span(0.0005, 0.004))
        if self._loop.time() < self._down_until:
            raise psycopg.OperationalError("connection refused")
        self._numbers += 1
        connection = Connection(server=self, number=self._numbers)
        self._connections.add(connection)
        return connection

    def go_down(self, for_s: float) -> None:
        """Break every connection and accept none for so long."""
        self._down_until = self._disturb(for_s)
        self._trace.note("database", "down", f"{for_s:.3f}")
        for connection in sorted(self._connections, key=lambda known: known.number):
            connection.break_off()

    def stall(self, for_s: float) -> None:
        """Answer nobody for so long, as if stopped."""
        self._stalled_until = self._disturb(for_s)
        self._trace.note("database", "stalled", f"{for_s:.3f}")

    def worsen(self, weather: Weather, *, for_s: float) -> None:
        """Break and delay statements from now on, for so long at most."""
        self.weather = weather
        self._disturb(for_s)

    def heal(self) -> None:
        """From now on everything is answered in time."""
        self.weather = Weather()
        self._down_until = self._stalled_until = self._loop.time()

    def run(self, connection: "Connection", statement: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Have a statement run after a while; the future has its answer, or raises psycopg's errors."""
        answer = self._loop.create_future()
        fate = self._fate()
        if fate is not _Fate.ANSWERED:
            self._disturb(0.0)
        delay_s = self._chance.span(self.weather.least_s, self.weather.most_s)
        if fate is _Fate.BELATED:
            self._later(delay_s + self._chance.span(0.001, 0.2), self._run_unheard, statement)
            self._later(delay_s, connection.break_off)
        else:
            self._later(delay_s, self._execute, connection, statement, fate, answer)
        return answer

    def forget(self, connection: "Connection") -> None:
        self._connections.discard(connection)

    def _fate(self) -> _Fate:
        if not self._chance.hits(self.weather.broken_share):
            return _Fate.ANSWERED
        return self._chance.one_of(_Fate.LOST, _Fate.UNHEARD, _Fate.BELATED)

    def _execute(
        self,
        connection: "Connection",
        statement: Callable[[], Any],
        fate: _Fate,
        answer: "asyncio.Future[Any]",
    ) -> None:
        if connection.is_broken:
            # The server notices that its client is gone when it answers: some statements are done by then.
            if self._chance.hits(0.5):
                self._run_unheard(statement)
            return
        stalled_s = self._stalled_until - self._loop.time()
        if stalled_s > 0:
            self._later(stalled_s, self._execute, connection, statement, fate, answer)
            return
        if fate is _Fate.LOST:
            connection.break_off()
            return
        try:
            found = statement()
        except UniqueError:
            _fail(answer, psycopg.errors.UniqueViolation("duplicate key"))
            return
        if fate is _Fate.UNHEARD:
            connection.break_off()
        elif not answer.done():
            answer.set_result(found)

    def _run_unheard(self, statement: Callable[[], Any]) -> None:
        try:
            statement()
        except UniqueError:
            self._trace.note("database", "rolled back")

    def _disturb(self, for_s: float) -> float:
        until = self._loop.time() + for_s
        self.disturbed_until = max(self.disturbed_until, until)
        return until

    def _later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> None:
        self._loop.call_outside(delay_s, callback, *args, context=self._host.context)


@dataclass(eq=False, kw_only=True)
class Connection:
    """One connection, with at most one statement in flight. Stands in for `psycopg.AsyncConnection`."""

    server: Server
    number: int
    is_broken: bool = False
    _waiting: "asyncio.Future[Any] | None" = field(default=None, init=False)

    def __hash__(self) -> int:
        return self.number

    async def execute(self, query: str, parameters: tuple[Any, ...]) -> "Cursor":
        if self.is_broken:
            raise psycopg.OperationalError("the connection is closed")
        self._waiting = self.server.run(self, lambda: _STATEMENTS[query](self.server.accounts, *parameters))
        return Cursor(await self._waiting)

    async def close(self) -> None:
        self.is_broken = True
        self.server.forget(self)

    def break_off(self) -> None:
        """The network, or the server, gives this connection up."""
        self.is_broken = True
        self.server.forget(self)
        if self._waiting is not None:
            _fail(self._waiting, psycopg.OperationalError("the connection broke"))


@dataclass(frozen=True)
class Cursor:
    row: str

    async def fetchone(self) -> tuple[str]:
        return (self.row,)


def _begin(accounts: Accounts, *parameters: Any) -> str:
    dispatches, attempts, budgets, purses, _keys, _continued, in_doubt = parameters
    slots_of = {place: purse.slots for purse in _read_purses(purses) for place in purse.places}
    records = zip(_read_dispatches(dispatches), _read_attempts(attempts), strict=True)
    begins = [
        Begin(dispatch=dispatch, attempt=attempt, slots=slots_of[place])
        for place, (dispatch, attempt) in enumerate(records, start=1)
    ]
    wanted = _read_budgets(budgets)
    for slot, budget in enumerate(wanted, start=1):
        asked = (begin.attempt.reserved_nanos for begin in begins if slot in begin.slots)
        assert budget.wanted_nanos == sum(asked)
    keys = [
        BudgetKey(budget_id=budget.budget_id, subject=budget.subject, period_start=budget.period_start)
        for budget in wanted
    ]
    verdicts, used = accounts.begin(keys, begins, in_doubt=in_doubt)
    are_all_admitted = all(verdict == "admitted" for verdict, _ in verdicts)
    return _write({"verdicts": None if are_all_admitted else verdicts, "used_nanos": used}).decode()


def _settle(accounts: Accounts, settlements: str, finishes: str, *_span: object) -> str:
    told = [_settlement_of(row) for row in _read_settlements(settlements)]
    return _write(accounts.settle(told, _read_finishes(finishes))).decode()


def _settlement_of(row: SettlementRow) -> Settlement:
    told = msgspec.structs.asdict(row)
    outcome = {**told, "status": row.outcome, "first_byte_ms": row.dispatch_first_byte_ms}
    return msgspec.convert(
        {**told, "usage": told, "outcome": outcome if row.outcome else None}, Settlement, strict=False
    )


_STATEMENTS: Mapping[str, Callable[..., str]] = {BEGIN_SQL: _begin, SETTLE_SQL: _settle}


def _fail(answer: "asyncio.Future[Any]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        # Whoever waited may have died: then nobody hears of it.
        answer.exception()
