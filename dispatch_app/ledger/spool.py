"""What could not be settled in time, on this machine's disk: a process that dies takes none of it with it.

Each process appends to a file of its own, which it holds locked. A file that nobody holds was left by a process that is
gone: whoever finds it commits what it says, and removes it. Settling passes over what is settled, so nothing is lost
where a record is committed twice.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

SUFFIX = ".spool"
_UNLOCKED_SUFFIX = ".new"
_HEADER = struct.Struct(">II")
"""The record's length and its checksum."""


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """One file of records, locked for as long as it is open. All of its methods block."""

    path: Path
    descriptor: int

    @classmethod
    def create(cls, folder: Path) -> "SpoolFile":
        """A new file in `folder`, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}-{uuid4().hex}{SUFFIX}"
        unlocked = path.with_suffix(_UNLOCKED_SUFFIX)
        descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Only now has it a name that others look for.
        unlocked.rename(path)
        _fsync_folder(folder)
        return cls(path, descriptor)

    @classmethod
    def left_behind(cls, folder: Path) -> "Iterator[SpoolFile]":
        """The files in `folder` that no process holds, each locked until the next is asked for."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(OSError):
                file = cls(path, os.open(path, os.O_RDWR | os.O_APPEND))
                with contextlib.closing(file):
                    fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.exists():  # It may have been removed before its lock was free.
                        yield file

    def append(self, records: Iterable[bytes]) -> None:
        """Add records; they are on disk when this returns."""
        text = b"".join(_HEADER.pack(len(record), zlib.crc32(record)) + record for record in records)
        while text:
            text = text[os.write(self.descriptor, text) :]
        os.fsync(self.descriptor)

    def read(self) -> list[bytes]:
        """The records that were written whole. A tail that is torn was never acknowledged as written."""
        return list(self._records())

    def _records(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self.descriptor), "rb") as stream:
            stream.seek(0)
            while len(header := stream.read(_HEADER.size)) == _HEADER.size:
                length, checksum = _HEADER.unpack(header)
                record = stream.read(length)
                if len(record) < length or zlib.crc32(record) != checksum:
                    return
                yield record

    def remove(self) -> None:
        """Remove the file, under its lock."""
        self.path.unlink()
        _fsync_folder(self.path.parent)

    def close(self) -> None:
        """Give up the lock."""
        os.close(self.descriptor)


class Spool(Generic[Item]):
    """Keeps items of one process until they are committed; implements `dispatch_app.ledger.lane.Keeper`.

    Its methods return at once; a thread writes. A disk that fails is logged: the items are still tried from memory.
    """

    def __init__(self, *, folder: Path, encode: Callable[[Item], bytes]) -> None:
        self._folder = folder
        self._encode = encode
        self._unwritten: list[Item] = []
        self._held: dict[int, Item] = {}
        self._is_left_behind = False
        self._file: SpoolFile | None = None
        self._writer: asyncio.Task[None] | None = None

    def hold(self, item: Item) -> None:
        """Keep an item that is also tried from memory, until `release`."""
        self._held[id(item)] = item
        self._write_soon(item)

    def keep(self, item: Item) -> None:
        """Keep an item that is nowhere else: its file is left to whoever next looks for such files."""
        self._is_left_behind = True
        self._write_soon(item)

    def release(self, item: Item) -> None:
        """`item` needs no keeping any longer."""
        if self._held.pop(id(item), None) is not None and not self._held:
            self._start()

    async def flushed(self) -> None:
        """Wait until what was held or kept so far is on disk."""
        if self._writer is not None:
            await asyncio.shield(self._writer)

    async def close(self) -> None:
        """Write what is unwritten, and leave what is held to others."""
        await self.flushed()
        self._held.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_soon(self, item: Item) -> None:
        self._unwritten.append(item)
        self._start()

    def _start(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._work(), name="ledger-spool")

    async def _work(self) -> None:
        try:
            while self._unwritten or (self._file is not None and not self._held):
                if self._unwritten:
                    unwritten, self._unwritten = self._unwritten, []
                    await asyncio.to_thread(self._append, [self._encode(item) for item in unwritten])
                else:
                    is_left_behind, self._is_left_behind = self._is_left_behind, False
                    await asyncio.to_thread(self._let_go, is_left_behind=is_left_behind)
        except OSError:
            logger.exception("The ledger's spool cannot be written")
            self._unwritten.clear()
        finally:
            self._writer = None

    def _append(self, records: list[bytes]) -> None:
        if self._file is None:
            self._file = SpoolFile.create(self._folder)
        self._file.append(records)

    def _let_go(self, *, is_left_behind: bool) -> None:
        """All that was held is committed; what was only kept is read from the file by whoever finds it."""
        if self._file is not None:
            with contextlib.closing(self._file) as file:
                self._file = None
                if not is_left_behind:
                    file.remove()


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
