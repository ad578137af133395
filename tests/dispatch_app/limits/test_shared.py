"""Rate limits over several processes: each has its own `SharedLimits` and connection."""

import asyncio
import sys
import time

import psycopg
import pytest

from dispatch_app.execution.ports import LedgerUnavailableError
from dispatch_app.limits.leave import Leave, LimitReachedError
from dispatch_app.limits.shared import SharedLimits
from dispatch_app.snapshot.types import RateLimits
from tests.dispatch_app.limits.conftest import Process
from tests.dispatch_app.limits.values import at_once, requests, tokens

HOLDER = """
import asyncio, sys
from dispatch_app.limits.shared import SharedLimits
from dispatch_app.snapshot.types import ServedRateLimit
from policies_app.routing.codes import RateLimitKind, RateLimitScope

async def hold(conninfo, limit_id):
    limits = SharedLimits(conninfo=conninfo, patience_s=10.0)
    await limits.start()
    limit = ServedRateLimit(
        id=limit_id, scope=RateLimitScope.TENANT, kind=RateLimitKind.CONCURRENT_DISPATCHES, most=2
    )
    leaves = [await limits.take((limit,)) for _ in range(2)]
    print("holding", flush=True)
    await asyncio.sleep(600)

asyncio.run(hold(sys.argv[1], int(sys.argv[2])))
"""


async def take_all(limits: SharedLimits, *asked: RateLimits, tokens: int = 0) -> list[Leave]:
    """What is given of so many asks at the same time."""
    answers = await asyncio.gather(
        *(limits.take(ask, tokens=tokens) for ask in asked), return_exceptions=True
    )
    assert all(isinstance(answer, Leave | LimitReachedError) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Leave)]


async def until_given(limits: SharedLimits, asked: RateLimits, *, within_s: float = 10.0) -> Leave:
    give_up_at = time.monotonic() + within_s
    while True:
        try:
            return await limits.take(asked)
        except LimitReachedError:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)


async def test_processes_together_get_what_one_would(process: Process) -> None:
    processes = [await process() for _ in range(4)]
    limit = requests(100)
    began_at = time.monotonic()

    given = await asyncio.gather(*(take_all(one, *[(limit,)] * 200) for one in processes))

    refilled = (time.monotonic() - began_at) * 100 / 60
    assert 100 <= sum(map(len, given)) <= 100 + refilled + 1


async def test_over_time_two_processes_stay_within_five_percent(process: Process) -> None:
    """A limit of 100 a second, and twice that asked, after the first bucket was emptied."""
    processes = [await process() for _ in range(2)]
    limit = requests(6_000)
    while len(await take_all(processes[0], *[(limit,)] * 2_000)) == 2_000:
        pass
    began_at = time.monotonic()

    async def ask(limits: SharedLimits) -> int:
        given = 0
        while time.monotonic() - began_at < 2.0:
            given += len(await take_all(limits, *[(limit,)] * 8))
            await asyncio.sleep(0.01)
        return given

    given = sum(await asyncio.gather(*(ask(one) for one in processes)))

    assert (time.monotonic() - began_at) * 100 == pytest.approx(given, rel=0.05)


async def test_slots_are_counted_over_processes_and_come_back(process: Process) -> None:
    first, second = await process(), await process()
    limit = at_once(3)

    held = await take_all(first, (limit,), (limit,))
    held_too = await take_all(second, (limit,), (limit,))
    assert (len(held), len(held_too)) == (2, 1)

    held[0].end(tokens=0)
    await until_given(second, (limit,))


async def test_slots_are_never_more_than_there_are(process: Process) -> None:
    processes = [await process() for _ in range(3)]
    limit = at_once(5)
    holding = most = 0

    async def work(limits: SharedLimits) -> None:
        nonlocal holding, most
        for leave in await take_all(limits, (limit,)):
            holding += 1
            most = max(most, holding)
            await asyncio.sleep(0.002)
            holding -= 1
            leave.end(tokens=0)

    for _ in range(20):
        await asyncio.gather(*(work(limits) for limits in processes for _ in range(8)))

    assert most == 5


