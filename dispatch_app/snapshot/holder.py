"""Keeps the snapshot up to date: follows the control epoch, swaps by reference, and says which epoch it serves."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import psycopg

from dispatch_app.snapshot.budget_usage import BudgetUsage, UsageKey
from dispatch_app.snapshot.loader import SnapshotLoader
from dispatch_app.snapshot.situation import running_period_start
from dispatch_app.snapshot.types import ServedTenant, Snapshot
from policies_app.routing.codes import BudgetAction, BudgetScope
from policies_app.routing.conditions import BudgetForecast, BudgetUsed

logger = logging.getLogger(__name__)

EPOCH_POLL_S = 0.5
USAGE_POLL_S = 1.0
HEARTBEAT_S = 2.0
# A database that does not answer a query of one row within this time is away.
ANSWER_S = 5.0
LAST_WORDS_S = 1.0
FIRST_LOAD_S = 10.0
LEAST_BACK_OFF_S = 0.1
MOST_BACK_OFF_S = 2.0
# Users whose balance this process asks for; a user that it has not seen yet is learned with the first answer.
MOST_SUBJECTS_POLLED = 1_000

EPOCH_SQL = "SELECT value FROM control_epoch"
ACKNOWLEDGE_SQL = """
INSERT INTO serving_process AS process (id, hostname, pid, started_at, epoch, acknowledged_at, seen_at)
VALUES (%(id)s, %(hostname)s, %(pid)s, clock_timestamp(), %(epoch)s, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE
   SET epoch = excluded.epoch,
       seen_at = excluded.seen_at,
       acknowledged_at = CASE WHEN process.epoch = excluded.epoch THEN process.acknowledged_at
                              ELSE excluded.acknowledged_at END
"""
FORGET_DEAD_SQL = "DELETE FROM serving_process WHERE seen_at < clock_timestamp() - interval '1 minute'"
LEAVE_SQL = "DELETE FROM serving_process WHERE id = %s"
USAGE_SQL = """
SELECT budget_id, subject, period_start, settled_nanos + reserved_nanos + overage_nanos
  FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[]) AS wanted (budget_id, subject, period_start)
  JOIN budget_balance USING (budget_id, subject, period_start)
