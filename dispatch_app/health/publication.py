"""Tells what this process knows of its targets: to people, to monitoring, and to other processes what concerns them too.

Each process writes its own rows every two seconds, and at once when something changes; it removes them when it stops. Rows
of a process that died are not looked at after ten seconds, and deleted after a minute.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from uuid import UUID

import msgspec
import psycopg

from dispatch_app.execution.breaker import Cause
from dispatch_app.execution.breakers import Breakers, SharedBlock, TargetKey, TargetState
from dispatch_app.health.tally import Tally

logger = logging.getLogger(__name__)

PUBLISH_S = 2.0
NOTICE_S = 0.25
"""How soon a change is noticed."""
FORGET_S = 60.0
FRESH_S = 10
"""Rows that were not written for longer than this are of a process that is gone."""
# A database that does not take in a few rows within this time is away.
ANSWER_S = 5.0
LAST_WORDS_S = 1.0
BACK_OFF_S = 2.0

# The database's clock is the only one that all processes share, so times cross as seconds from now.
STATES_SQL = """
INSERT INTO target_health AS known (
    process_id, provider_id, credential, model_id, region, provider, model, state, cause, since, until, is_learned,
    is_being_probed, provider_is_degraded, consecutive_failures, window_calls, window_failures, calls, failures,
    last_fault, last_wire_status, shared_cause, shared_until, seen_at)
SELECT %(process_id)s, provider_id, credential, model_id, region, provider, model, state, cause,
       now() - make_interval(secs => age_s), now() + make_interval(secs => remaining_s), is_learned,
       is_being_probed, provider_is_degraded, consecutive_failures, window_calls, window_failures, calls, failures,
       last_fault, last_wire_status, shared_cause, now() + make_interval(secs => shared_s), now()
  FROM jsonb_to_recordset(%(states)s::jsonb) AS told (
    provider_id bigint, credential text, model_id bigint, region text, provider text, model text, state text,
    cause text, age_s float8, remaining_s float8, is_learned boolean, is_being_probed boolean,
    provider_is_degraded boolean, consecutive_failures integer, window_calls integer, window_failures integer,
    calls integer, failures integer, last_fault text, last_wire_status smallint, shared_cause text, shared_s float8)
    ON CONFLICT (process_id, provider_id, credential, model_id, region) DO UPDATE SET
       provider = excluded.provider, model = excluded.model, state = excluded.state, cause = excluded.cause,
       since = excluded.since, until = excluded.until, is_learned = excluded.is_learned,
       is_being_probed = excluded.is_being_probed, provider_is_degraded = excluded.provider_is_degraded,
       consecutive_failures = excluded.consecutive_failures, window_calls = excluded.window_calls,
       window_failures = excluded.window_failures, calls = excluded.calls, failures = excluded.failures,
       last_fault = excluded.last_fault, last_wire_status = excluded.last_wire_status,
       shared_cause = excluded.shared_cause, shared_until = excluded.shared_until, seen_at = excluded.seen_at
"""
DROP_FORGOTTEN_SQL = "DELETE FROM target_health WHERE process_id = %s AND seen_at < now()"
LOAD_SQL = """
INSERT INTO process_load AS known (process_id, in_flight, retries_left, hedges_left, is_stopped, seen_at)
VALUES (%s, %s, %s, %s, %s, now())
    ON CONFLICT (process_id) DO UPDATE
   SET in_flight = excluded.in_flight, retries_left = excluded.retries_left, hedges_left = excluded.hedges_left,
       is_stopped = excluded.is_stopped, seen_at = excluded.seen_at
"""
# In the order of the keys, so that two processes cannot deadlock.
COUNTS_SQL = """
INSERT INTO metric_count AS known (metric, model_id, label, value)
SELECT metric, model_id, label, value
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[]) AS counted (metric, model_id, label, value)
 ORDER BY metric, model_id, label
    ON CONFLICT (metric, model_id, label) DO UPDATE SET value = known.value + excluded.value
"""
LEARN_SQL = f"""
SELECT DISTINCT ON (provider_id, credential, model_id, region)
       provider_id, credential, model_id, region, model, provider, shared_cause, extract(epoch FROM shared_until - now())
  FROM target_health
 WHERE process_id <> %s AND shared_until > now() AND seen_at > now() - interval '{FRESH_S} seconds'
 ORDER BY provider_id, credential, model_id, region, shared_until DESC
