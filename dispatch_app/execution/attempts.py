"""The attempts of one dispatch, as strategies see them.

Strategies decide whom to ask and what becomes of an answer; everything that costs money passes through here.
"""

from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.calls import Calls
from dispatch_app.execution.canonical import Request
from dispatch_app.execution.conclusion import Conclusion
from dispatch_app.execution.credentials import subject_of
from dispatch_app.execution.envelope import Envelope
from dispatch_app.execution.errors import (
    ClientGoneError,
    DeadlineExceededError,
    DispatchError,
    ErrorCode,
    ShutDownError,
    UpstreamError,
)
from dispatch_app.execution.forwarding import Delivered
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import Finding, Sink, Target
from dispatch_app.execution.postings import Postings
from dispatch_app.execution.progress import Progress
from dispatch_app.execution.reservations import RefusedError, Reservations
from dispatch_app.execution.running import Running
from dispatch_app.execution.targets import Targets
from policies_app.routing.codes import AttemptRole
from policies_app.routing.types import Facts


class Attempts:
    """Has attempts begun, inside the envelope of one dispatch, and each concluded once.

    Between the two stands `calls`, which asks the vendor. Whom to ask, `targets` knows; `running` stops what runs. What is over
    is posted by the next `begin`, by `postings`, or together with the end of the dispatch. `error` is what the client is told
    if there is no answer.
    """

    def __init__(self, *, order: Order, ports: Ports) -> None:
        self.order = order
        self.ports = ports
        self.progress = Progress()
        self.delivered = Delivered()
        self.envelope = Envelope(plan=order.plan, deadline_at=order.deadline_at, clock=ports.clock)
        self.targets = Targets(
            order.plan.candidates,
            health=ports.health,
            credentials_of=ports.credentials_of,
            subject=subject_of(order),
            envelope=self.envelope,
        )
        self.calls = Calls(upstream=ports.upstream, clock=ports.clock, delivered=self.delivered)
        self.running = Running(plan=order.plan, ports=ports, progress=self.progress)
        self.postings = Postings(order=order, ports=ports, progress=self.progress)
        self.error: DispatchError | None = None
        self.is_abandoned = False
        """Whether the client hung up."""
        self._is_closed = False
        self._reservations = Reservations(
            order=order, ports=ports, envelope=self.envelope, targets=self.targets, postings=self.postings
        )

    def watch(self, sink: Sink) -> None:
        """Forward to `sink` what is delivered directly, for as long as its client is there."""
        self.calls.sink = sink
        sink.on_abandoned(self.hang_up)

    @property
    def may_go_on(self) -> bool:
        """Whether anything more can be asked of anybody; if not, `error` says why."""
        if self.is_abandoned:
            self.error = ClientGoneError().as_dispatch_error()
            return False
        if self.envelope.remaining_s <= 0:
            self.error = DeadlineExceededError().as_dispatch_error()
        return not self.envelope.is_spent and not self._is_closed

    async def begin(
        self,
        target: Target,
        *,
        role: AttemptRole,
        request: Request | None = None,
        facts: Facts | None = None,
        is_aside: bool = False,
    ) -> RunningAttempt | None:
        """Have an attempt admitted; None if the envelope, a rate limit or the ledger refuses it, with `error` set.

        One that is admitted too late is not made, and costs nothing. `is_aside` marks judges and samples, which say nothing
        of the dispatch itself.

        :raises DispatchError: if the ledger is not to be had, or another dispatch has the idempotency key.
        """
        if self._is_over():
            self.targets.release(target)
            return None
        try:
            attempt = await self._reservations.make(
                target,
                role=role,
                request=request or self.order.request,
                facts=facts or self.order.facts,
                may_shrink=not is_aside,
            )
        except RefusedError as refusal:
            if not is_aside:
                self._note(refusal, target)
            return None
        self.running.add(attempt)
        if not is_aside:
            self.progress.candidate = attempt.candidate
        if self._is_over() or self.envelope.remaining_s <= 0:
            self.void(attempt)
            return None
        return attempt

    def fail(self, attempt: RunningAttempt, error: UpstreamError, *, is_aside: bool = False) -> None:
        """An attempt is over without an answer."""
        if not is_aside:
            self.error = error.as_dispatch_error()
            if error.rotates:
                self.targets.rotate(attempt.target)
        self._conclude(Conclusion.of_fault(attempt, error, ended_at=self.ports.clock.monotonic()))

    def post(self, answer: Answer, *, validation: tuple[Finding, ...] = ()) -> None:
        """An attempt is over with an answer, whatever becomes of that."""
        self.ports.retries.earn()
        self._conclude(Conclusion.of_answer(answer, validation=validation))

    def void(self, attempt: RunningAttempt) -> None:
        """An attempt that was begun is not made after all."""
        self._conclude(Conclusion.of_nothing(attempt, ended_at=self.ports.clock.monotonic()))

    def hang_up(self) -> None:
        """The client is gone: nothing more is asked, and what runs is stopped or read on."""
        self.is_abandoned = True
        self.running.hang_up()

    def shut_down(self) -> None:
        """The process ends: what runs is stopped and charged for what has come of it, and nothing is begun any more."""
        self._is_closed = True
        self.error = ShutDownError().as_dispatch_error()
        self.running.shut_down()

    def close(self) -> None:
        """The dispatch is decided: whatever still runs is stopped, and nothing is begun any more."""
        self._is_closed = True
        self.running.supersede()

    def _is_over(self) -> bool:
        return self._is_closed or self.is_abandoned

    def _note(self, refusal: RefusedError, target: Target) -> None:
        """Keep in mind why an attempt was not admitted. A smaller one may still fit the budget."""
        if refusal.told is None:
            return
        self.error = refusal.told
        if refusal.told.code is ErrorCode.INSUFFICIENT_QUOTA:
            self.targets.forbid_bounds_from(target.candidate.bound_nanos)

    def _conclude(self, conclusion: Conclusion) -> None:
        attempt = conclusion.attempt
        self.running.remove(attempt)
        self.envelope.settle(attempt.candidate.bound_nanos, cost_nanos=conclusion.charge.cost_nanos)
        attempt.end_leave(tokens=conclusion.charge.usage.tokens)
        self.ports.health.report(attempt.target, conclusion.report)
        self.postings.add(conclusion)
