"""The rate limits of all processes, counted in PostgreSQL.

What many requests ask for goes in one statement, by a lane of its own that connects with the first ask; nothing of it is
flushed to disk. There are no leases: each ask is answered by the one place that knows, so that limits are exact.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import psycopg

from dispatch_app.execution.ports import LedgerUnavailableError
from dispatch_app.ledger.lane import GroupCommitLane, LaneUnavailableError
from dispatch_app.limits.leave import Leave, LimitReachedError
from dispatch_app.limits.standing import Standing, amount_of, is_at_once
from dispatch_app.snapshot.types import RateLimits, ServedRateLimit
from policies_app.routing.codes import RateLimitKind

JOIN_SQL = "SELECT rate_limit_join(%s)"
TAKE_SQL = "SELECT rate_limit_take(%s, %s::jsonb, %s::jsonb)::text"

QUEUE_LIMIT = 2_048
RECALL_S = 0.1
"""How long a refusal is repeated without asking again, so that a flood of requests is no flood of questions."""
TELL_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What one request asks for, of each of `limits`. Without limits, it only has the lane tell what is untold."""

    limits: RateLimits = ()
    amounts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    did_fit: bool
    used: Sequence[float]


class _LimitWire(msgspec.Struct):
    id: int
    most: int
    at_once: bool
    held: int = 0
    credit: int = 0


class _AskWire(msgspec.Struct):
    slots: list[int]
    amounts: tuple[int, ...]


_NOTHING = _Ask()
_TOLD = _Answer(did_fit=True, used=())
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[bool, list[float]]]).decode


