"""The boot's id is the kernel's UUID and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.errors import EX_DATAERR, PermanentError, TorcxdError
from torcxd.host.boot import read_boot_id
from torcxd.paths import Layout


def test_the_kernels_own_id_is_read() -> None:
    assert read_boot_id(Layout().boot_id) == Layout().boot_id.read_text().strip()


def test_white_space_and_case_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "boot_id"
    path.write_text(" 0A1B2C3D-0000-4000-8000-00000000000F \n")
    assert read_boot_id(path) == "0a1b2c3d-0000-4000-8000-00000000000f"


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"boot", b"\xff", b"{0a1b2c3d-0000-4000-8000-00000000000f}", b"0a1b2c3d000040008000" + b"0" * 12],
)
def test_anything_else_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "boot_id"
    path.write_bytes(data)
    with pytest.raises(PermanentError, match="boot_id holds no boot id") as caught:
        read_boot_id(path)
    assert caught.value.exit_code == EX_DATAERR


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TorcxdError, match="boot_id: No such file"):
        read_boot_id(tmp_path / "boot_id")
