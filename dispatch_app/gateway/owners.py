"""Tasks that own dispatches. They belong to the application, so that no client and no server can cut a settlement short."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from dispatch_app.execution.dispatcher import Dispatch

T = TypeVar("T")
SETTLING_S = 2.0
"""What dispatches that are ended have for their settlement; it is the time that an answer waits for one, too."""


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

    def shut_down(self) -> None:
        """End all of them now: they are settled, and their clients are told."""
        for dispatch in self.dispatches:
            dispatch.shut_down()

    async def drain(self, *, timeout_s: float) -> None:
        """Wait for all of them; after the time, end what is left. What does not even settle is charged when its attempt expires."""
        if not await self._are_done(within_s=timeout_s):
            self.shut_down()
        if not await self._are_done(within_s=SETTLING_S):
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _are_done(self, *, within_s: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        return not self._tasks

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        del self._tasks[task]
