"""The attempts of one dispatch that run, and what stops them from outside."""

from collections.abc import Callable

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.errors import ClientGoneError, KilledError, ShutDownError, SupersededError
from dispatch_app.execution.order import Ports
from dispatch_app.execution.progress import Progress
from policies_app.routing.types import Candidate, RoutePlan


class Running:
    """Knows which attempts run; `progress` hears how many there were, and for how long there was one.

    What is stopped ends by an error, which whoever waits for it is to conclude it by.
    """

    def __init__(self, *, plan: RoutePlan, ports: Ports, progress: Progress) -> None:
        self._attempts: list[RunningAttempt] = []
        self._drain_ms = plan.drain_ms
        self._drains = ports.drains
        self._is_draining = False
        self._clock = ports.clock
        self._busy_since = 0.0
        self._progress = progress

    def add(self, attempt: RunningAttempt) -> None:
        """An attempt starts, now."""
        attempt.started_at = self._clock.monotonic()
        if not self._attempts:
            self._busy_since = attempt.started_at
        self._attempts.append(attempt)
        self._progress.attempts += 1

    def remove(self, attempt: RunningAttempt) -> None:
        """An attempt is over."""
        self._attempts.remove(attempt)
        if not self._attempts:
            self._progress.upstream_s += self._clock.monotonic() - self._busy_since

    def supersede(self, winner: RunningAttempt | None = None) -> None:
        """Stop every attempt but `winner`."""
        for attempt in self._attempts:
            if attempt is not winner:
                attempt.cut.now(SupersededError(wire_status=200))

    def cut_killed(self, is_killed: Callable[[Candidate], bool]) -> None:
        """Stop the attempts whose target is killed."""
        for attempt in self._attempts:
            if is_killed(attempt.candidate):
                attempt.cut.now(KilledError(wire_status=None if attempt.first_byte_at is None else 200))

    def shut_down(self) -> None:
        """Stop every attempt, as the process has to end."""
        for attempt in self._attempts:
            attempt.cut.now(ShutDownError(wire_status=200))

    def hang_up(self) -> None:
        """Nobody waits for an answer any more: stop what is streamed, or read it on for as long as the plan says.

        A call that comes whole cannot be un-run, and is heard out.
        """
        streamed = [attempt for attempt in self._attempts if not attempt.comes_whole]
        drain_s = self._start_drain() if streamed else 0.0
        for attempt in streamed:
            attempt.cut.within(ClientGoneError(wire_status=200), in_s=drain_s)

    def end_drain(self) -> None:
        """The dispatch is over: if it was drained, another one may be."""
        if self._is_draining:
            self._is_draining = False
            self._drains.end()

    def _start_drain(self) -> float:
        """Seconds for which what runs is read on, zero if it is not."""
        if self._drain_ms is None:
            return 0.0
        self._is_draining = self._is_draining or self._drains.start()
        return self._drain_ms / 1000 if self._is_draining else 0.0
