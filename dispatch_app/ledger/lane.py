"""Group commit: what queued while the last batch was in flight is the next batch. There is no timer."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

BATCH_LIMIT = 256
BATCH_SHARE = 8
BATCH_ENOUGH = 48
"""A batch is an eighth of what waits, or so many if that is more: while it is settled the next one begins, and a crowd does not
wait for its last. Fewer share too little of what a batch costs by itself, half a millisecond; more wait for each other."""
PLANS_LAST_ITEMS = 64
"""Plans are renewed after so many items of a connection or a day, and then whenever their number has doubled."""
RECONNECT_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
LOOKS_PER_PATIENCE = 25
STALLED_SHARE = 0.3
"""A batch in flight for so much of the patience is taken for lost, unless batches have been slow of late."""
STALLED_TIMES_USUAL = 8
KEEP_ALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that vanished from the network is noticed within some ten seconds."""
END_FORMER_MS = 1_000
BACKEND_SQL = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
END_BACKEND_SQL = (
    "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
)


class CommitBatch(Protocol[ItemT_contra, AnswerT_co]):
    """Commits a batch in one transaction and answers in the order of its items."""

    async def __call__(
        self, connection: psycopg.AsyncConnection, items: Sequence[ItemT_contra], *, in_doubt: bool
    ) -> Sequence[AnswerT_co]:
        """:param in_doubt: the batch was sent before, and whether it was committed is not known."""


class LaneUnavailableError(Exception):
    """The item was not accepted, or had no answer within the lane's patience. It may still be committed."""


class Keeper(Protocol[ItemT_contra]):
    """Takes care of items that their callers no longer wait for, while the lane goes on trying."""

    def hold(self, item: ItemT_contra) -> None:
        """The caller was told that `item` is pending."""

    def release(self, item: ItemT_contra) -> None:
        """`item` is pending no longer, or never was."""


@dataclass(slots=True)
class _Plans:
    """When to have statements planned anew, which PostgreSQL does not do when a table grows.

    A plan that is made for a day with few rows may read them all, and would be kept while the day fills.
    """

    day: int
    items: int = 0
    last: int = PLANS_LAST_ITEMS

    def are_outgrown(self, items: int) -> bool:
        """Count a batch of so many items; whether the plans should be renewed before it."""
        today = _utc_day()
        if today != self.day:
            self.day, self.items, self.last = today, items, PLANS_LAST_ITEMS
            return True
        is_outgrown = self.items >= self.last
        if is_outgrown:
            self.last = 2 * self.items
        self.items += items
        return is_outgrown


