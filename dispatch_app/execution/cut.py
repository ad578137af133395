"""Ending from outside what an attempt is waiting for."""

import asyncio
from typing import Self

from dispatch_app.execution.errors import UpstreamError


class Cut:
    """As a context, lets `now` end what its block awaits: the block then raises the error that `now` was given.

    An alarm does the same after a time, unless it is called off. What has ended without waiting is not undone.
    """

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._is_open = False
        self._error: UpstreamError | None = None
        self._alarm: UpstreamError | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._is_open = True
        if self._error is not None:
            self._schedule(0.0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._is_open = False
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type] # passed on as they came
        except TimeoutError as timeout:
            error = self._error or self._alarm
            if error is None:
                raise
            raise error from timeout

    def now(self, error: UpstreamError) -> None:
        """End the block by `error`, as soon as it waits. The first error counts."""
        if self._error is None:
            self._error = error
            self._schedule(0.0)

    def alarm(self, error: UpstreamError, *, in_s: float) -> None:
        """End the block by `error` in so many seconds."""
        if self._error is None:
            self._alarm = error
            self._schedule(in_s)

    def call_off(self) -> None:
        """There is no alarm any more."""
        if self._error is None:
            self._schedule(None)

    def _schedule(self, in_s: float | None) -> None:
        if self._is_open and not self._timeout.expired():
            self._timeout.reschedule(None if in_s is None else asyncio.get_running_loop().time() + in_s)
