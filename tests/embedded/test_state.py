import base64
import os
from pathlib import Path

import pytest

from routerproject.embedded.errors import FolderInUseError, NotStartedError
from routerproject.embedded.state import (
    FolderLock,
    ensure_secrets,
    remove_socket_folder,
    socket_folder,
    write_addresses,
)


def test_only_the_owner_may_read_the_secrets_and_the_addresses(tmp_path: Path) -> None:
    ensure_secrets(tmp_path)
    write_addresses(tmp_path, {"DATABASE_URL": "postgres://somewhere/signalbox"})

    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "secrets.env": 0o600,
        "embedded.env": 0o600,
    }


def test_secrets_are_made_once_and_differ_between_installations(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        ensure_secrets(folder)
    before = (first / "secrets.env").read_text()

    ensure_secrets(first)

    assert (first / "secrets.env").read_text() == before
    assert not set(before.splitlines()) & set((second / "secrets.env").read_text().splitlines())


def test_pepper_and_encryption_key_are_32_bytes(tmp_path: Path) -> None:
    ensure_secrets(tmp_path)

    secrets = dict(line.split("=", 1) for line in (tmp_path / "secrets.env").read_text().splitlines())

    for name in ("SIGNALBOX_API_KEY_PEPPER", "SIGNALBOX_ENCRYPTION_KEY"):
        assert len(base64.b64decode(secrets[name], validate=True)) == 32


def test_a_folder_in_use_is_refused_until_it_is_released(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
    first.take()

    with pytest.raises(FolderInUseError):
        second.take()

    first.release()
    second.take()
    second.release()


def test_a_socket_lies_in_its_own_folder_where_the_path_is_short() -> None:
    assert socket_folder(Path("/srv/signalbox/var/redis"), owner=os.geteuid()) == Path(
        "/srv/signalbox/var/redis"
    )


def test_a_socket_of_a_long_path_lies_in_a_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)

    sockets = socket_folder(folder, owner=os.geteuid())
    mode = sockets.stat().st_mode & 0o777
    again = socket_folder(folder, owner=os.geteuid())
    remove_socket_folder(folder)

    assert len(bytes(sockets)) < 90
    assert mode == 0o700
    assert again == sockets
    assert not sockets.exists()


def test_a_folder_for_sockets_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    socket_folder(folder, owner=os.geteuid()).chmod(0o777)

    try:
        with pytest.raises(NotStartedError, match="not private"):
            socket_folder(folder, owner=os.geteuid())
    finally:
        remove_socket_folder(folder)
