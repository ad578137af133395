"""Carries out a plan by its strategy, inside one envelope of time, money and upstream calls.

Plain and streamed dispatches take the same way; they differ only in how an answer is delivered.
"""

from dataclasses import dataclass

from dispatch_app.execution.attempt import Answer
from dispatch_app.execution.attempts import Attempts
from dispatch_app.execution.canonical import Reply, StreamPart
from dispatch_app.execution.errors import ClientGoneError, DispatchError, ErrorCode
from dispatch_app.execution.order import Order, Ports
from dispatch_app.execution.ports import Sink
from dispatch_app.execution.progress import Progress
from dispatch_app.execution.strategies import STRATEGIES
from dispatch_app.execution.strategies.accepted import Accepted
from policies_app.routing.codes import DispatchStatus, RefusalCode
from policies_app.routing.types import KilledTargets, Usage

__all__ = ["Dispatch", "Order", "Ports", "Progress", "StreamTail"]

_UNWRITTEN = frozenset({ErrorCode.LEDGER_UNAVAILABLE, ErrorCode.IDEMPOTENCY_KEY_IN_FLIGHT})
"""Without a ledger there is nothing that could be written down, and a repeat is not a dispatch of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTail:
    """What is left of a stream when it is complete: the parts that were held back until it was settled."""

    parts: list[StreamPart]
    usage: Usage | None


class Dispatch:
    """One dispatch. Call `complete` or `stream`, once; `progress` is true at any time."""

    def __init__(self, *, order: Order, ports: Ports) -> None:
        self.order = order
        self._attempts = Attempts(order=order, ports=ports)

    @property
    def progress(self) -> Progress:
        """How far the dispatch has come."""
        return self._attempts.progress

    async def complete(self) -> Reply:
        """Return the answer that the strategy accepts.

        :raises DispatchError: if there is none, or nothing was admitted.
        """
        answer = await self._answer()
        if answer.reply is None:
            raise TypeError("An answer that was forwarded cannot be returned.")
        return answer.reply

    async def stream(self, sink: Sink) -> StreamTail:
        """Forward the answer to `sink`; return what is left of it, which may be sent now that it is settled.

        :raises DispatchError: if there is no answer, or the one that was being forwarded broke off.
        """
        self._attempts.watch(sink)
        try:
            answer = await self._answer()
        finally:
            sink.on_abandoned(None)
        return StreamTail(parts=answer.parts, usage=answer.usage)

    def hang_up(self) -> None:
        """Nobody waits for the answer any more: whatever would only be asked for it is not asked."""
        self._attempts.hang_up()

    def cut(self, killed: KilledTargets) -> None:
        """Stop at once what hard kill switches stop of this dispatch. What they stop of its targets is asked elsewhere."""
        order = self.order
        is_stopped = killed.stop_requests(facts=order.facts, policy=order.policy, rule=order.record.rule)
        self._attempts.running.cut_killed(lambda candidate: is_stopped or killed.stop_target(candidate.model))

    def shut_down(self) -> None:
        """End the dispatch now, as the process has to end: it is settled, and its client is told so."""
        self._attempts.shut_down()

    async def _answer(self) -> Answer:
        attempts = self._attempts
        accepted: Accepted | None = None
        try:
            accepted = await STRATEGIES[self.order.plan.strategy](attempts)
        except DispatchError as error:
            attempts.error = error
        finally:
            attempts.running.end_drain()
        attempts.close()
        if accepted is None:
            raise await self._give_up()
        await self._succeed(accepted)
        return accepted.answer

    async def _succeed(self, accepted: Accepted) -> None:
        """End by an answer, whether or not its client is still there."""
        attempts = self._attempts
        attempts.progress.validated = accepted.validated
        status, error = DispatchStatus.SUCCEEDED, None
        if attempts.is_abandoned:
            status, error = DispatchStatus.CLIENT_DISCONNECTED, ClientGoneError().as_dispatch_error()
        await attempts.postings.end(status, answer=accepted.answer, error=error)

    async def _give_up(self) -> DispatchError:
        """End without an answer; the error to raise."""
        attempts = self._attempts
        was_asked, is_abandoned = attempts.progress.attempts > 0, attempts.is_abandoned
        error = attempts.error or DispatchError.of_refusal(RefusalCode.NO_TARGET_AVAILABLE)
        if is_abandoned and (attempts.error is None or not was_asked):
            error = ClientGoneError().as_dispatch_error()
        if was_asked or error.code not in _UNWRITTEN:
            status = DispatchStatus.FAILED if was_asked else DispatchStatus.REFUSED
            if is_abandoned:
                status = DispatchStatus.CLIENT_DISCONNECTED
            await attempts.postings.end(status, answer=None, error=error)
        return error