@dataclass(slots=True)
class _Queued(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    since: float


class GroupCommitLane(Generic[Item, Answer]):
    """One connection, one batch in flight. An item that the database refuses fails alone, never its neighbours.

    A batch whose commit is in doubt (the connection broke) is sent again with the same ids until it is answered.

    A caller waits for at most `patience_s`. With `on_abandoned`, an item whose caller is gone is dropped while it is
    still queued, and handed to `on_abandoned` with its answer if it was committed; without, it is committed all the same,
    and in the care of `keeper` until then.

    The lane is stalled while it cannot connect, and while the batch in flight takes so much longer than usual that the
    database must be gone. With `on_abandoned`, a stalled lane refuses at once, and those who wait as well.
    """

    def __init__(
        self,
        *,
        name: str,
        conninfo: str,
        commit: CommitBatch[Item, Answer],
        queue_limit: int,
        patience_s: float,
        on_abandoned: Callable[[Item, Answer], None] | None = None,
        keeper: Keeper[Item] | None = None,
    ) -> None:
        self._name = name
        self._conninfo = conninfo
        self._commit = commit
        self._queue_limit = queue_limit
        self._patience_s = patience_s
        self._on_abandoned = on_abandoned
        self._keeper = keeper
        self._queue: deque[_Queued[Item, Answer]] = deque()
        self._in_flight: list[_Queued[Item, Answer]] = []
        self._wake = asyncio.Event()
        self._sent_at = 0.0
        self._usual_s = patience_s
        self._connection: psycopg.AsyncConnection | None = None
        self._plans = _Plans(day=_utc_day())
        self._backend: tuple[object, ...] | None = None
        self._former: tuple[object, ...] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._is_stalled = False

    async def start(self) -> None:
        """Begin to take items. A database that is away is waited for in the background."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"ledger-{self._name}"),
            asyncio.create_task(self._watch(), name=f"ledger-{self._name}-watch"),
        ]

    async def stop(self, *, timeout_s: float) -> None:
        """Commit what is queued, for at most `timeout_s`, then close the connection.

        With `on_abandoned`, what is queued is refused instead, and only the batch in flight is waited for.
        """
        self._is_stopping = True
        self._wake.set()
        if self._on_abandoned is not None:
            self._fail_all(self._queue)
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_all((*self._in_flight, *self._queue))
        await self._disconnect()

    @property
    def depth(self) -> int:
        """How many items wait for their batch."""
        return len(self._queue)

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Queue an item for the next batch; the future answers once its commit stands.

        The future raises LaneUnavailableError when the lane's patience ends first.

        :raises LaneUnavailableError: if the queue is full, the lane is stopping, or (with `on_abandoned`) it is stalled.
        """
        if (
            self._is_stopping
            or len(self._queue) >= self._queue_limit
            or (self._is_stalled and self._on_abandoned)
        ):
            raise LaneUnavailableError
        loop = asyncio.get_running_loop()
        queued: _Queued[Item, Answer] = _Queued(item, loop.create_future(), loop.time())
        self._queue.append(queued)
        self._wake.set()
        return queued.answer

    async def _watch(self) -> None:
        """End the patience of those who wait, oldest first, and of all when the lane stalls."""
        loop = asyncio.get_running_loop()
        pause_s = self._patience_s / LOOKS_PER_PATIENCE
        while True:
            await self._wake.wait()
            slept_at = loop.time()
            await asyncio.sleep(pause_s)
            now = loop.time()
            # A loop that is late itself may have the answer at hand, unread.
            if now - slept_at < 2 * pause_s and self._is_overdue(now):
                self._stall()
            self._fail_older(now - self._patience_s)

    def _is_overdue(self, now: float) -> bool:
        stalled_after_s = max(self._patience_s * STALLED_SHARE, STALLED_TIMES_USUAL * self._usual_s)
        return bool(self._in_flight) and now - self._sent_at > min(stalled_after_s, self._patience_s)

    def _stall(self) -> None:
        self._is_stalled = True
        if self._on_abandoned is not None:
            self._fail_all((*self._in_flight, *self._queue))

    def _fail_older(self, than: float) -> None:
        for waiting in (self._in_flight, self._queue):
            self._fail_all(itertools.takewhile(lambda queued: queued.since < than, waiting))

    def _fail_all(self, waiting: Iterable[_Queued[Item, Answer]]) -> None:
        for queued in waiting:
            self._fail(queued)

    def _fail(self, queued: _Queued[Item, Answer]) -> None:
        if not queued.answer.done():
            queued.answer.set_exception(LaneUnavailableError())
            if self._keeper is not None:
                self._keeper.hold(queued.item)

    def _next_batch(self) -> list[_Queued[Item, Answer]]:
        batch: list[_Queued[Item, Answer]] = []
        most = min(BATCH_LIMIT, max(BATCH_ENOUGH, len(self._queue) // BATCH_SHARE))
        while self._queue and len(batch) < most:
            queued = self._queue.popleft()
            if self._on_abandoned is None or not queued.answer.done():
                batch.append(queued)
        return batch

    async def _work(self) -> None:
        while self._queue or not self._is_stopping:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            # One turn of the event loop: whoever is about to submit comes along. A fifth fewer commits at 32 in flight.
            await asyncio.sleep(0)
            self._in_flight = self._next_batch()
            await self._commit_until_answered(self._in_flight)
            self._in_flight = []
            self._is_stalled = False

    async def _commit_until_answered(self, batch: list[_Queued[Item, Answer]]) -> None:
        failures = 0
        in_doubt = False
        loop = asyncio.get_running_loop()
        self._sent_at = loop.time()
        while batch:
            try:
                connection = await self._connected()
                if self._plans.are_outgrown(len(batch)):
                    await connection.execute("DISCARD PLANS")
                answers = await self._commit(connection, [queued.item for queued in batch], in_doubt=in_doubt)
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
                if self._connection is None:
                    self._stall()
                in_doubt = in_doubt or self._connection is not None
                await self._disconnect()
                logger.warning("Ledger %s lost its database (%s); trying again", self._name, _code_of(error))
                await asyncio.sleep(RECONNECT_DELAYS_S[min(failures, len(RECONNECT_DELAYS_S) - 1)])
                failures += 1
            except psycopg.Error as error:
                await self._bisect(batch, error)
                return
            else:
                self._learn(loop.time() - self._sent_at)
                for queued, answer in zip(batch, answers, strict=True):
                    self._answer(queued, answer)
                return

    def _learn(self, took_s: float) -> None:
        """A moving average of what batches take. What took very long counts as slow, and not as for ever."""
        most_s = self._patience_s / STALLED_TIMES_USUAL
        is_first = self._usual_s >= self._patience_s
        self._usual_s = min(took_s, most_s) if is_first else (7 * self._usual_s + min(took_s, most_s)) / 8

    def _answer(self, queued: _Queued[Item, Answer], answer: Answer) -> None:
        if not queued.answer.done():
            queued.answer.set_result(answer)
            return
        if self._on_abandoned is not None:
            self._on_abandoned(queued.item, answer)
        if self._keeper is not None:
            self._keeper.release(queued.item)

    async def _bisect(self, batch: list[_Queued[Item, Answer]], error: psycopg.Error) -> None:
        """Find the item that the database refuses; its neighbours go through."""
        if len(batch) == 1:
            self._refuse(batch[0], error)
            return
        middle = len(batch) // 2
        await self._commit_until_answered(batch[:middle])
        await self._commit_until_answered(batch[middle:])

    def _refuse(self, queued: _Queued[Item, Answer], error: psycopg.Error) -> None:
        logger.error("Ledger %s refused an item (%s)", self._name, _code_of(error))
        if not queued.answer.done():
            queued.answer.set_exception(error)
        elif self._keeper is not None:
            self._keeper.release(queued.item)

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None:
            connection = await psycopg.AsyncConnection.connect(
                make_conninfo(self._conninfo, **KEEP_ALIVE),
                autocommit=True,
                prepare_threshold=0,
                application_name=f"signalbox-{self._name}",
            )
            try:
                await self._end_former(connection)
                cursor = await connection.execute(BACKEND_SQL)
                self._backend = await cursor.fetchone()
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
            self._plans = _Plans(day=_utc_day())
        return self._connection

    async def _end_former(self, connection: psycopg.AsyncConnection) -> None:
        """See that the backend of the connection that broke is gone: what it ran is then committed, or never will be."""
        if self._former is not None:
            cursor = await connection.execute(END_BACKEND_SQL, (END_FORMER_MS, *self._former))
            if (False,) in await cursor.fetchall():
                raise psycopg.OperationalError
            self._former = None

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._former = self._backend
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _utc_day() -> int:
    """The day whose partition of the log is being filled, counted from 1970."""
    return int(time.time()) // 86_400


def _code_of(error: Exception) -> str:
    """What may be logged of a database error: its message could quote what a client sent."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return f"{type(error).__name__} {state}" if state else type(error).__name__
