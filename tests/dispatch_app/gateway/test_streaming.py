import asyncio

import pytest

from dispatch_app.execution.dispatcher import StreamTail
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.streaming import MOST_QUEUED_PARTS, StreamQueue
from tests.dispatch_app.execution.scripted_upstream import delta


async def test_parts_come_out_in_order_and_the_tail_last() -> None:
    queue = StreamQueue()
    parts = [delta(str(number)) for number in range(5)]
    tail = StreamTail(parts=[], usage=None)

    for part in parts:
        assert queue.offer(part)
    queue.end(tail)

    assert [await queue.get() for _ in range(6)] == [*parts, tail]


async def test_a_reader_that_is_behind_holds_the_writer_back() -> None:
    queue = StreamQueue()
    while queue.offer(delta("x")):
        pass
    waiting = asyncio.create_task(queue.put(delta("last")))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    await queue.get()
    await asyncio.wait_for(waiting, 1)

    assert not queue.offer(delta("x"))
    assert sum([1 for _ in range(MOST_QUEUED_PARTS) if await queue.get()]) == MOST_QUEUED_PARTS


async def test_the_last_item_always_finds_room() -> None:
    queue = StreamQueue()
    while queue.offer(delta("x")):
        pass

    queue.end(StreamTail(parts=[], usage=None))

    for _ in range(MOST_QUEUED_PARTS):
        await queue.get()
    assert isinstance(await queue.get(), StreamTail)


@pytest.mark.parametrize("is_early", [True, False])
async def test_who_writes_learns_that_nobody_reads(is_early: bool) -> None:
    queue = StreamQueue()
    told: list[bool] = []
    if is_early:
        queue.abandon()

    queue.on_abandoned(lambda: told.append(True))
    queue.abandon()
    queue.abandon()

    assert queue.is_abandoned
    assert told == [True]


async def test_a_writer_that_is_held_back_goes_on_when_the_reader_leaves() -> None:
    queue = StreamQueue()
    while queue.offer(delta("x")):
        pass
    waiting = asyncio.create_task(queue.put(delta("last")))
    await asyncio.sleep(0)

    queue.abandon()

    await asyncio.wait_for(waiting, 5)


async def test_a_client_that_comes_back_after_it_was_given_up_is_not_handed_the_end() -> None:
    queue = StreamQueue()
    assert queue.offer(delta("seen"))
    await queue.get()
    queue.abandon()

    assert queue.offer(delta("missed"))
    queue.end(StreamTail(parts=[], usage=None))

    last = await queue.get()
    assert isinstance(last, DispatchError)
    assert last.code is ErrorCode.CLIENT_DISCONNECTED


async def test_a_client_that_leaves_once_all_was_said_is_waited_for_no_longer() -> None:
    queue = StreamQueue()
    assert queue.offer(delta("unseen"))
    queue.end(StreamTail(parts=[], usage=None))

    queue.abandon()

    last = await asyncio.wait_for(queue.get(), 1)
    assert isinstance(last, DispatchError)
    assert last.code is ErrorCode.CLIENT_DISCONNECTED


async def test_what_nobody_reads_is_not_kept_but_for_a_repeat() -> None:
    queue, repeated = StreamQueue(), StreamQueue(remembers=True)
    for each in (queue, repeated):
        each.offer(delta("before"))
        each.abandon()
        for _ in range(10 * MOST_QUEUED_PARTS):
            assert each.offer(delta("after"))

    assert (queue._queue.qsize(), repeated._queue.qsize()) == (0, 0)
    assert (len(queue.remembered), len(repeated.remembered)) == (0, 1 + 10 * MOST_QUEUED_PARTS)
