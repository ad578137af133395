"""The state folder: secrets made once, addresses of the embedded services, sockets, and who uses it."""

import base64
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from routerproject.embedded.errors import FolderInUseError, NotStartedError

SOCKET_FOLDER_LIMIT = 90  # bytes; the path of a unix socket ends at 107


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
    write_private(path, _as_lines(lines))


def write_addresses(state_dir: Path, addresses: Mapping[str, str]) -> None:
    """Write `embedded.env`, which the settings read when the environment does not say better."""
    write_private(addresses_path(state_dir), _as_lines(addresses))


def addresses_path(state_dir: Path) -> Path:
    """The file is there while the embedded services run, and after a run that was killed."""
    return state_dir / "embedded.env"


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file that only its owner may read."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def socket_folder(folder: Path, *, owner: int) -> Path:
    """Where the server of `folder` puts its socket: there, or in a private folder of /tmp if the path would be too long.

    :raises NotStartedError: if somebody else made that folder of /tmp first.
    """
    if len(bytes(folder)) <= SOCKET_FOLDER_LIMIT:
        return folder
    private = _outside(folder)
    try:
        private.mkdir(mode=0o700)
        os.chown(private, owner, -1)
    except FileExistsError:
        _check_private(private, owner)
    return private


def remove_socket_folder(folder: Path) -> None:
    """Remove what `socket_folder` made outside of `folder`."""
    if len(bytes(folder)) > SOCKET_FOLDER_LIMIT:
        shutil.rmtree(_outside(folder), ignore_errors=True)


class FolderLock:
    """Who uses a state folder. The kernel drops the lock of a process that dies, so none is ever stale."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

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


def _as_lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _outside(folder: Path) -> Path:
    return Path("/tmp") / f"signalbox-{hashlib.sha256(bytes(folder)).hexdigest()[:16]}"  # noqa: S108


def _check_private(folder: Path, owner: int) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise NotStartedError(f"{folder} exists and is not private to this installation; remove it.")
