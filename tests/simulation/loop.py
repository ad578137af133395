"""An event loop without time and without order: it knows only what a seed tells it.

Nothing sleeps: when nobody can go on, the clock jumps to the next timer. Of those who can go on, chance picks one, which
asks more of the code than a real loop does. A handle belongs to the process whose context it was scheduled in, so that a
process can be killed (none of its code runs any more, not even a `finally`) or frozen, as SIGKILL and SIGSTOP do.

Clock and timers count in whole milliseconds, as uvloop's do: what waits for a moment may wake before it.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

GRAIN_S = 1e-9
MOST_WORK_S = 20e-6
"""What one step may take of the processor's time."""


class DeadlockError(Exception):
    """Nobody can go on and no timer is set: somebody waits for what will never come."""


class Host:
    """Something whose tasks live and die together. `resumes_at` lies in the future while it is frozen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.resumes_at = 0.0
        self.context: Context = copy_context()
        self.context.run(_HOST.set, self)


_HOST: ContextVar[Host | None] = ContextVar("host", default=None)


class SimulatedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks have the same order in every run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Virtual time from zero, and an order that `chance` gives.

    `steps` counts what was run; `now` is the time to the nanosecond, which processes do not get to know.
    """

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []
        self._chance = chance
        self.now = 0.0
        self._clock_resolution = GRAIN_S
        self._tasks = 0
        self._lost: list[asyncio.Handle] = []
        self.steps = 0
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return int((self.now + GRAIN_S) * 1000) / 1000

    def call_at(  # type: ignore[override] # as uvloop's, it has no timer for what is due at once
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.Handle:
        now = self.time()
        whole_ms = round((when - now) * 1000)
        if whole_ms <= 0:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(now + whole_ms / 1000, callback, *args, context=context)

    def call_outside(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back when that much time has passed, to the nanosecond: what comes over a network knows no timers."""
        return super().call_at(self.now + delay, callback, *args, context=context)

    def start(self, host: Host, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have `host` run `coroutine`."""
        return self.create_task(coroutine, context=host.context)

    def raise_the_dead(self) -> None:
        """Let run what its host's death kept from running, so that it can be ended and nothing is left behind."""
        self._ready += self._lost
        self._lost = []

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: object) -> Any:
        raise RuntimeError("There are no threads in a simulation.")

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        self._tasks += 1
        return SimulatedTask(coroutine, number=self._tasks, loop=loop, context=context)

    def _run_once(self) -> None:
        """Run one step, or go on to the time of the next one."""
        self._wake_due()
        if not self._ready:
            self.now = max(self.now, self._next_timer_at())
            return
        handle = self._draw()
        if handle._cancelled:
            return
        host = handle._context.get(_HOST)
        if host is not None:
            if host.is_dead:
                self._lost.append(handle)
                return
            if host.resumes_at > self.now:
                self._set_aside(handle, host.resumes_at)
                return
        self.steps += 1
        self.now += self._chance.random() * MOST_WORK_S
        handle._run()

    def _draw(self) -> asyncio.Handle:
        ready = self._ready
        position = int(self._chance.random() * len(ready))
        ready[position], ready[-1] = ready[-1], ready[position]
        return ready.pop()

    def _wake_due(self) -> None:
        scheduled, until = self._scheduled, self.now + GRAIN_S
        while scheduled and scheduled[0]._when <= until:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            self._ready.append(handle)

    def _next_timer_at(self) -> float:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            raise DeadlockError("Nobody can go on, and no timer is set.")
        return float(scheduled[0]._when)

    def _set_aside(self, handle: asyncio.Handle, until: float) -> None:
        """Let a handle of a frozen host wait: a new timer puts it back among those that can go on."""
        timer = asyncio.TimerHandle(until, self._ready.append, (handle,), self, Context())
        timer._scheduled = True
        heapq.heappush(self._scheduled, timer)

    def _process_events(self, event_list: list[object]) -> None:
        """There are none: nothing comes from outside."""

    def _write_to_self(self) -> None:
        """There is nobody to wake: everything runs in one thread."""


async def elapse(seconds: float) -> None:
    """Wait for something that takes so long outside; see `SimulatedLoop.call_outside`."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        raise TypeError("Only in a simulation time passes without waiting.")
    elapsed = loop.create_future()
    timer = loop.call_outside(seconds, _end, elapsed)
    try:
        await elapsed
    finally:
        timer.cancel()


def _end(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
