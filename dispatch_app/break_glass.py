"""The break-glass switch: a file in the state folder that stops what this machine admits, database or no database."""

import asyncio
import contextlib
import logging
from pathlib import Path

logger = logging.getLogger(__name__)

FILE_NAME = "kill"
LOOK_EVERY_S = 0.15
LONGEST_REASON = 500
NO_REASON = "The operators have stopped everything."


class BreakGlass:
    """Follows the file `kill` in `state_dir`: while it is there nothing is admitted, and its content says why.

    `reason` is what requests read: as of the last look, so that none of them waits for a file system.
    """

    def __init__(self, *, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._seen: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self.reason: str | None = None

    @property
    def is_broken(self) -> bool:
        """Whether everything is stopped."""
        return self.reason is not None

    async def start(self) -> None:
        """Look, then keep looking until stopped."""
        await asyncio.to_thread(self.look)
        self._task = asyncio.create_task(self._keep_looking(), name="break glass")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    def look(self) -> None:
        """See whether the file is there. Blocks on the file system; one that does not answer changes nothing."""
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._set(None, None)
        except OSError as error:
            logger.warning("Unable to look for %s: %s.", self._path, error)
        else:
            seen = status.st_mtime_ns, status.st_size
            if seen != self._seen:
                self._set(seen, self._read())

    def _set(self, seen: tuple[int, int] | None, reason: str | None) -> None:
        if reason != self.reason:
            logger.error("Break glass: %s", "admissions go on." if reason is None else f"stopped. {reason}")
        self._seen, self.reason = seen, reason

    def _read(self) -> str:
        """The file's words, on one line. What cannot be read stops all the same."""
        try:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                words = file.read(LONGEST_REASON)
        except OSError:
            return NO_REASON
        printable = "".join(sign if sign.isprintable() else " " for sign in words)
        return " ".join(printable.split()) or NO_REASON

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                logger.exception("Unable to look for %s.", self._path)
