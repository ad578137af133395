"""The state folder: secrets made once, addresses of the embedded services, and who uses it."""

import base64
import fcntl
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO


class FolderInUseError(Exception):
    """Another process holds the folder."""


def ensure_secrets(state_dir: Path) -> None:
    """Create `secrets.env` (mode 0600) with random secrets of this installation, unless it is there."""
    path = state_dir / "secrets.env"
    if path.exists():
        return
    lines = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SIGNALBOX_API_KEY_PEPPER": base64.b64encode(secrets.token_bytes(32)).decode(),
        "SIGNALBOX_ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    write_private(path, "".join(f"{name}={value}\n" for name, value in lines.items()))


def write_addresses(state_dir: Path, addresses: Mapping[str, str]) -> None:
    """Write `embedded.env`, which the settings read when the environment does not say better."""
    write_private(
        state_dir / "embedded.env", "".join(f"{name}={value}\n" for name, value in addresses.items())
    )


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file that only its owner may read."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    draft.replace(path)


class FolderLock:
    """Who uses a state folder. The kernel drops the lock of a process that dies, so none is ever stale."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a")

    def share(self) -> None:
        """Use the folder beside others; waits for whoever starts or stops its services."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def take(self, *, wait: bool = False) -> None:
        """Use the folder alone.

        :raises FolderInUseError: if another process uses it and `wait` is false.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise FolderInUseError from error

    def release(self) -> None:
        """Let go of the folder."""
        self._file.close()
