"""What the attempts of one dispatch came to, on its way into the ledger.

An attempt that is over is not posted at once: it may turn out to be the one that ends the dispatch, and then both go into
one row of the ledger's batch.
"""

import asyncio

from dispatch_app.execution.attempt import Answer, PastAttempt, RunningAttempt
from dispatch_app.execution.conclusion import Conclusion, milliseconds, milliseconds_since
from dispatch_app.execution.errors import DispatchError
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import DispatchOutcome
from dispatch_app.execution.progress import Progress
from policies_app.routing.codes import DispatchStatus
from policies_app.routing.money import cost_nanos
from policies_app.routing.types import Usage


class Postings:
    """Collects conclusions and posts them; counts what they cost into `progress`."""

    def __init__(self, *, order: Order, ports: Ports, progress: Progress) -> None:
        self._order = order
        self._ports = ports
        self._progress = progress
        self._waiting: list[Conclusion] = []
        self._conclusions: dict[RunningAttempt, Conclusion] = {}

    def add(self, conclusion: Conclusion) -> None:
        """Count a conclusion, and have it posted by the next `flush` or by `end`."""
        charge = conclusion.charge
        self._conclusions[conclusion.attempt] = conclusion
        self._progress.cost_nanos += charge.cost_nanos
        self._progress.is_estimated = self._progress.is_estimated or charge.estimated
        self._waiting.append(conclusion)

    async def flush(self) -> None:
        """Post what is waiting."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            await self._post(waiting, ending=None, outcome=None)

    async def end(
        self, status: DispatchStatus, *, answer: Answer | None, error: DispatchError | None
    ) -> None:
        """Post what is waiting and with it how the dispatch ended: on the attempt that answered, if it is among it."""
        if answer is not None:
            self._credit(answer)
        waiting, self._waiting = self._waiting, []
        ending = next((item for item in waiting if answer and item.attempt is answer.attempt), None)
        if answer is None and waiting:
            ending = waiting[-1]
        outcome = self._outcome(status, answer=answer, error=error)
        await self._post(waiting, ending=ending, outcome=outcome)
        if ending is None:
            is_settled = await self._ports.ledger.finish(dispatch=self._order.record, outcome=outcome)
            self._progress.is_settled = self._progress.is_settled and is_settled

    def _credit(self, answer: Answer) -> None:
        """Name the one who answered, and what the vendor reported for it."""
        charge = self._conclusions[answer.attempt].charge
        self._progress.candidate = answer.attempt.candidate
        self._progress.usage = None if charge.estimated else charge.usage

    async def _post(
        self, waiting: list[Conclusion], *, ending: Conclusion | None, outcome: DispatchOutcome | None
    ) -> None:
        settlements = [
            item.settlement(settled_at=self._ports.clock.now(), outcome=outcome if item is ending else None)
            for item in waiting
        ]
        self._progress.past += [
            PastAttempt(record=item.attempt.record, candidate=item.attempt.candidate, settlement=settlement)
            for item, settlement in zip(waiting, settlements, strict=True)
        ]
        posting = [self._ports.ledger.settle(settlement=settlement) for settlement in settlements]
        # Several go together, so that they share a commit; one does not need a task of its own.
        are_settled = await asyncio.gather(*posting) if len(posting) > 1 else [await only for only in posting]
        self._progress.is_settled = self._progress.is_settled and all(are_settled)

    def _outcome(
        self, status: DispatchStatus, *, answer: Answer | None, error: DispatchError | None
    ) -> DispatchOutcome:
        received_at, progress = self._order.received_at, self._progress
        total_s = self._ports.clock.monotonic() - received_at
        candidate = progress.candidate
        return DispatchOutcome(
            status=status,
            error_code="" if error is None else error.code.value,
            answered_by=None if answer is None else answer.attempt.record.position,
            validated=progress.validated,
            model_id=None if candidate is None else candidate.model.id,
            provider_id=None if candidate is None else candidate.model.provider_id,
            baseline_cost_nanos=self._baseline_cost_nanos(answer),
            wasted_nanos=self._wasted_nanos(answer),
            total_ms=milliseconds(total_s),
            first_byte_ms=None
            if answer is None
            else milliseconds_since(received_at, answer.attempt.first_byte_at),
            overhead_us=round(max(0.0, total_s - progress.upstream_s) * 1_000_000),
            finished_at=self._ports.clock.now(),
        )

    def _baseline_cost_nanos(self, answer: Answer | None) -> int | None:
        """What the tokens of the answer, or else of the last attempt, would have cost at the policy's baseline model."""
        if self._order.baseline is None:
            return None
        last = next(reversed(self._conclusions.values()), None)
        item = last if answer is None else self._conclusions[answer.attempt]
        return cost_nanos(usage=Usage() if item is None else item.charge.usage, price=self._order.baseline)

    def _wasted_nanos(self, answer: Answer | None) -> int:
        given = None if answer is None else answer.attempt
        return sum(
            item.charge.cost_nanos
            for attempt, item in self._conclusions.items()
            if attempt is not given and item.is_waste
        )
