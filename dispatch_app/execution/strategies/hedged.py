"""Hedged: a second target is asked when the first one is silent for longer than it hardly ever is."""

import asyncio
from contextlib import suppress

from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.calls import Delivery, kept
from dispatch_app.execution.errors import DispatchError, UpstreamError
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.ports import Target
from dispatch_app.execution.strategies.accepted import Accepted
from dispatch_app.execution.strategies.failover import failover, first_answer
from dispatch_app.execution.tasks import all_ended
from policies_app.routing.codes import AttemptRole
from policies_app.routing.types import Candidate


async def hedged(attempts: Attempts) -> Accepted | None:
    """Race the first two candidates, the second with a head start for the first; whoever's first byte comes first answers.

    Without a delay to go by there is no race. If both fail, the others are asked in order.
    """
    delay_ms = attempts.order.plan.hedge_delay_ms
    if delay_ms is None:
        return await failover(attempts)
    attempts.ports.hedges.count()
    race = _Race(attempts, delay_s=delay_ms / 1000)
    answer = await race.run()
    return await first_answer(attempts, race.onward) if answer is None else Accepted(answer=answer)


class _Race:
    """One dispatch's race. The first to claim wins, and the others are stopped."""

    def __init__(self, attempts: Attempts, *, delay_s: float) -> None:
        self.onward = Onward(attempts, role=AttemptRole.PRIMARY)
        self._attempts = attempts
        self._delay_s = delay_s
        self._winner: RunningAttempt | None = None
        self._claimed = asyncio.Event()
        self._running: set[asyncio.Task[Answer | None]] = set()

    async def run(self) -> Answer | None:
        """The winner's answer, posted; None if nobody gave one."""
        async with all_ended(self._running):
            if not await self._start(self.onward):
                return None
            if await self._is_silent() and self._attempts.ports.hedges.spend():
                await self._start_second()
            while self._running:
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                self._running -= done
                answers = [answer for task in done if (answer := task.result()) is not None]
                if answers:
                    return answers[0]
        return None

    async def _start(self, onward: Onward) -> bool:
        """Begin the first candidate that is admitted; False if none is."""
        while (turn := await onward.next()) is not None:
            if await self._enter(turn.target, role=turn.role):
                return True
        return False

    async def _start_second(self) -> None:
        """Begin one more candidate, while the first is silent. Without a ledger there is none, and the first one runs on."""
        attempts = self._attempts
        (first,) = self._running
        with suppress(DispatchError):
            while attempts.may_go_on and not (first.done() or self._claimed.is_set()):
                target = attempts.targets.take()
                if target is None or await self._enter(target, role=AttemptRole.HEDGE):
                    return

    async def _enter(self, target: Target, *, role: AttemptRole) -> bool:
        attempt = await self._attempts.begin(target, role=role)
        if attempt is None:
            return False
        self._running.add(asyncio.create_task(self._perform(attempt)))
        return True

    async def _is_silent(self) -> bool:
        """Wait the delay; whether the first attempt has given no sign of life by then, nor failed."""
        claimed = asyncio.create_task(self._claimed.wait())
        try:
            done, _ = await asyncio.wait(
                {claimed, *self._running}, timeout=self._delay_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            claimed.cancel()
        return not done

    async def _perform(self, attempt: RunningAttempt) -> Answer | None:
        try:
            answer = await self._attempts.calls.make(
                attempt, delivery=self._delivery(attempt.candidate), claim=self._claim
            )
            if not self._claim(attempt):
                # It answered in one piece, too late: it is paid for all the same.
                self._attempts.post(answer)
                return None
        except UpstreamError as error:
            is_beaten = self._winner is not None and self._winner is not attempt
            self._attempts.fail(attempt, error, is_aside=is_beaten)
            if not is_beaten:
                self.onward.failed(attempt.target, error)
            return None
        self._attempts.post(answer)
        return answer

    def _delivery(self, candidate: Candidate) -> Delivery:
        as_asked = self._attempts.calls.as_asked
        return kept(candidate) if as_asked is Delivery.WHOLE else as_asked

    def _claim(self, attempt: RunningAttempt) -> bool:
        if self._winner is None:
            self._winner = attempt
            self._attempts.progress.candidate = attempt.candidate
            self._claimed.set()
            self._attempts.running.supersede(attempt)
        return self._winner is attempt
