"""Parallel, pick best: several models at once, and the best valid answer of them."""

import asyncio
from dataclasses import dataclass
from math import inf

from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.calls import kept
from dispatch_app.execution.confidence import confidence
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.onward import Onward
from dispatch_app.execution.picking import PICK, PICK_IN_WORDS, Awaited, Entrant, pick
from dispatch_app.execution.ports import Finding, Target
from dispatch_app.execution.said import essence_of, text_of
from dispatch_app.execution.strategies.accepted import Accepted
from dispatch_app.execution.strategies.cascade import none_passed
from dispatch_app.execution.strategies.failover import first_answer
from dispatch_app.execution.tasks import all_ended
from dispatch_app.execution.validation import Validation
from policies_app.routing.codes import AttemptRole, LogprobMeasure, Pick
from policies_app.routing.compilation import MOST_RACERS

SETTLING_S = 0.05
"""What is left of the deadline for picking and settling when the answers in hand must do."""
MOST_JUDGING_SHARE = 0.3
"""How much of the time that is left is kept free for the judge."""


async def parallel(attempts: Attempts) -> Accepted | None:
    """Ask the first candidates at once; give the best of their valid answers, as soon as it is certain.

    If none of them answers, the other candidates are asked in order.
    """
    contest = _Contest(attempts)
    answer = await contest.run()
    if answer is not None:
        return Accepted(answer=answer, validated=True if answer.attempt.candidate.validators else None)
    if contest.rejected is not None:
        return none_passed(attempts, contest.rejected)
    return await first_answer(attempts, Onward(attempts, role=AttemptRole.FALLBACK))


@dataclass(slots=True, kw_only=True, eq=False)
class _Racer:
    """One model of the contest, until it has answered, failed or been stopped."""

    place: int
    attempt: RunningAttempt
    is_running: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ValidAnswer:
    """An answer that has passed its validators."""

    answer: Answer
    entrant: Entrant
    findings: tuple[Finding, ...]


