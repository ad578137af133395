"""The ledger on PostgreSQL: one lane that begins, one that settles."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import psycopg

from dispatch_app.execution.ports import (
    AttemptRecord,
    BeginVerdict,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    IdempotencyKey,
    LedgerUnavailableError,
    Settlement,
    Verdict,
)
from dispatch_app.ledger.lane import GroupCommitLane, LaneUnavailableError
from dispatch_app.ledger.spool import Spool, SpoolFile
from dispatch_app.ledger.wire import (
    BEGIN_SQL,
    SETTLE_SQL,
    BeginItem,
    FinishItem,
    begin_parameters,
    decode_begin,
    decode_settle,
    encode,
    settle_parameters,
)
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.routing.codes import AttemptState
from policies_app.routing.types import Usage

logger = logging.getLogger(__name__)

BEGIN_QUEUE_LIMIT = 2_048
SETTLE_QUEUE_LIMIT = 65_536
BEGIN_PATIENCE_S = 0.25
SETTLE_PATIENCE_S = 2.0
BEGIN_DRAIN_S = 0.5
SETTLE_DRAIN_S = 3.0
REPLAY_EVERY_S = 5.0
REPLAY_PATIENCE_S = 30.0
KILLED = BeginVerdict(verdict=Verdict.KILLED)
ADMITTED = BeginVerdict(verdict=Verdict.ADMITTED)


class _SpoolRecord(msgspec.Struct, omit_defaults=True):
    settlement: Settlement | None = None
    finish: FinishItem | None = None


_decode_spooled = msgspec.json.Decoder(_SpoolRecord).decode


class PostgresLedger:
    """Implements `dispatch_app.execution.ports.Ledger`; `budget_usage` is fed by every answer.

    Nothing is admitted while `is_stopped` holds; the database is not asked then. What could not be settled in time is
    kept in the folder `spool`, and what other processes left there is settled.
    """

    def __init__(
        self,
        *,
        conninfo: str,
        budget_usage: BudgetUsage,
        begin_patience_s: float = BEGIN_PATIENCE_S,
        is_stopped: Callable[[], bool] = lambda: False,
        spool: Path | None = None,
    ) -> None:
        self._is_stopped = is_stopped
        self.budget_usage = budget_usage
        self._begins: GroupCommitLane[BeginItem, BeginVerdict | None] = GroupCommitLane(
            name="begin",
            conninfo=conninfo,
            commit=self._commit_begins,
            queue_limit=BEGIN_QUEUE_LIMIT,
            patience_s=begin_patience_s,
            on_abandoned=self._void_abandoned,
        )
        self._spool = None if spool is None else Spool(folder=spool, encode=_spooled)
        self._settles: GroupCommitLane[Settlement | FinishItem, None] = GroupCommitLane(
            name="settle",
            conninfo=conninfo,
            commit=self._commit_settles,
            queue_limit=SETTLE_QUEUE_LIMIT,
            patience_s=SETTLE_PATIENCE_S,
            keeper=self._spool,
        )
        self._conninfo = conninfo
        self._spool_folder = spool
        self._replaying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open both lanes; returns at once, even while the database is away."""
        await self._begins.start()
        await self._settles.start()
        if self._spool_folder is not None:
            self._replaying = asyncio.create_task(
                self._replay_for_ever(self._spool_folder), name="ledger-replay"
            )

    async def stop(self) -> None:
        """Admit nothing any more, settle what is queued, spool what that leaves and close the connections."""
        if self._replaying is not None:
            self._replaying.cancel()
            await asyncio.gather(self._replaying, return_exceptions=True)
        await self._begins.stop(timeout_s=BEGIN_DRAIN_S)
        await self._settles.stop(timeout_s=SETTLE_DRAIN_S)
        if self._spool is not None:
            await self._spool.close()

    async def begin(
        self,
        *,
        dispatch: DispatchRecord,
        attempt: AttemptRecord,
        budgets: tuple[BudgetKey, ...],
        key: IdempotencyKey | None = None,
    ) -> BeginVerdict:
        """See `dispatch_app.execution.ports.Ledger.begin`."""
        if self._is_stopped():
            return KILLED
        try:
            verdict = await self._begins.submit(
                BeginItem(dispatch=dispatch, attempt=attempt, budgets=budgets, key=key)
            )
        except (LaneUnavailableError, psycopg.Error) as error:
            raise LedgerUnavailableError from error
        if verdict is None:
            raise LedgerUnavailableError
        return verdict

    async def settle(self, *, settlement: Settlement) -> bool:
        """See `dispatch_app.execution.ports.Ledger.settle`."""
        return await self._settle(settlement)

    async def finish(self, *, dispatch: DispatchRecord, outcome: DispatchOutcome) -> bool:
        """See `dispatch_app.execution.ports.Ledger.finish`."""
        return await self._settle(FinishItem(dispatch=dispatch, outcome=outcome))

    async def _settle(self, item: Settlement | FinishItem) -> bool:
        try:
            await self._submit_settle(item)
        except LaneUnavailableError:
            if self._spool is not None:
                await self._spool.flushed()
            return False
        except psycopg.Error:
            return False
        return True

    def _submit_settle(self, item: Settlement | FinishItem) -> "asyncio.Future[None]":
        try:
            return self._settles.submit(item)
        except LaneUnavailableError:
            if self._spool is not None:
                self._spool.keep(item)
            raise

    async def _replay_for_ever(self, folder: Path) -> None:
        while True:
            try:
                await self.replay(folder)
            except OSError:
                logger.exception("A spool of the ledger cannot be read")
            await asyncio.sleep(REPLAY_EVERY_S)

    async def replay(self, folder: Path) -> None:
        """Settle what processes that are gone have left in `folder`; what cannot be settled now stays there."""
        files = SpoolFile.left_behind(folder)
        while (file := await asyncio.to_thread(next, files, None)) is not None:
            records = await asyncio.to_thread(file.read)
            if await self._settle_again(records):
                await asyncio.to_thread(file.remove)
                logger.info("Settled %d records of a process that is gone", len(records))

    async def _settle_again(self, records: list[bytes]) -> bool:
        """Whether all are settled now. What the database or this version cannot read is left to the sweep, which charges it."""
        lane: GroupCommitLane[Settlement | FinishItem, None] = GroupCommitLane(
            name="replay",
            conninfo=self._conninfo,
            commit=self._commit_settles,
            queue_limit=len(records),
            patience_s=REPLAY_PATIENCE_S,
        )
        await lane.start()
        try:
            waiting = [lane.submit(item) for item in _unspooled(records)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            await lane.stop(timeout_s=0)
        return not any(isinstance(answer, LaneUnavailableError) for answer in answers)

    def _void_abandoned(self, item: BeginItem, verdict: BeginVerdict | None) -> None:
        """Give back what was reserved for an attempt that nobody waits for any more: nothing of it was sent."""
        if verdict is not None and verdict.verdict is Verdict.ADMITTED:
            # Where even that is not accepted, the sweep charges the reservation: never too little.
            with contextlib.suppress(LaneUnavailableError):
                self._submit_settle(void_of(item.attempt)).add_done_callback(_take_exception)

    async def _commit_begins(
        self, connection: psycopg.AsyncConnection, items: Sequence[BeginItem], *, in_doubt: bool
    ) -> Sequence[BeginVerdict | None]:
        budgets, parameters = begin_parameters(items, in_doubt=in_doubt)
        cursor = await connection.execute(BEGIN_SQL, parameters)
        answer = decode_begin((await cursor.fetchone())[0])  # type: ignore[index]
        for key, used_nanos in zip(budgets, answer.used_nanos, strict=True):
            if used_nanos is not None:
                self.budget_usage.record((key.budget_id, key.subject, key.period_start), used_nanos)
        if answer.verdicts is None:
            return [ADMITTED] * len(items)
        return [_verdict_of(code, subject_id) for code, subject_id in answer.verdicts]

    async def _commit_settles(
        self, connection: psycopg.AsyncConnection, items: Sequence[Settlement | FinishItem], *, in_doubt: bool
    ) -> Sequence[None]:
        del in_doubt  # Settling passes over what is no longer open, so sending again is always safe.
        settlements = [item for item in items if isinstance(item, Settlement)]
        finishes = [item for item in items if isinstance(item, FinishItem)]
        cursor = await connection.execute(SETTLE_SQL, settle_parameters(settlements, finishes))
        for budget_id, subject, period_start, used_nanos in decode_settle((await cursor.fetchone())[0]):  # type: ignore[index]
            self.budget_usage.record((budget_id, subject, period_start), used_nanos)
        return [None] * len(items)


def void_of(attempt: AttemptRecord) -> Settlement:
    """The settlement of an attempt of which provably nothing was sent."""
    return Settlement(
        attempt_id=attempt.id,
        attempt_created_at=attempt.created_at,
        state=AttemptState.VOIDED,
        wire_status=None,
        fault=None,
        response_model="",
        usage=Usage(),
        cost_nanos=0,
        estimated=False,
        cold=False,
        latency_ms=0,
        first_byte_ms=None,
        settled_at=attempt.created_at,
        outcome=None,
    )


def _spooled(item: Settlement | FinishItem) -> bytes:
    if isinstance(item, Settlement):
        return encode(_SpoolRecord(settlement=item))
    return encode(_SpoolRecord(finish=item))


def _unspooled(records: list[bytes]) -> Iterator[Settlement | FinishItem]:
    for text in records:
        try:
            record = _decode_spooled(text)
        except msgspec.MsgspecError:
            logger.exception("A record of the ledger's spool cannot be read")
            continue
        if (item := record.settlement or record.finish) is not None:
            yield item


def _verdict_of(code: str, subject_id: int | None) -> BeginVerdict | None:
    """None where the attempt expired before its earlier verdict was known."""
    if code in ("admitted", "known"):
        return ADMITTED
    if code == "expired":
        return None
    return BeginVerdict(verdict=Verdict(code), subject_id=subject_id)


def _take_exception(answer: "asyncio.Future[None]") -> None:
    """Mark a failure as seen: nobody waits for this answer."""
    if not answer.cancelled():
        answer.exception()