"""  # noqa: S608 - a figure of ours
LEAVE_SQL = (
    "DELETE FROM target_health WHERE process_id = %s",
    "DELETE FROM process_load WHERE process_id = %s",
)
FORGET_DEAD_SQL = (
    "DELETE FROM target_health WHERE seen_at < now() - interval '1 minute'",
    "DELETE FROM process_load WHERE seen_at < now() - interval '1 minute'",
)


class HealthPublication:
    """Publishes for one process, and has its breakers learn what the others share.

    While the database is away nothing is told or learned; breakers go by what they know, and counts wait. A process that
    dies takes along at most what it counted since it last published.
    """

    def __init__(
        self,
        *,
        conninfo: str,
        process_id: UUID,
        breakers: Breakers,
        tally: Tally,
        in_flight: Callable[[], int],
        monotonic: Callable[[], float],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._conninfo = conninfo
        self._process_id = process_id
        self._breakers = breakers
        self._tally = tally
        self._in_flight = in_flight
        self._monotonic = monotonic
        self._is_stopped = is_stopped
        self._alerted: frozenset[TargetKey] = frozenset()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to publish, off the way of requests."""
        self._stopping.clear()
        self._task = asyncio.create_task(self._keep_publishing(), name="health publication")

    async def stop(self) -> None:
        """Tell the last counts, and take this process's rows away."""
        if self._task is None:
            return
        # What is being told is told to its end: cut short, nobody would know whether it was counted.
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=LAST_WORDS_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S), await self._connect() as connection:
                await self._tell_counts(connection)
                for statement in LEAVE_SQL:
                    await connection.execute(statement, (self._process_id,))

    async def publish(self, connection: psycopg.AsyncConnection) -> None:
        """Write what is known now, and learn what the others share."""
        states = self._breakers.states()
        async with connection.transaction():
            rows = msgspec.json.encode([_row(state) for state in states]).decode()
            await connection.execute(STATES_SQL, {"process_id": self._process_id, "states": rows})
            await connection.execute(DROP_FORGOTTEN_SQL, (self._process_id,))
        # One table a transaction: whoever locks several in another order cannot deadlock with it.
        await connection.execute(LOAD_SQL, self._load())
        await self._tell_counts(connection)
        told = await connection.execute(LEARN_SQL, (self._process_id,))
        self._breakers.learn([_shared_block(row) async for row in told])
        self._alert(states)

    async def _keep_publishing(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(ANSWER_S):
                    connection = await self._connect()
                async with connection:
                    await self._follow(connection)
            except (psycopg.Error, TimeoutError) as error:
                logger.warning("The database is away; the health of targets is not published. %s", error)
            except Exception:
                logger.exception("Unable to publish the health of targets.")
            await self._pause(BACK_OFF_S)

    async def _follow(self, connection: psycopg.AsyncConnection) -> None:
        """Publish what changes, until the connection breaks or the process stops."""
        published_changes = -1
        publish_due = forget_due = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= publish_due or self._breakers.changes != published_changes:
                async with asyncio.timeout(ANSWER_S):
                    await self.publish(connection)
                published_changes, publish_due = self._breakers.changes, now + PUBLISH_S
            if now >= forget_due:
                async with asyncio.timeout(ANSWER_S):
                    for statement in FORGET_DEAD_SQL:
                        await connection.execute(statement)
                forget_due = now + FORGET_S
            await self._pause(NOTICE_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, application_name="signalbox health"
        )

    async def _tell_counts(self, connection: psycopg.AsyncConnection) -> None:
        counts = self._tally.untold()
        if not counts:
            return
        columns = [list(column) for column in zip(*(key for key in counts), strict=True)]
        await connection.execute(COUNTS_SQL, (*columns, list(counts.values())))
        self._tally.was_told(counts)

    def _load(self) -> tuple[UUID, int, int, int, bool]:
        retries_left = self._tally.retries.left(now=self._monotonic())
        return (
            self._process_id,
            self._in_flight(),
            retries_left,
            self._tally.hedges.left,
            self._is_stopped(),
        )

    def _alert(self, states: list[TargetState]) -> None:
        """Say once in the log what does not pass by itself."""
        ailing = {
            state.key: state
            for state in states
            if state.status.cause is not None and state.status.cause.needs_attention
        }
        for key in ailing.keys() - self._alerted:
            state = ailing[key]
            logger.error("%s of %s needs attention: %s.", state.model, state.provider, state.status.cause)
        self._alerted = frozenset(ailing)


def _row(state: TargetState) -> dict[str, object]:
    status, shared = state.status, state.to_share
    return {
        "provider_id": state.key.provider_id,
        "credential": state.key.credential,
        "model_id": state.key.model_id,
        "region": state.key.region,
        "provider": state.provider,
        "model": state.model,
        "state": status.state,
        "cause": status.cause or "",
        "age_s": state.age_s,
        "remaining_s": state.remaining_s,
        "is_learned": status.is_learned,
        "is_being_probed": status.is_being_probed,
        "provider_is_degraded": state.provider_is_degraded,
        "consecutive_failures": status.consecutive_failures,
        "window_calls": status.calls,
        "window_failures": status.failures,
        "calls": state.calls,
        "failures": state.failures,
        "last_fault": status.last_fault or "",
        "last_wire_status": status.last_wire_status,
        "shared_cause": "" if shared is None else shared.cause,
        "shared_s": None if shared is None else shared.remaining_s,
    }


def _shared_block(row: tuple[int, str, int, str, str, str, str, float]) -> SharedBlock:
    provider_id, credential, model_id, region, model, provider, cause, remaining_s = row
    return SharedBlock(
        key=TargetKey(provider_id=provider_id, credential=credential, model_id=model_id, region=region),
        model=model,
        provider=provider,
        cause=Cause(cause),
        remaining_s=float(remaining_s),
    )
