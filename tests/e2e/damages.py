"""What breaks an invariant on the disk of a machine that is off: the judge of the end-to-end tests has to find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.machine import Machine
from tests.e2e.tectonic import KUBELET_ENV, NEW_OS, OLD_OS, Site


def _torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _other_os(data: bytes) -> bytes:
    return data.replace(OLD_OS.encode(), NEW_OS.encode())


# The invariant, where it is broken, and how. A bootstrapped node with an image in its store has all of these files.
_DAMAGES: Final[tuple[tuple[str, str, Callable[[bytes], bytes]], ...]] = (
    ("I1", KUBELET_ENV, _torn),
    ("I1", "/usr/lib/os-release", _other_os),
    ("I2", "/var/lib/torcx/store/*/*.torcx.tgz", _torn),
    ("I8", "/var/lib/torcxd/state.json", _torn),
    ("N2", "/etc/torcx/profiles/tectonic.json", _torn),
)


def assert_each_is_found(machine: Machine, site: Site) -> None:
    """Do each damage to the machine's disk, have it judged, and undo it."""
    for invariant, where, damage in _DAMAGES:
        (path,) = machine.upper.glob(where.removeprefix("/"))
        with _changed(path, damage):
            found = site.judge()
        assert invariant in {each[:2] for each in found}, f"{where} is damaged, and found is {found}"


@contextmanager
def _changed(path: Path, damage: Callable[[bytes], bytes]) -> Iterator[None]:
    before = path.read_bytes()
    after = damage(before)
    assert after != before
    path.write_bytes(after)
    try:
        yield
    finally:
        path.write_bytes(before)
