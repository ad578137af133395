"""The bounded queue between the task that owns a streamed dispatch and the response that its client reads."""

import asyncio
from collections.abc import Callable

from dispatch_app.execution.canonical import StreamPart
from dispatch_app.execution.dispatcher import StreamTail
from dispatch_app.execution.errors import ClientGoneError, DispatchError

MOST_QUEUED_PARTS = 32

Item = StreamPart | StreamTail | DispatchError


class StreamQueue:
    """Implements `dispatch_app.execution.ports.Sink`. Its last item is the tail of the stream, or the error.

    With `remembers`, what was forwarded stays in `remembered`, whether or not somebody was there to read it.
    """

    def __init__(self, *, remembers: bool = False) -> None:
        self.remembered: list[StreamPart] = []
        self._remembers = remembers
        # Parts are held to the limit by `offer`; the last item always finds room.
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._on_abandoned: Callable[[], None] | None = None
        self.is_abandoned = False

    def on_abandoned(self, callback: Callable[[], None] | None) -> None:
        """See `Sink.on_abandoned`."""
        self._on_abandoned = callback
        if self.is_abandoned and callback is not None:
            callback()

    def offer(self, part: StreamPart) -> bool:
        """See `Sink.offer`."""
        if self._queue.qsize() >= MOST_QUEUED_PARTS:
            self._has_room.clear()
            return False
        if not self.is_abandoned:
            self._queue.put_nowait(part)
        if self._remembers:
            self.remembered.append(part)
        return True

    async def put(self, part: StreamPart) -> None:
        """See `Sink.put`."""
        while not self.offer(part):
            await self._has_room.wait()

    def end(self, item: StreamTail | DispatchError) -> None:
        """Put the last item. Who comes back late has missed parts, and must not take the rest for a whole answer."""
        self._queue.put_nowait(ClientGoneError().as_dispatch_error() if self.is_abandoned else item)

    def abandon(self) -> None:
        """Nobody reads any more: what is queued is dropped, as is whatever comes. Who still waits is told so at the end."""
        if self.is_abandoned:
            return
        self.is_abandoned = True
        has_ended = False
        while not self._queue.empty():
            has_ended = not isinstance(self._queue.get_nowait(), StreamPart)
        if has_ended:
            self._queue.put_nowait(ClientGoneError().as_dispatch_error())
        self._has_room.set()
        if self._on_abandoned is not None:
            self._on_abandoned()

    async def get(self, *, within_s: float | None = None) -> Item | None:
        """The next item; None if none comes in time."""
        if self._queue.empty() and within_s is not None:
            try:
                item = await asyncio.wait_for(self._queue.get(), within_s)
            except TimeoutError:
                return None
        else:
            item = await self._queue.get()
        self._has_room.set()
        return item
