"""Noticing that a client hangs up while its request is being answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.types import Receive


@contextlib.asynccontextmanager
async def on_hang_up(receive: Receive, callback: Callable[[], None]) -> AsyncIterator[None]:
    """Call `callback` when the client hangs up before the block is over. The request's body must have been read."""
    watcher = asyncio.create_task(_wait(receive, callback))
    try:
        yield
    finally:
        watcher.cancel()


async def _wait(receive: Receive, callback: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    callback()
