"""What root believes: files and directories by who else can write them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from torcxd.errors import EX_NOPERM, PermanentError
from torcxd.host.trusted import UntrustedError, check_directory, read_trusted, untrusted

OTHER = 1000


def describe(mode: int, *, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (describe(0o644), ""),
        (describe(0o600), ""),
        # root's own group is root; so is that of a user whose umask says so.
        (describe(0o664), ""),
        (describe(0o664, gid=os.getegid()), ""),
        (describe(0o644, gid=OTHER), ""),
        (describe(0o644, uid=os.geteuid()), ""),
        (describe(0o664, gid=OTHER), f"the group {OTHER} may write it"),
        (describe(0o646), "everybody may write it"),
        (describe(0o600, uid=OTHER), f"it belongs to user {OTHER}"),
    ],
)
def test_who_else_can_write(found: os.stat_result, why: str) -> None:
    assert untrusted(found) == why


def test_a_file_of_ours_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_trusted(tmp_path / "link", limit=7) == b"content"


def test_a_file_of_somebody_elses_is_refused_also_through_a_link(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_bytes(b"content")
    os.chown(file, OTHER, OTHER)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(UntrustedError, match="cannot be trusted: it belongs to user 1000") as caught:
        read_trusted(tmp_path / "link", limit=7)
    assert caught.value.exit_code == EX_NOPERM
    assert "chown root" in caught.value.hint


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(PermanentError):
            read_trusted(tmp_path / name, limit=7)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content.")
    with pytest.raises(PermanentError, match="larger than 7 bytes"):
        read_trusted(tmp_path / "file", limit=7)


def test_a_directory_on_another_disk_is_as_good(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("disk")
    check_directory(tmp_path / "link")


@pytest.mark.parametrize(("mode", "uid"), [(0o777, 0), (0o755, OTHER), (0o1777, OTHER)])
def test_a_directory_that_others_can_write_is_refused(tmp_path: Path, mode: int, uid: int) -> None:
    (tmp_path / "open").mkdir()
    os.chown(tmp_path / "open", uid, 0)
    (tmp_path / "open").chmod(mode)
    with pytest.raises(UntrustedError):
        check_directory(tmp_path / "open")


def test_a_sticky_directory_of_roots_is_fine(tmp_path: Path) -> None:
    """As /tmp: others can add names, and not take ours."""
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o777 | stat.S_ISVTX)
    check_directory(tmp_path / "sticky")


def test_a_directory_that_everybody_may_write_is_fine_where_it_is_mounted_read_only(tmp_path: Path) -> None:
    """As the kubelet mounts the volume of a ConfigMap into a pod."""
    directory = tmp_path / "config"
    directory.mkdir()
    directory.chmod(0o777)
    mounts = f"mount --bind {directory} {directory} && mount -o remount,ro,bind {directory}"
    checks = (
        "from pathlib import Path; from torcxd.host.trusted import check_directory; "
        f"check_directory(Path({str(directory)!r}))"
    )
    for prepared, code in ((f"{mounts} && ", 0), ("", 1)):
        command = ["unshare", "--mount", "sh", "-c", f'{prepared}exec "$0" -c "$1"', sys.executable, checks]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        assert ended.returncode == code, ended.stderr
        assert ("everybody may write it" in ended.stderr) is bool(code)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermanentError, match="is not a directory"):
        check_directory(tmp_path / "file")


def test_what_is_no_file_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(PermanentError, match="Is a directory"):
        read_trusted(tmp_path, limit=7)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