class SharedLimits:
    """Takes from limits, and gives back what is not used.

    Slots of dispatches at once are told as what this process holds, never as a difference, so that repeating a statement
    whose commit is in doubt does no harm. What was taken of a minute is then taken twice: rather too strict than too lax.
    """

    def __init__(self, *, conninfo: str, patience_s: float) -> None:
        self._lane: GroupCommitLane[_Ask, _Answer] = GroupCommitLane(
            name="limits",
            conninfo=conninfo,
            commit=self._commit,
            queue_limit=QUEUE_LIMIT,
            patience_s=patience_s,
            on_abandoned=self._give_back_abandoned,
        )
        self._me: int | None = None
        self._joined: psycopg.AsyncConnection | None = None
        self._slots: dict[int, _LimitWire] = {}
        self._untold: dict[int, _LimitWire] = {}
        self._is_telling = False
        self._is_stopping = False
        self._full: dict[int, tuple[Standing, float]] = {}

    async def start(self) -> None:
        """Begin to answer. There is no connection before the first ask."""
        await self._lane.start()

    async def stop(self) -> None:
        """Refuse what is asked from now on, and close the connection, with which every slot is free."""
        self._is_stopping = True
        await self._lane.stop(timeout_s=0)

    async def take(self, limits: RateLimits, *, tokens: int = 0) -> Leave:
        """Take `tokens` of each limit that counts tokens and one of each other, all or nothing.

        :raises LimitReachedError: if one of them has less left.
        :raises LedgerUnavailableError: if that is not to be known in time.
        """
        self._recall(limits, tokens)
        amounts = tuple(amount_of(limit, tokens=tokens) for limit in limits)
        try:
            answer = await self._lane.submit(_Ask(limits=limits, amounts=amounts))
        except (LaneUnavailableError, psycopg.Error) as error:
            raise LedgerUnavailableError from error
        standings = tuple(
            Standing(limit=limit, used=used) for limit, used in zip(limits, answer.used, strict=True)
        )
        if not answer.did_fit:
            self._remember(standings)
            raise LimitReachedError(standings=standings, tokens=tokens)
        return Leave(standings=standings, tokens=tokens, settle=self._settle)

    def _remember(self, standings: tuple[Standing, ...]) -> None:
        now = asyncio.get_running_loop().time()
        for standing in standings:
            if not is_at_once(standing.limit):
                self._full[standing.limit.id] = (standing, now)

    def _recall(self, limits: RateLimits, tokens: int) -> None:
        """Refuse at once what was refused a moment ago: a bucket that is not refilled yet need not be asked again."""
        if not self._full:
            return
        now = asyncio.get_running_loop().time()
        for limit in limits:
            standing, seen_at = self._full.get(limit.id, (None, 0.0))
            if standing is None or standing.limit != limit or now - seen_at > RECALL_S:
                continue
            standing = standing.after(now - seen_at)
            if standing.remaining < amount_of(limit, tokens=tokens):
                raise LimitReachedError(standings=(standing,), tokens=tokens)

    def _settle(self, leave: Leave, tokens: int) -> None:
        limits = tuple(standing.limit for standing in leave.standings)
        self._give_back(limits, taken=leave.tokens, used=tokens)

    def _give_back_abandoned(self, ask: _Ask, answer: _Answer) -> None:
        """The caller of an ask is gone: what it was given is taken by nobody."""
        if answer.did_fit:
            self._give_back(ask.limits, taken=max(ask.amounts, default=0), used=0)

    def _give_back(self, limits: RateLimits, *, taken: int, used: int) -> None:
        for limit in limits:
            if is_at_once(limit):
                slots = self._slots[limit.id]
                slots.held -= 1
                self._untold[limit.id] = slots
            elif limit.kind is RateLimitKind.TOKENS_PER_MINUTE:
                credit = amount_of(limit, tokens=taken) - used
                self._untold.setdefault(limit.id, _wire_of(limit)).credit += credit
        if self._untold:
            self._tell()

    def _tell(self) -> None:
        """Have what is untold told by the next batch, and by a later one where that comes to nothing."""
        if self._is_telling:
            return
        self._is_telling = True
        try:
            self._lane.submit(_NOTHING).add_done_callback(self._was_told)
        except LaneUnavailableError:
            self._tell_later()

    def _was_told(self, told: "asyncio.Future[_Answer]") -> None:
        if told.cancelled() or told.exception() is not None:
            self._tell_later()
            return
        self._is_telling = False
        if self._untold:
            self._tell()

    def _tell_later(self) -> None:
        if not self._is_stopping:
            asyncio.get_running_loop().call_later(TELL_AGAIN_S, self._tell_again)

    def _tell_again(self) -> None:
        self._is_telling = False
        self._tell()

    async def _commit(
        self, connection: psycopg.AsyncConnection, items: Sequence[_Ask], *, in_doubt: bool
    ) -> Sequence[_Answer]:
        del in_doubt  # See the class.
        await self._join(connection)
        batch, self._untold = self._untold, {}
        asks = [_AskWire(self._places(item.limits, batch), item.amounts) for item in items if item.limits]
        try:
            answers = iter(await self._take(connection, batch, asks))
        except BaseException:
            # Credits are forgotten, because they may have been given.
            self._untold = {wire.id: wire for wire in batch.values() if wire.at_once} | self._untold
            raise
        return [self._noted(item, next(answers)) if item.limits else _TOLD for item in items]

    async def _join(self, connection: psycopg.AsyncConnection) -> None:
        """Show by a new connection that this process is alive, and have it tell what it holds."""
        if connection is not self._joined:
            cursor = await connection.execute(JOIN_SQL, (self._me,))
            (self._me,) = await cursor.fetchone() or (None,)
            self._joined = connection
            self._slots = {wire.id: wire for wire in self._slots.values() if wire.held}
            self._untold |= self._slots

    def _places(self, limits: RateLimits, batch: dict[int, _LimitWire]) -> list[int]:
        """Where each limit stands in the batch, counted from 1; new ones are added to it."""
        for limit in limits:
            if is_at_once(limit):
                batch[limit.id] = self._slots.setdefault(limit.id, _wire_of(limit))
            batch.setdefault(limit.id, _wire_of(limit)).most = limit.most
        places = {limit_id: place for place, limit_id in enumerate(batch, start=1)}
        return [places[limit.id] for limit in limits]

    async def _take(
        self, connection: psycopg.AsyncConnection, batch: dict[int, _LimitWire], asks: list[_AskWire]
    ) -> list[tuple[bool, list[float]]]:
        if not batch:
            return []
        limits = _encode(list(batch.values())).decode()
        cursor = await connection.execute(TAKE_SQL, (self._me, limits, _encode(asks).decode()))
        (answers,) = await cursor.fetchone() or ("[]",)
        return _decode(answers)

    def _noted(self, item: _Ask, answer: tuple[bool, list[float]]) -> _Answer:
        did_fit, used = answer
        for limit in item.limits if did_fit else ():
            if is_at_once(limit):
                self._slots[limit.id].held += 1
        return _Answer(did_fit=did_fit, used=used)


def _wire_of(limit: ServedRateLimit) -> _LimitWire:
    return _LimitWire(id=limit.id, most=limit.most, at_once=is_at_once(limit))
