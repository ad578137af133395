"""Group commit: what queued while the last batch was in flight is the next batch. There is no timer."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psycopg

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

BATCH_LIMIT = 256
RECONNECT_DELAYS_S = (0.0, 0.05, 0.1, 0.2, 0.4)


class CommitBatch(Protocol[ItemT_contra, AnswerT_co]):
    """Commits a batch in one transaction and answers in the order of its items."""

    async def __call__(
        self, connection: psycopg.AsyncConnection, items: Sequence[ItemT_contra], *, in_doubt: bool
    ) -> Sequence[AnswerT_co]:
        """:param in_doubt: the batch was sent before, and whether it was committed is not known."""


class LaneUnavailableError(Exception):
    """The item was not accepted, or had no answer within the lane's patience. It may still be committed."""


@dataclass(slots=True)
class _Queued(Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    since: float


class GroupCommitLane(Generic[Item, Answer]):
    """One connection, one batch in flight. An item that the database refuses fails alone, never its neighbours.

    A batch whose commit is in doubt (the connection broke) is sent again with the same ids until it is answered.

    A caller waits for at most `patience_s`. With `on_abandoned`, an item whose caller is gone is dropped while it is
    still queued, and handed to `on_abandoned` with its answer if it was committed; without, it is committed all the same.
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
    ) -> None:
        self._name = name
        self._conninfo = conninfo
        self._commit = commit
        self._queue_limit = queue_limit
        self._patience_s = patience_s
        self._on_abandoned = on_abandoned
        self._queue: deque[_Queued[Item, Answer]] = deque()
        self._in_flight: list[_Queued[Item, Answer]] = []
        self._wake = asyncio.Event()
        self._connection: psycopg.AsyncConnection | None = None
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
        """Commit what is queued, for at most `timeout_s`, then close the connection."""
        self._is_stopping = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for queued in (*self._in_flight, *self._queue):
            self._fail(queued)
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
        """End the patience of those who wait, oldest first; while a batch is overdue, the lane is stalled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._patience_s / 5)
            overdue = loop.time() - self._patience_s
            self._is_stalled = bool(self._in_flight) and self._in_flight[0].since < overdue
            for queued in (*self._in_flight, *self._queue):
                if queued.since < overdue:
                    self._fail(queued)

    def _fail(self, queued: _Queued[Item, Answer]) -> None:
        if not queued.answer.done():
            queued.answer.set_exception(LaneUnavailableError())

    def _next_batch(self) -> list[_Queued[Item, Answer]]:
        batch: list[_Queued[Item, Answer]] = []
        while self._queue and len(batch) < BATCH_LIMIT:
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
        while batch:
            try:
                connection = await self._connected()
                answers = await self._commit(connection, [queued.item for queued in batch], in_doubt=in_doubt)
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
                in_doubt = in_doubt or self._connection is not None
                await self._disconnect()
                logger.warning("Ledger %s lost its database (%s); trying again", self._name, _code_of(error))
                await asyncio.sleep(RECONNECT_DELAYS_S[min(failures, len(RECONNECT_DELAYS_S) - 1)])
                failures += 1
            except psycopg.Error as error:
                await self._bisect(batch, error)
                return
            else:
                for queued, answer in zip(batch, answers, strict=True):
                    if not queued.answer.done():
                        queued.answer.set_result(answer)
                    elif self._on_abandoned is not None:
                        self._on_abandoned(queued.item, answer)
                return

    async def _bisect(self, batch: list[_Queued[Item, Answer]], error: psycopg.Error) -> None:
        """Find the item that the database refuses; its neighbours go through."""
        if len(batch) == 1:
            logger.error("Ledger %s refused an item (%s)", self._name, _code_of(error))
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        middle = len(batch) // 2
        await self._commit_until_answered(batch[:middle])
        await self._commit_until_answered(batch[middle:])

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                prepare_threshold=0,
                application_name=f"signalbox-{self._name}",
            )
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _code_of(error: Exception) -> str:
    """What may be logged of a database error: its message could quote what a client sent."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return f"{type(error).__name__} {state}" if state else type(error).__name__
