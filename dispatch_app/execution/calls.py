"""Asking vendors, and taking in what they answer."""

from enum import Enum, auto

from dispatch_app.execution.assembly import assemble, disassemble
from dispatch_app.execution.attempt import Answer, RunningAttempt
from dispatch_app.execution.errors import UpstreamError
from dispatch_app.execution.forwarding import Claim, Collecting, Delivered, Forwarding, Reception
from dispatch_app.execution.ports import Clock, Sink, Upstream
from policies_app.routing.codes import Capability
from policies_app.routing.types import Candidate


class Delivery(Enum):
    """How an answer comes in."""

    WHOLE = auto()
    """In one piece."""
    BUFFERED = auto()
    """As a stream that is kept, and can be stopped half-way."""
    DIRECT = auto()
    """As a stream that the client gets as it comes."""


class Calls:
    """The calls of one dispatch. With a `sink`, its client gets the answer as a stream; `delivered` is what it has of it."""

    def __init__(self, *, upstream: Upstream, clock: Clock, delivered: Delivered) -> None:
        self.sink: Sink | None = None
        self._upstream = upstream
        self._clock = clock
        self._delivered = delivered

    @property
    def as_asked(self) -> Delivery:
        """How an answer comes in that the client gets whatever it says."""
        return Delivery.WHOLE if self.sink is None else Delivery.DIRECT

    async def make(
        self, attempt: RunningAttempt, *, delivery: Delivery, claim: Claim | None = None
    ) -> Answer:
        """Ask the vendor. `claim` may stop the attempt at its first byte; see `Reception`.

        :raises UpstreamError: whatever goes wrong, also if the attempt is stopped; it is still to be concluded.
        """
        if delivery is Delivery.WHOLE:
            return await self._whole(attempt)
        reception = Reception(attempt=attempt, clock=self._clock, claim=claim)
        taking: Collecting | Forwarding = Collecting(reception=reception)
        if delivery is Delivery.DIRECT and self.sink is not None:
            taking = Forwarding(reception=reception, sink=self.sink, delivered=self._delivered)
        try:
            async with attempt.cut, self._upstream.stream(attempt.call(stream=True)) as parts:
                async for part in parts:
                    await taking.take(part)
                reception.end()
        except UpstreamError as error:
            error.usage = error.usage or reception.final_usage
            raise
        first_byte_at = attempt.first_byte_at or self._clock.monotonic()
        is_kept = delivery is Delivery.BUFFERED
        return Answer(
            attempt=attempt,
            model=reception.model,
            usage=reception.usage,
            wire_status=200,
            ended_at=self._clock.monotonic(),
            reply=assemble(taking.parts, wire_status=200, first_byte_at=first_byte_at) if is_kept else None,
            parts=taking.parts,
        )

    async def _whole(self, attempt: RunningAttempt) -> Answer:
        attempt.comes_whole = True
        async with attempt.cut:
            reply = await self._upstream.complete(attempt.call(stream=False))
        attempt.first_byte_at = reply.first_byte_at
        return Answer(
            attempt=attempt,
            model=reply.model,
            usage=reply.usage,
            wire_status=reply.wire_status,
            ended_at=self._clock.monotonic(),
            reply=reply,
            parts=[] if self.sink is None else disassemble(reply),
        )


def kept(candidate: Candidate) -> Delivery:
    """How an answer comes in that is kept: as a stream if the model can stream, because that can be stopped half-way."""
    can_stream = Capability.STREAMING in candidate.model.capabilities
    return Delivery.BUFFERED if can_stream else Delivery.WHOLE
