"""Structured concurrency for the attempts of one dispatch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def all_ended(tasks: "set[asyncio.Task[Any]]") -> AsyncIterator[None]:
    """Leave no task of `tasks` behind: wait for those that still run, and if the block was broken off, cancel them first."""
    try:
        yield
    except BaseException:
        for task in tasks:
            task.cancel()
        raise
    finally:
        if tasks:
            await asyncio.wait(tasks)
