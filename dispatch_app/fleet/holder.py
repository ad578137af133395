"""Keeps one process's `Fleet` up to date: exchanges with the other processes every two seconds, off the way of requests."""

import asyncio
import contextlib
import logging
import time
from typing import Protocol

import psycopg

from dispatch_app.fleet.exchange import ROUND_S, decide, forget, read, tell
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.snapshot.types import Snapshot

logger = logging.getLogger(__name__)

REBUILD_S = 1.0
FORGET_S = 60.0
# A database that does not take in a few rows within this time is away.
ANSWER_S = 5.0
LAST_WORDS_S = 1.0
BACK_OFF_S = 2.0


class Snapshots(Protocol):
    """Holds the snapshot of the moment."""

    @property
    def is_loaded(self) -> bool: ...

    @property
    def current(self) -> Snapshot: ...


class FleetHolder:
    """Follows the database for `fleet`.

    While the database is away, the last picture stays; what was seen meanwhile is told when it is back. A process that
    dies takes at most what it saw since its last exchange with it.
    """

    def __init__(self, *, conninfo: str, fleet: Fleet, snapshots: Snapshots) -> None:
        self.fleet = fleet
        self._conninfo = conninfo
        self._snapshots = snapshots
        self._forget_due = time.monotonic() + FORGET_S
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, patience_s: float = ANSWER_S) -> None:
        """Begin to follow the database. Returns once the picture is read, or after `patience_s`."""
        read_once = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._keep_exchanging(read_once), name="fleet exchange"),
            asyncio.create_task(self._keep_rebuilding(), name="fleet state"),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await read_once.wait()

    async def stop(self) -> None:
        """Stop following, and tell the others what they do not know yet."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        with contextlib.suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S), await self._connect() as connection:
                await tell(connection, self.fleet.tell())

    async def exchange(self, connection: psycopg.AsyncConnection) -> None:
        """Tell what this process saw, take over what all know, and decide with them which signals hold."""
        await tell(connection, self.fleet.tell())
        self.fleet.was_told()
        number = await read(connection, self.fleet.picture)
        if self._snapshots.is_loaded:
            await self.fleet.read_latencies(self._snapshots.current)
            await decide(connection, self.fleet.picture, signals=self.fleet.look_at_signals(), number=number)
            self.fleet.rebuild(self._snapshots.current)
        if time.monotonic() >= self._forget_due:
            self._forget_due = time.monotonic() + FORGET_S
            await forget(connection, watched=self.fleet.watched_signals)

    async def _keep_exchanging(self, read_once: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    connection = await self._connect()
                async with connection:
                    await self._follow(connection, read_once)
            except (psycopg.Error, TimeoutError) as error:
                logger.warning("The database is away; going by the last picture of the fleet. %s", error)
            except Exception:
                logger.exception(
                    "Unable to bring the picture of the fleet up to date; going by the last one."
                )
            await asyncio.sleep(BACK_OFF_S)

    async def _follow(self, connection: psycopg.AsyncConnection, read_once: asyncio.Event) -> None:
        """Exchange once a round, until the connection breaks."""
        while True:
            async with asyncio.timeout(ANSWER_S):
                await self.exchange(connection)
            read_once.set()
            await asyncio.sleep(ROUND_S)

    async def _keep_rebuilding(self) -> None:
        """Models go cold, and snapshots change, between two exchanges."""
        while True:
            await asyncio.sleep(REBUILD_S)
            if self._snapshots.is_loaded:
                self.fleet.rebuild(self._snapshots.current)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, application_name="signalbox fleet"
        )