async def test_the_slots_of_a_killed_process_are_there_again(process: Process, conninfo: str) -> None:
    limits, limit = await process(), at_once(2)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, conninfo, str(limit.id), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert killed.stdout is not None
        assert await killed.stdout.readline() == b"holding\n"
        with pytest.raises(LimitReachedError):
            await limits.take((limit,))
    finally:
        killed.kill()
        await killed.communicate()

    assert await until_given(limits, (limit,))
    assert len(await take_all(limits, (limit,))) == 1


async def test_a_process_that_lost_its_connection_tells_again_what_it_holds(
    process: Process, conninfo: str
) -> None:
    first, second = await process(), await process()
    limit = at_once(2)
    held = await take_all(first, (limit,), (limit,))
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'signalbox-limits' AND datname = current_database()"
        )
        admin.execute("DELETE FROM rate_limit_slot")  # As after a crash of the database.

    with pytest.raises(LimitReachedError):
        await first.take((limit,))
    with pytest.raises(LimitReachedError):
        await second.take((limit,))

    held[0].end(tokens=0)
    assert await until_given(second, (limit,))


async def test_tokens_that_were_not_used_come_back(process: Process) -> None:
    first, second = await process(), await process()
    limit = tokens(1_000)
    leave = await first.take((limit,), tokens=900)
    with pytest.raises(LimitReachedError):
        await second.take((limit,), tokens=500)

    leave.end(tokens=100)

    give_up_at = time.monotonic() + 10
    while not await take_all(second, (limit,), tokens=700):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)


async def test_what_could_need_more_than_a_whole_minute_needs_a_full_bucket(process: Process) -> None:
    limits, limit = await process(), tokens(1_000)

    assert (await limits.take((limit,), tokens=50_000)).standings[0].remaining == 0
    with pytest.raises(LimitReachedError) as refused:
        await limits.take((limit,), tokens=50_000)

    assert 55 <= refused.value.retry_after_s <= 60


async def test_a_refusal_says_which_limit_it_was_and_when_to_come_back(process: Process) -> None:
    limits = await process()
    wide, narrow = requests(100), requests(2)
    await take_all(limits, (wide, narrow), (wide, narrow))

    with pytest.raises(LimitReachedError) as refused:
        await limits.take((wide, narrow))

    assert refused.value.reached.limit == narrow
    assert 25 <= refused.value.retry_after_s <= 30
    assert [standing.remaining for standing in refused.value.standings] == [98, 0]


async def test_a_flood_of_refused_requests_is_no_flood_of_questions(process: Process, conninfo: str) -> None:
    limits, limit = await process(), requests(1)
    await limits.take((limit,))
    with pytest.raises(LimitReachedError):
        await limits.take((limit,))
    with psycopg.connect(conninfo) as locker:
        locker.execute("LOCK TABLE rate_limit_level")  # Who asks now, waits.

        with pytest.raises(LimitReachedError) as refused:
            await asyncio.wait_for(limits.take((limit,)), timeout=5)

    assert refused.value.reached.limit == limit


async def test_what_nobody_waits_for_any_more_is_taken_by_nobody(process: Process, conninfo: str) -> None:
    limits, limit = await process(), at_once(1)
    await (await _taken_and_returned(limits)).take((limit,))
    other = at_once(1)
    with psycopg.connect(conninfo) as locker:
        locker.execute("LOCK TABLE rate_limit_level")
        gone = asyncio.create_task(limits.take((other,)))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

    assert await until_given(limits, (other,))


async def _taken_and_returned(limits: SharedLimits) -> SharedLimits:
    (await limits.take((requests(10),))).end(tokens=0)
    return limits


async def test_without_a_database_nothing_is_given(conninfo: str) -> None:
    away = SharedLimits(conninfo=psycopg.conninfo.make_conninfo(conninfo, port=1), patience_s=2.0)
    await away.start()
    try:
        for _ in range(2):
            with pytest.raises(LedgerUnavailableError) as refused:
                await asyncio.wait_for(away.take((requests(10),)), timeout=10)
            assert refused.value.retry_after_s >= 1
    finally:
        await away.stop()


async def test_nobody_connects_before_there_is_a_limit_to_ask(process: Process, conninfo: str) -> None:
    await process()
    await asyncio.sleep(0.1)

    with psycopg.connect(conninfo) as probe:
        found = probe.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'signalbox-limits' AND datname = current_database()"
        ).fetchone()
    assert found == (0,)
