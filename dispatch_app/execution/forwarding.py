"""From a vendor's stream to a client's, part by part."""

import asyncio

from dispatch_app.execution.attempt import RunningAttempt
from dispatch_app.execution.canonical import StreamPart
from dispatch_app.execution.errors import ClientGoneError
from dispatch_app.execution.ports import Clock, Sink
from policies_app.routing.types import Usage

CLIENT_STALL_S = 60.0
"""A client that takes nothing for so long counts as gone."""


class Forwarding:
    """Hands the parts of one attempt to the client, and stops when the client is gone.

    As a context it cuts whatever is awaited the moment that the client hangs up.
    """

    def __init__(self, *, attempt: RunningAttempt, sink: Sink, clock: Clock, choices: int) -> None:
        self._attempt = attempt
        self._sink = sink
        self._clock = clock
        self._unfinished = choices
        self._cut = asyncio.timeout(None)
        self.held_back: list[StreamPart] = []
        self.has_forwarded = False
        self.usage: Usage | None = None
        self.model = ""

    async def __aenter__(self) -> None:
        await self._cut.__aenter__()
        self._sink.on_abandoned(self._leave)

    async def __aexit__(self, *raised: object) -> None:
        self._sink.on_abandoned(None)
        try:
            await self._cut.__aexit__(*raised)  # type: ignore[arg-type] # passed on as they came
        except TimeoutError as error:
            raise ClientGoneError(wire_status=200, usage=self.usage) from error

    async def take(self, part: StreamPart) -> None:
        """Note what a part says of the attempt; forward it, or hold it back if it is among the last."""
        if self._attempt.first_byte_at is None:
            self._attempt.first_byte_at = self._clock.monotonic()
        self._attempt.received_bytes += part.text_bytes
        self.usage = part.usage or self.usage
        self.model = part.model or self.model
        self._unfinished -= part.finished_choices
        if self._unfinished > 0:
            await self._forward(part)
        elif part.choices:
            self.held_back.append(part)

    async def _forward(self, part: StreamPart) -> None:
        self.has_forwarded = True
        if self._sink.offer(part):
            return
        self._cut.reschedule(self._clock.monotonic() + CLIENT_STALL_S)
        await self._sink.put(part)
        if not self._sink.is_abandoned:
            self._cut.reschedule(None)

    def _leave(self) -> None:
        if not self._cut.expired():
            self._cut.reschedule(self._clock.monotonic())
