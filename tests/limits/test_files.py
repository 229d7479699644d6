"""Files on the node that are huge, or never end: what is read of them is bounded, and said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.explored import Explored
from tests.limits import cases
from tests.limits.measured import measure_now

# MB. The largest of these files that is accepted has 8 MiB, and most have far less.
MOST = 20


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """A gigabyte that takes no room."""
    path.touch()
    os.truncate(path, 10**9)


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (endless, cases.os_release),
        (huge, cases.env_file),
        (endless, cases.kubeconfig),
        (huge, cases.kubeconfig),
        (endless, cases.token),
        (endless, cases.mappings),
    ],
)
def test_a_file_without_end_is_refused(
    tmp_path: Path, explored: Explored, make: Callable[[Path], None], read: Callable[[str], Any]
) -> None:
    path = tmp_path / "file"
    make(path)
    measured = measure_now(read, str(path))
    assert f"{path}: larger than " in measured.result
    assert measured.grown < MOST
    assert measured.descriptors == 0
    explored.count("limits", "endless or huge files")


def test_a_keyring_without_end_is_refused(tmp_path: Path, explored: Explored) -> None:
    huge(tmp_path / "keyring")
    measured = measure_now(cases.keyring, str(tmp_path / "keyring"), str(tmp_path / "home"))
    assert "keyring is not usable" in measured.result
    assert measured.grown < MOST
    explored.count("limits", "endless or huge files")


def test_a_hundred_megabytes_of_kubeconfig_are_refused_unread(tmp_path: Path, explored: Explored) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(b"clusters:\n" + b"- {name: a, cluster: {server: 'https://a'}}\n" * 2_200_000)
    measured = measure_now(cases.kubeconfig, str(path))
    assert "larger than 1048576 bytes" in measured.result
    assert measured.grown < MOST
    explored.count("limits", "endless or huge files")


def test_a_kubeconfig_of_many_values_is_given_up_early(tmp_path: Path, explored: Explored) -> None:
    # All of it would take a minute and 300 MB.
    path = tmp_path / "kubeconfig"
    path.write_bytes(b"[" + b"a," * 500_000 + b"a]")
    measured = measure_now(cases.kubeconfig, str(path))
    assert "line 1: more than 10000 values" in measured.result
    assert measured.grown < MOST
    explored.count("limits", "endless or huge files")


@pytest.mark.accepts("I8")
@pytest.mark.parametrize("make", [endless, huge])
def test_a_state_file_without_end_is_kept_aside(
    tmp_path: Path, explored: Explored, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "var/lib/torcxd/state.json"
    path.parent.mkdir(parents=True)
    make(path)
    measured = measure_now(cases.state_file, str(path))
    assert measured.result == "state.json.damaged"
    assert measured.grown < MOST
    explored.count("limits", "endless or huge files")


@pytest.mark.parametrize("make", [huge, None])
def test_a_history_that_somebody_let_grow_is_cut_down(
    tmp_path: Path, explored: Explored, make: Callable[[Path], None] | None
) -> None:
    path = tmp_path / "var/lib/torcxd/history.jsonl"
    path.parent.mkdir(parents=True)
    if make is None:
        path.write_bytes(b'{"n":0,"because":"' + b"x" * 200 + b'"}\n' + b'{"n":0}\n' * 10_000_000)
    else:
        make(path)
    measured = measure_now(cases.old_history, str(path))
    assert measured.result < 1_000_000
    assert measured.grown < MOST
    explored.count("limits", "endless or huge files")
