"""Tasks that own dispatches. They belong to the application, so that no client and no server can cut a settlement short."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from dispatch_app.execution.dispatcher import Dispatch

T = TypeVar("T")


class Owners:
    """The dispatches in flight."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], Dispatch | None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def dispatches(self) -> Iterator[Dispatch]:
        """Those that are being carried out."""
        return (dispatch for dispatch in [*self._tasks.values()] if dispatch is not None)

    def start(self, work: Coroutine[Any, Any, T], *, dispatch: Dispatch | None = None) -> "asyncio.Task[T]":
        """Run `work`, which carries out `dispatch`, to its end, whoever waits for it."""
        task = asyncio.create_task(work)
        self._tasks[task] = dispatch
        task.add_done_callback(self._forget)
        return task

    async def drain(self, *, timeout_s: float) -> None:
        """Wait for all of them; after the time, cut what is left. What is cut is charged when its attempt expires."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        del self._tasks[task]
