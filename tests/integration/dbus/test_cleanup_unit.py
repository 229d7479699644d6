"""Docker's clean-up is scheduled against systemd's stand-in; and what its unit runs in the boot, with a real shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import trio

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import NO_SUCH_UNIT, DBusError
from torcxd.dbus.service import ErrorReply
from torcxd.errors import Kind, PermanentError
from torcxd.host import docker_cleanup
from torcxd.host.docker_cleanup import UNIT
from torcxd.paths import Layout
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.records import Records
from torcxd.sandbox.systemd1 import Systemd1


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    return tmp_path / "units"


@pytest.fixture
async def systemd(private: PrivateBus, records: Records, units: Path, nursery: trio.Nursery) -> Systemd1:
    service = Systemd1(records, units=units)
    await nursery.start(service.serve, private.address)
    return service


def due(layout: Layout) -> list[str]:
    return layout.docker_cleanup_due.read_text().splitlines()


@pytest.mark.accepts("C20", "I6")
async def test_its_unit_is_enabled_before_it_is_due(
    bus: Bus, systemd: Systemd1, layout: Layout, units: Path, records: Records
) -> None:
    systemd.refuse("EnableUnitFiles", ErrorReply("System.Error.EROFS", "Read-only file system"))
    with pytest.raises(DBusError, match="Read-only"):
        await docker_cleanup.schedule(bus, layout, "17.03")
    assert not layout.docker_cleanup_due.exists()
    systemd.heal("EnableUnitFiles")
    await docker_cleanup.schedule(bus, layout, "17.03")
    assert due(layout) == ['"name":"docker","reference":"17.03"']
    for folder in (".", "multi-user.target.wants", "docker.service.wants", "containerd.service.wants"):
        assert (units / folder / UNIT).resolve() == layout.docker_cleanup_unit
    # And once only.
    asked = len(records.entries)
    await docker_cleanup.schedule(bus, layout, "17.03")
    assert len(records.entries) == asked


@pytest.mark.accepts("C20", "I6")
async def test_what_was_scheduled_before_stays_scheduled(bus: Bus, systemd: Systemd1, layout: Layout) -> None:
    # The profile still pins the first one while the second is scheduled.
    for each in ("17.03", "17.09", "17.03"):
        await docker_cleanup.schedule(bus, layout, each)
    assert due(layout) == ['"name":"docker","reference":"17.03"', '"name":"docker","reference":"17.09"']


async def test_another_version_of_the_unit_is_replaced(bus: Bus, systemd: Systemd1, layout: Layout) -> None:
    await docker_cleanup.schedule(bus, layout, "17.03")
    layout.docker_cleanup_unit.write_text("[Service]\nExecStart=/bin/true\n")
    await docker_cleanup.schedule(bus, layout, "17.03")
    assert layout.docker_cleanup_unit.read_text() == docker_cleanup.unit_text()
    assert len(due(layout)) == 1


async def test_a_container_without_the_folder_is_told_which_mount_to_add(
    bus: Bus, systemd: Systemd1, layout: Layout
) -> None:
    systemd.refuse("EnableUnitFiles", ErrorReply(NO_SUCH_UNIT, f"Unit file {UNIT} does not exist."))
    with pytest.raises(PermanentError, match=f"-v {layout.docker_cleanup_unit.parent}:"):
        await docker_cleanup.schedule(bus, layout, "17.03")
    assert not layout.docker_cleanup_due.exists()


async def test_without_systemd_on_the_bus_it_is_transient(bus: Bus, layout: Layout) -> None:
    with pytest.raises(DBusError) as caught:
        await docker_cleanup.schedule(bus, layout, "17.03")
    assert (caught.value.absent, caught.value.kind) == (True, Kind.TRANSIENT)


def script(layout: Layout) -> str:
    """What the unit has the shell run, as systemd reads it from the file."""
    # systemd.syntax(7): a backslash at the end of a line joins the next one; the quotes are one argument's.
    text = docker_cleanup.unit_text(layout).replace("\\\n", " ")
    (found,) = re.findall(r'^ExecStart=/bin/sh -c "([^"$%]*)"$', text, re.MULTILINE)
    assert isinstance(found, str)
    return found


class Boot:
    """The unit's script, as systemd reads it from its file, on a node in a folder."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.layer = self._write(layout.docker_data / "overlay2/layer", "data")

    def _write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, sealed: str | None, *lines: str) -> None:
        """Boot with this seal and with these lines on the list."""
        self._write(self.layout.docker_cleanup_due, "".join(f"{each}\n" for each in lines))
        if sealed is not None:
            self._write(self.layout.sealed_profile, sealed)
        subprocess.run(["/bin/sh", "-c", script(self.layout)], check=True)

    @property
    def cleaned(self) -> bool:
        gone = not self.layer.exists()
        assert gone == (not self.layout.docker_cleanup_due.exists())
        return gone


DUE = '"name":"docker","reference":"17.03"'
SEALED = '{"kind":"profile-manifest-v0","value":{"images":[{"name":"docker","reference":"REF"}]}}'


@pytest.fixture
def boot(layout: Layout) -> Boot:
    return Boot(layout)


@pytest.mark.accepts("C20", "I6")
@pytest.mark.parametrize("blank", ["", " ", "\n    "])
def test_the_boot_that_applies_the_other_docker_cleans(boot: Boot, blank: str) -> None:
    sealed = re.sub(r"([{\[:,])", rf"\1{blank}", SEALED.replace("REF", "17.03"))
    boot.run(sealed, '"name":"docker","reference":"17.09"', DUE)
    assert boot.cleaned
    # It may be a mount.
    assert boot.layout.docker_data.is_dir()


@pytest.mark.accepts("C20", "I6")
@pytest.mark.parametrize("reference", ["1.12", "17.03.1", "7.03", "17x03", "com.coreos.cl"])
def test_no_other_boot_does(boot: Boot, reference: str) -> None:
    boot.run(SEALED.replace("REF", reference), DUE)
    assert not boot.cleaned


def test_nor_does_one_in_which_torcx_applied_nothing(boot: Boot) -> None:
    boot.run(None, DUE)
    assert not boot.cleaned


@pytest.mark.accepts("C20")
def test_a_linked_directory_is_cleaned_where_it_is(boot: Boot, tmp_path: Path) -> None:
    elsewhere = boot.layout.docker_data.rename(tmp_path / "big-disk")
    boot.layout.docker_data.symlink_to(elsewhere)
    boot.run(SEALED.replace("REF", "17.03"), DUE)
    assert boot.cleaned
    assert list(elsewhere.iterdir()) == []


def test_no_data_is_clean_already(boot: Boot) -> None:
    subprocess.run(["rm", "-r", boot.layout.docker_data], check=True)
    boot.run(SEALED.replace("REF", "17.03"), DUE)
    assert boot.cleaned
