"""A lane whose database is slow, gone, or answers when nobody listens any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from dispatch_app.ledger.lane import GroupCommitLane, LaneUnavailableError

PATIENCE_S = 2.0
STALLED_S = 0.6
"""0.3 of the patience."""


class Desk:
    """Commits a batch as slowly as it is told to."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self.abandoned: list[tuple[str, str]] = []

    async def commit(
        self, connection: psycopg.AsyncConnection, items: Sequence[str], *, in_doubt: bool
    ) -> Sequence[str]:
        await asyncio.sleep(self.takes_s)
        return [item.upper() for item in items]

    def take_back(self, item: str, answer: str) -> None:
        self.abandoned.append((item, answer))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest_asyncio.fixture
async def lane(conninfo: str, desk: Desk) -> AsyncIterator[GroupCommitLane[str, str]]:
    lane = GroupCommitLane(
        name="test",
        conninfo=conninfo,
        commit=desk.commit,
        queue_limit=10,
        patience_s=PATIENCE_S,
        on_abandoned=desk.take_back,
    )
    await lane.start()
    yield lane
    await lane.stop(timeout_s=5)


async def test_when_a_batch_takes_far_longer_than_usual_all_who_wait_are_refused_early_and_others_at_once(
    lane: GroupCommitLane[str, str], desk: Desk
) -> None:
    assert [await lane.submit("a") for _ in range(20)] == ["A"] * 20
    desk.takes_s = PATIENCE_S * 0.75

    started_at = time.monotonic()
    sent = lane.submit("b")
    await asyncio.sleep(0.1)
    queued = lane.submit("c")
    for waiting in (sent, queued):
        with pytest.raises(LaneUnavailableError):
            await waiting
    assert STALLED_S <= time.monotonic() - started_at < desk.takes_s
    with pytest.raises(LaneUnavailableError):
        lane.submit("d")


async def test_what_a_stalled_lane_committed_after_all_is_taken_back_and_it_serves_again(
    lane: GroupCommitLane[str, str], desk: Desk
) -> None:
    assert [await lane.submit("a") for _ in range(20)] == ["A"] * 20
    desk.takes_s = STALLED_S + 0.4
    with pytest.raises(LaneUnavailableError):
        await lane.submit("b")
    desk.takes_s = 0.0

    await _until(lambda: desk.abandoned == [("b", "B")])

    assert await lane.submit("e") == "E"


async def test_slow_batches_are_waited_for_where_they_are_the_usual(
    lane: GroupCommitLane[str, str], desk: Desk
) -> None:
    desk.takes_s = STALLED_S + 0.2

    assert [await lane.submit("a") for _ in range(2)] == ["A", "A"]


async def test_a_database_that_accepts_no_connection_refuses_at_once(desk: Desk) -> None:
    lane = GroupCommitLane(
        name="test",
        conninfo="host=127.0.0.1 port=1",
        commit=desk.commit,
        queue_limit=10,
        patience_s=60.0,
        on_abandoned=desk.take_back,
    )
    await lane.start()

    async with asyncio.timeout(10):
        with pytest.raises(LaneUnavailableError):
            await lane.submit("a")

    await lane.stop(timeout_s=0)


async def test_stopping_refuses_what_is_queued_and_waits_for_what_is_in_flight(
    lane: GroupCommitLane[str, str], desk: Desk
) -> None:
    desk.takes_s = 0.3
    in_flight = lane.submit("a")
    await _until(lambda: lane.depth == 0)
    queued = lane.submit("b")

    await lane.stop(timeout_s=5)

    assert await in_flight == "A"
    with pytest.raises(LaneUnavailableError):
        await queued


async def test_a_statement_of_a_broken_connection_is_over_before_the_next_connection_is_used(
    conninfo: str,
) -> None:
    """Otherwise it could be committed after its item was refused over the next connection."""
    running_when_sent_again: list[int] = []

    async def commit(
        connection: psycopg.AsyncConnection, items: Sequence[str], *, in_doubt: bool
    ) -> Sequence[str]:
        if not in_doubt:
            connection.pgconn.send_query(b"SELECT pg_sleep(60) /* former */")
            await _until_running(conninfo, 1)
            raise psycopg.OperationalError
        running_when_sent_again.append(await _running(conninfo))
        return items

    lane: GroupCommitLane[str, str] = GroupCommitLane(
        name="test", conninfo=conninfo, commit=commit, queue_limit=10, patience_s=30
    )
    await lane.start()

    assert await lane.submit("a") == "a"

    assert running_when_sent_again == [0]
    await lane.stop(timeout_s=5)


async def _running(conninfo: str) -> int:
    async with await psycopg.AsyncConnection.connect(conninfo) as other:
        cursor = await other.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%former%' AND state = 'active'"
        )
        (count,) = await cursor.fetchone() or (0,)
    return int(count)


async def _until_running(conninfo: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await _running(conninfo) != count:  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.01)


async def _until(is_so: Any) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
