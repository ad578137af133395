"""Virtual time, seeded order, death and frost."""

import asyncio
from random import Random

import pytest

from tests.simulation.loop import DeadlockError, Host, SimulatedLoop, elapse


@pytest.fixture
def loop():
    loop = SimulatedLoop(Random(1))
    yield loop
    loop.close()


def order_of(seed: int) -> list[int]:
    loop, seen = SimulatedLoop(Random(seed)), []

    async def run(number: int) -> None:
        await asyncio.sleep(0)
        seen.append(number)

    async def run_all() -> None:
        await asyncio.gather(*(run(number) for number in range(10)))

    loop.run_until_complete(run_all())
    loop.close()
    return seen


def test_time_passes_without_waiting(loop: SimulatedLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3_600))

    assert loop.time() == pytest.approx(3_600, abs=0.01)


@pytest.mark.parametrize(
    ("begins_at", "waits_s", "wakes_at"),
    [
        pytest.param(0.0104, 0.0214, 0.031, id="up to a millisecond early"),
        pytest.param(0.0104, 0.0206, 0.031, id="or a little late"),
        pytest.param(0.0104, 0.0004, 0.0104, id="at once, if it is hardly any time"),
    ],
)
def test_timers_and_the_clock_count_in_whole_milliseconds(
    loop: SimulatedLoop, begins_at: float, waits_s: float, wakes_at: float
) -> None:
    async def wait() -> None:
        await elapse(begins_at)
        assert loop.time() == 0.010
        await asyncio.sleep(waits_s)

    loop.run_until_complete(wait())

    assert loop.now == pytest.approx(wakes_at, abs=0.0002)


def test_a_seed_gives_an_order_and_another_seed_another() -> None:
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(10)}) > 5


def test_waiting_for_what_never_comes_is_found(loop: SimulatedLoop) -> None:
    async def wait() -> None:
        await loop.create_future()

    with pytest.raises(DeadlockError):
        loop.run_until_complete(wait())

    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.1))


def test_the_dead_run_no_code_at_all_and_the_frozen_run_it_later(loop: SimulatedLoop) -> None:
    dead, frozen = Host("dead"), Host("frozen")
    said: list[tuple[str, float]] = []

    async def speak(name: str) -> None:
        try:
            await asyncio.sleep(1)
            said.append((name, round(loop.time(), 2)))
        finally:
            said.append((f"{name} ends", round(loop.time(), 2)))

    async def run() -> None:
        loop.start(dead, speak("dead"))
        loop.start(frozen, speak("frozen"))
        await asyncio.sleep(0.5)
        dead.is_dead, frozen.resumes_at = True, 4.0
        await asyncio.sleep(10)

    loop.run_until_complete(run())
    assert said == [("frozen", 4.0), ("frozen ends", 4.0)]

    dead.is_dead = False
    loop.raise_the_dead()
    loop.run_until_complete(asyncio.sleep(1))
    assert said[2:] == [("dead", 10.5), ("dead ends", 10.5)]