"""


class SnapshotNotLoadedError(Exception):
    """No snapshot has been loaded yet: the database was not to be had since the start."""


class SnapshotHolder:
    """Holds the current snapshot of this process.

    An edit's NOTIFY wakes it at once, and a poll every 500 ms makes up for one that was lost. While the database is
    away, or a load fails, the last good snapshot stays. A burst of edits costs one load, and one more for what came
    while it ran.
    """

    def __init__(
        self, *, conninfo: str, budget_usage: BudgetUsage, load: Callable[[], Snapshot] | None = None
    ) -> None:
        self.id = uuid4()
        self._conninfo = conninfo
        self._budget_usage = budget_usage
        self._load = load or SnapshotLoader().load
        self._snapshot: Snapshot | None = None
        self._tenants: tuple[ServedTenant, ...] = ()
        self._watched: frozenset[int] = frozenset()
        self._serving = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> Snapshot:
        """The snapshot to serve from.

        :raises SnapshotNotLoadedError: if none has been loaded yet.
        """
        if self._snapshot is None:
            raise SnapshotNotLoadedError("Nothing has been loaded from the database yet.")
        return self._snapshot

    @property
    def is_loaded(self) -> bool:
        """Whether there is a snapshot to serve from."""
        return self._snapshot is not None

    async def start(self, *, patience_s: float = FIRST_LOAD_S) -> None:
        """Begin to follow the database. Returns once this process serves and is on the list, or after `patience_s`."""
        self._task = asyncio.create_task(self._keep_following(), name="snapshot holder")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._serving.wait()

    async def stop(self) -> None:
        """Stop following, and take this process off the list of those that serve."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S), await self._connect() as connection:
                await connection.execute(LEAVE_SQL, (self.id,))

    async def _keep_following(self) -> None:
        back_off_s = LEAST_BACK_OFF_S
        while True:
            connected_at = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S):
                    connection = await self._connect()
                async with connection:
                    await self._follow(connection)
            except (psycopg.Error, TimeoutError) as error:
                logger.warning("The database is away; serving the last snapshot. %s", error)
            except Exception:
                logger.exception("Unable to bring the snapshot up to date; serving the last one.")
            if time.monotonic() - connected_at > MOST_BACK_OFF_S:
                back_off_s = LEAST_BACK_OFF_S
            await asyncio.sleep(back_off_s)
            back_off_s = min(2 * back_off_s, MOST_BACK_OFF_S)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, application_name="signalbox snapshot"
        )

    async def _follow(self, connection: psycopg.AsyncConnection) -> None:
        """Load whatever is new, until the connection breaks."""
        await connection.execute("LISTEN signalbox_epoch")
        usage_due = heartbeat_due = 0.0
        while True:
            async with asyncio.timeout(ANSWER_S):
                epoch = await _epoch(connection)
            if self._snapshot is None or self._snapshot.epoch != epoch:
                await self._reload()
                heartbeat_due = 0.0
            now = time.monotonic()
            async with asyncio.timeout(ANSWER_S):
                if now >= heartbeat_due:
                    await self._acknowledge(connection)
                    self._serving.set()
                    heartbeat_due = now + HEARTBEAT_S
                if now >= usage_due:
                    await self._refresh_usage(connection)
                    usage_due = now + USAGE_POLL_S
            await _wait_for_edit(connection)

    async def _reload(self) -> None:
        snapshot = await asyncio.to_thread(self._load)
        self._tenants = tuple({key.tenant.id: key.tenant for key in snapshot.keys.values()}.values())
        self._watched = _watched_budgets(self._tenants, _scopes_looked_at(snapshot))
        self._snapshot = snapshot
        logger.info("Serving epoch %d.", snapshot.epoch)

    async def _acknowledge(self, connection: psycopg.AsyncConnection) -> None:
        await connection.execute(
            ACKNOWLEDGE_SQL,
            {
                "id": self.id,
                "hostname": socket.gethostname(),
                "pid": os.getpid(),
                "epoch": self.current.epoch,
            },
        )
        await connection.execute(FORGET_DEAD_SQL)

    async def _refresh_usage(self, connection: psycopg.AsyncConnection) -> None:
        now = datetime.now(UTC)  # noqa: TID251 - the edge of the data plane, which reads no Django clock
        starts = {
            budget.id: running_period_start(tenant.zone, budget, now)
            for tenant in self._tenants
            for budget in tenant.budgets
        }
        wanted = [(budget_id, "", starts[budget_id]) for budget_id in self._watched]
        wanted += [
            key
            for key in self._budget_usage.latest_keys(MOST_SUBJECTS_POLLED)
            if key[1] and key[0] in self._watched and key[2] == starts[key[0]]
        ]
        used = await _read_usage(connection, wanted) if wanted else {}
        self._budget_usage.refresh(used_nanos=used, current=starts.items())


async def _epoch(connection: psycopg.AsyncConnection) -> int:
    cursor = await connection.execute(EPOCH_SQL)
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.DataError("control_epoch is empty: the database is not migrated")
    return int(row[0])


async def _wait_for_edit(connection: psycopg.AsyncConnection) -> None:
    """Return when an edit was notified, or after the time of a poll."""
    async for _ in connection.notifies(timeout=EPOCH_POLL_S, stop_after=1):
        pass


async def _read_usage(connection: psycopg.AsyncConnection, keys: Sequence[UsageKey]) -> dict[UsageKey, int]:
    budget_ids, subjects, starts = zip(*keys, strict=True)
    cursor = await connection.execute(USAGE_SQL, (list(budget_ids), list(subjects), list(starts)))
    return {(budget_id, subject, start): used async for budget_id, subject, start, used in cursor}


def _watched_budgets(tenants: Iterable[ServedTenant], scopes: set[BudgetScope]) -> frozenset[int]:
    """The budgets whose use is asked for: those that downgrade or shrink, and those that a rule looks at."""
    return frozenset(
        budget.id
        for tenant in tenants
        for budget in tenant.budgets
        if budget.action is BudgetAction.DOWNGRADE
        or budget.shrink_to_tokens is not None
        or budget.scope in scopes
    )


def _scopes_looked_at(snapshot: Snapshot) -> set[BudgetScope]:
    policies = (*snapshot.policies.values(), *snapshot.drafts.values())
    return {
        condition.scope
        for policy in policies
        for rule in policy.compiled.rules
        for condition in rule.conditions
        if isinstance(condition, BudgetUsed | BudgetForecast)
    }
