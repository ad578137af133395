"""Ending from outside what an attempt is waiting for."""

import asyncio
from typing import Self

from dispatch_app.execution.errors import UpstreamError


class Cut:
    """As a context, lets `now` and `within` end what its block awaits: the block then raises the error that they were given.

    What has ended without waiting is not undone.
    """

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._is_open = False
        self._error: UpstreamError | None = None
        self._ends_at: float | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._is_open = True
        self._schedule()
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._is_open = False
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type] # passed on as they came
        except TimeoutError as timeout:
            if self._error is None:
                raise
            raise self._error from timeout

    def now(self, error: UpstreamError) -> None:
        """End the block by `error`, as soon as it waits."""
        self.within(error, in_s=0.0)

    def within(self, error: UpstreamError, *, in_s: float) -> None:
        """End the block by `error` in so many seconds, unless it is to end sooner than that already."""
        ends_at = asyncio.get_running_loop().time() + in_s
        if self._ends_at is None or ends_at < self._ends_at:
            self._error, self._ends_at = error, ends_at
            self._schedule()

    def _schedule(self) -> None:
        if self._ends_at is not None and self._is_open and not self._timeout.expired():
            self._timeout.reschedule(self._ends_at)