class _Contest:
    """One dispatch's contest. `rejected` is the last answer that came and was not valid."""

    def __init__(self, attempts: Attempts) -> None:
        self.rejected: Answer | None = None
        self._attempts = attempts
        self._plan = attempts.order.plan
        self._validation = Validation(attempts)
        self._racers: list[_Racer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._valid: list[_ValidAnswer] = []
        self._verdict = ""
        self._patient_until: float | None = None

    async def run(self) -> Answer | None:
        """The best valid answer, posted like all others; None if there was none."""
        self._racers = await self._enter_all()
        async with all_ended(self._tasks):
            self._tasks |= {asyncio.create_task(self._race(racer)) for racer in self._racers}
            winner = await self._early_winner() or await self._late_winner()
            if winner is not None:
                self._attempts.close()
        return None if winner is None else self._post(winner)

    async def _enter_all(self) -> list[_Racer]:
        """Have all racers admitted before the first byte of any leaves.

        :raises DispatchError: if the ledger is not to be had; nothing was sent then.
        """
        attempts = self._attempts
        if not attempts.may_go_on:
            return []
        begun = await asyncio.gather(
            *(self._enter(target) for target in self._take_racers()), return_exceptions=True
        )
        admitted = [attempt for attempt in begun if isinstance(attempt, RunningAttempt)]
        failures = [failure for failure in begun if isinstance(failure, BaseException)]
        if failures:
            for attempt in admitted:
                attempts.void(attempt)
            raise failures[0]
        return [_Racer(place=place, attempt=attempt) for place, attempt in enumerate(admitted)]

    def _take_racers(self) -> list[Target]:
        """So many that the judge can still be asked afterwards."""
        kept_free = 1 if self._plan.pick is Pick.JUDGE else 0
        width = max(1, min(MOST_RACERS, self._attempts.envelope.attempts_left - kept_free))
        taken = (self._attempts.targets.take() for _ in range(width))
        return [target for target in taken if target is not None]

    async def _enter(self, target: Target) -> RunningAttempt | None:
        request = self._validation.request_for(target.candidate)
        return await self._attempts.begin(target, role=AttemptRole.PARALLEL, request=request)

    async def _race(self, racer: _Racer) -> None:
        attempts, attempt = self._attempts, racer.attempt
        try:
            answer = await attempts.calls.make(attempt, delivery=kept(attempt.candidate))
            await self._validate(racer, answer)
        except UpstreamError as error:
            attempts.fail(attempt, error)
            # What it reserved is free for others while the contest goes on.
            await attempts.postings.flush()
        finally:
            racer.is_running = False

    async def _validate(self, racer: _Racer, answer: Answer) -> None:
        entrant = _entrant(racer, answer, arrival=len(self._valid))
        findings = await self._validation.check(answer)
        if all(finding.passed for finding in findings):
            self._valid.append(_ValidAnswer(answer=answer, entrant=entrant, findings=findings))
        else:
            self.rejected = answer
            self._attempts.post(answer, validation=findings)

    async def _early_winner(self) -> Entrant | None:
        """The winner as soon as it is certain; None if all are in, or time is up, and it still is not."""
        running = self._tasks
        while running:
            done, running = await asyncio.wait(
                running, timeout=self._patience_s(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            winner = pick(self._plan.pick, self._entrants, awaited=self._awaited)
            if winner is not None or not done:
                return winner
        return None

    async def _late_winner(self) -> Entrant | None:
        """The winner among the answers that are there, now that no other is waited for."""
        if self._running:
            self._attempts.running.supersede()
            await asyncio.wait(self._tasks)
        if self._plan.pick is not Pick.JUDGE or len(self._valid) < 2:
            return pick(self._plan.pick, self._entrants, awaited=())
        in_order = sorted(self._valid, key=lambda valid: valid.entrant.place)
        place, self._verdict = await self._validation.choose([valid.answer for valid in in_order])
        return in_order[place or 0].entrant

    def _patience_s(self) -> float | None:
        """How long to wait for more answers; None as long as there is none."""
        if not self._valid:
            return None
        remaining_s = self._attempts.envelope.remaining_s - SETTLING_S
        if self._plan.pick is Pick.JUDGE:
            remaining_s *= 1 - MOST_JUDGING_SHARE
        now = self._attempts.ports.clock.monotonic()
        if self._patient_until is None:
            patience_s = inf if self._plan.patience_ms is None else self._plan.patience_ms / 1000
            self._patient_until = now + min(patience_s, remaining_s)
        return max(0.0, self._patient_until - now)

    @property
    def _running(self) -> list[_Racer]:
        return [racer for racer in self._racers if racer.is_running]

    @property
    def _awaited(self) -> list[Awaited]:
        return [Awaited(place=racer.place, weight=racer.attempt.candidate.weight) for racer in self._running]

    @property
    def _entrants(self) -> list[Entrant]:
        return [valid.entrant for valid in self._valid]

    def _post(self, winner: Entrant) -> Answer:
        """Post all valid answers, each with what became of it, and return the winner's."""
        given: Answer | None = None
        for valid in self._valid:
            is_winner = valid.entrant is winner
            given = valid.answer if is_winner else given
            self._attempts.post(valid.answer, validation=(*valid.findings, self._finding(valid, winner)))
        if given is None:
            raise TypeError("The winner is not among the answers.")
        return given

    def _finding(self, valid: _ValidAnswer, winner: Entrant) -> Finding:
        """Why an answer was picked, or was not."""
        return Finding(
            validator=PICK,
            passed=valid.entrant is winner,
            expected=PICK_IN_WORDS[self._plan.pick],
            actual=self._merit(valid.entrant),
            score=valid.entrant.confidence if self._plan.pick is Pick.HIGHEST_CONFIDENCE else None,
        )

    def _merit(self, entrant: Entrant) -> str:
        """What the pick went by, in words."""
        match self._plan.pick:
            case Pick.FIRST_VALID:
                return f"it was number {entrant.arrival + 1} to come"
            case Pick.HIGHEST_CONFIDENCE:
                return f"its confidence is {entrant.confidence or 0:.2f}"
            case Pick.WEIGHTED:
                return f"its weight is {entrant.weight}"
            case Pick.LONGEST_AGREEING:
                agreeing = sum(other.essence == entrant.essence for other in self._entrants)
                return f"{agreeing} of {len(self._valid)} answers say the same"
            case Pick.JUDGE:
                return self._verdict


def _entrant(racer: _Racer, answer: Answer, *, arrival: int) -> Entrant:
    reply = answer.reply
    if reply is None:
        raise TypeError("An answer that was forwarded cannot be compared.")
    return Entrant(
        place=racer.place,
        arrival=arrival,
        weight=racer.attempt.candidate.weight,
        confidence=confidence(reply, LogprobMeasure.MEAN),
        essence=essence_of(reply),
        length=sum(len(text_of(choice)) for choice in reply.choices),
    )
