import asyncio

import pytest

from dispatch_app.gateway.owners import Owners


async def test_work_goes_on_when_nobody_waits_for_it() -> None:
    owners = Owners()
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.set()

    async def request() -> None:
        await asyncio.shield(owners.start(work()))

    impatient = asyncio.create_task(request())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient

    await owners.drain(timeout_s=1)

    assert done.is_set()
    assert len(owners) == 0


async def test_what_does_not_end_in_time_is_cut() -> None:
    owners = Owners()
    task = owners.start(asyncio.sleep(60))

    await owners.drain(timeout_s=0.01)

    assert task.cancelled()


async def test_there_may_be_nothing_to_drain() -> None:
    await Owners().drain(timeout_s=0)
