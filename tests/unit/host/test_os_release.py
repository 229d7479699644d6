"""The operating system's version and board, as the systems' own files tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.errors import EX_DATAERR, EX_NOINPUT, EX_NOPERM, PermanentError, TorcxdError
from torcxd.host.os_release import OsRelease, read_os_release

CONTAINER_LINUX = b"""\
NAME="Container Linux by CoreOS"
ID=coreos
VERSION=1576.4.0
VERSION_ID=1576.4.0
BUILD_ID=2017-12-06-0449
PRETTY_NAME="Container Linux by CoreOS 1576.4.0 (Ladybug)"
ANSI_COLOR="38;5;75"
HOME_URL="https://coreos.com/"
BUG_REPORT_URL="https://issues.coreos.com"
COREOS_BOARD="amd64-usr"
"""
FLATCAR = b"""\
NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE=coreos
VERSION='3510.2.8'
VERSION_ID='3510.2.8'
SYSEXT_LEVEL=1.0
FLATCAR_BOARD="arm64-usr"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "os-release"


@pytest.mark.accepts("A16")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (CONTAINER_LINUX, OsRelease("1576.4.0", "amd64-usr", "coreos")),
        (CONTAINER_LINUX.replace(b"\n", b"\r\n"), OsRelease("1576.4.0", "amd64-usr", "coreos")),
        (FLATCAR, OsRelease("3510.2.8", "arm64-usr", "flatcar")),
        (FLATCAR + b"COREOS_BOARD=arm64-usr\nVERSION_ID=3510.2.8\n", OsRelease("3510.2.8", "arm64-usr", "flatcar")),
        (b"VERSION_ID=1.2.3", OsRelease("1.2.3", "amd64-usr", "linux")),
        (b'VERSION_ID="1.2.3"\nCOREOS_BOARD=\n', OsRelease("1.2.3", "amd64-usr", "linux")),
    ],
)
def test_version_board_and_id_are_read(path: Path, data: bytes, expected: OsRelease) -> None:
    path.write_bytes(data)
    assert read_os_release(path, machine="x86_64") == expected


@pytest.mark.accepts("A16")
def test_without_a_board_the_architecture_tells_it(path: Path) -> None:
    path.write_bytes(b"VERSION_ID=1.2.3\n")
    assert read_os_release(path, machine="aarch64").board == "arm64-usr"
    assert read_os_release(path).board in {"amd64-usr", "arm64-usr"}
    with pytest.raises(PermanentError, match=r"'riscv64'.*aarch64, x86_64"):
        read_os_release(path, machine="riscv64")


@pytest.mark.accepts("A16")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no field"),
        (b"# nothing\n", "holds no field"),
        (b"ID=coreos\n", "has no VERSION_ID"),
        (b"ID=coreos\nVERSION_ID=\n", ":2: VERSION_ID='': not an OS version"),
        (b"VERSION_ID=../../etc\n", ":1: VERSION_ID='../../etc': not an OS version"),
        (b"VERSION_ID=1.2.3/4\n", ":1: VERSION_ID='1.2.3/4': not an OS version"),
        (b"VERSION_ID=1.2.3\n\nVERSION_ID=1.2.4\n", ":3: VERSION_ID='1.2.4': contradicts line 1, which says '1.2.3'"),
        (
            b"VERSION_ID=1.2.3\nFLATCAR_BOARD=arm64-usr\nCOREOS_BOARD=amd64-usr\n",
            ":2: FLATCAR_BOARD='arm64-usr': contradicts COREOS_BOARD on line 3, 'amd64-usr'",
        ),
        (b"VERSION_ID=1.2.3\nCOREOS_BOARD=../x\n", ":2: COREOS_BOARD='../x': not a board"),
        (b"VERSION_ID=1.2.3\nNAME='x\n", ":2: the value of NAME opens a quote that never ends"),
        (b"\x7fELF\x02\x01\x01\0\0", ":1: contains a NUL byte"),
        (b"VERSION_ID=1.2.3\n\xff\xfe\n", ":2: is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_by_name_line_and_field(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(PermanentError) as caught:
        read_os_release(path, machine="x86_64")
    assert f"{path}{message}" in str(caught.value) or f"{path} {message}" in str(caught.value)
    assert caught.value.exit_code == EX_DATAERR
    assert caught.value.kind == "permanent"


def test_another_system_is_called_by_its_name(path: Path) -> None:
    path.write_bytes(b'PRETTY_NAME="Debian GNU/Linux 12"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n')
    with pytest.raises(PermanentError) as caught:
        read_os_release(path, machine="x86_64")
    assert caught.value.message == f"this is Debian GNU/Linux (so says {path}), not Container Linux or Flatcar"
    assert "`torcxd demo`" in caught.value.hint
    assert caught.value.exit_code == EX_DATAERR
    path.write_bytes(b"ID=arch\n")
    with pytest.raises(PermanentError, match="this is arch "):
        read_os_release(path, machine="x86_64")


def test_a_system_made_from_container_linux_is_one(path: Path) -> None:
    path.write_bytes(b'VERSION_ID=1.2.3\nID=mine\nID_LIKE="gentoo coreos"\n')
    assert read_os_release(path, machine="x86_64").id == "mine"


def test_an_unreadable_file_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TorcxdError, match="os-release: No such file") as missing:
        read_os_release(path)
    assert missing.value.exit_code == EX_NOINPUT
    path.mkdir()
    with pytest.raises(TorcxdError, match="os-release: Is a directory"):
        read_os_release(path)

    # Root may read everything, so the refusal has to be played.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(TorcxdError, match="os-release: Permission denied") as forbidden:
        read_os_release(path)
    assert forbidden.value.exit_code == EX_NOPERM
