import os
from pathlib import Path

import pytest

from dispatcher.embedded.accounts import own_account
from dispatcher.embedded.errors import EmbeddedError
from dispatcher.embedded.folders import SOCKET_PATH_BYTES, private_folder, socket_folder, tag_of
from dispatcher.embedded.logfile import KEEP_BYTES, LogFile


def test_a_private_folder_is_closed_to_others_even_if_it_was_open(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert private_folder(tmp_path / "open", own_account()).stat().st_mode & 0o777 == 0o700


def test_a_link_is_not_taken_for_a_private_folder(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(EmbeddedError, match="not a folder of this user"):
        private_folder(tmp_path / "link", own_account())


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="file"):
        private_folder(tmp_path / "file", own_account())


@pytest.mark.parametrize("folder", ["x" * SOCKET_PATH_BYTES, "a,b"])
def test_a_folder_no_socket_can_be_named_in_gets_one_elsewhere(tmp_path: Path, folder: str) -> None:
    data_dir = tmp_path / folder
    sockets = socket_folder(data_dir, "redis", "redis.sock", own_account())
    assert tag_of(data_dir) in sockets.name
    sockets.rmdir()


def test_a_long_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log_file = LogFile(tmp_path / "server.log")
    log_file.path.write_bytes(b"x" * (KEEP_BYTES + 1))
    with os.fdopen(log_file.open(), "ab") as file:
        file.write(b"new\n")
    assert log_file.tail() == "new"
    assert (tmp_path / "server.log.1").stat().st_size == KEEP_BYTES + 1


def test_the_tail_is_of_this_start_only_and_bounded(tmp_path: Path) -> None:
    log_file = LogFile(tmp_path / "server.log")
    log_file.path.write_text("before\n")
    with os.fdopen(log_file.open(), "a") as file:
        file.writelines(f"line {number}\n" for number in range(1000))
    assert log_file.tail().splitlines()[-1] == "line 999"
    assert len(log_file.tail().splitlines()) == 12
    assert "before" not in log_file.tail()
