"""What happens when the process is told to stop: dispatches get their time, and what is left of them is ended and settled.

The server takes nothing new from then on, and waits for its connections; without this, it would cut those that take too long.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from dispatch_app.gateway.owners import Owners

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def ending_in_time(owners: Owners, *, grace_s: float) -> Iterator[None]:
    """Within the block, the server's stop signals also give the dispatches in flight so many seconds."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    loop = asyncio.get_running_loop()

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(loop.call_later, grace_s, owners.shut_down)
        handler = handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    # Elsewhere there are no signals to be had, and without a server's handler nobody would heed ours.
    is_served = threading.current_thread() is threading.main_thread() and all(
        map(callable, handlers.values())
    )
    if is_served:
        for number in _SIGNALS:
            signal.signal(number, stop)
    try:
        yield
    finally:
        if is_served:
            for number, handler in handlers.items():
                signal.signal(number, handler)
