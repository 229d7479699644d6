"""Docker's clean-up is scheduled and withdrawn, as a transient unit and as a file, against systemd's stand-in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import NO_SUCH_UNIT, DBusError
from torcxd.dbus.service import ErrorReply
from torcxd.errors import Kind, PermanentError, TransientError
from torcxd.host import docker_cleanup
from torcxd.host.docker_cleanup import UNIT
from torcxd.paths import Layout
from torcxd.sandbox.bus import PrivateBus
from torcxd.sandbox.records import Records
from torcxd.sandbox.systemd1 import Systemd1


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A node with a systemd: its folder for the units of this boot is there."""
    layout = Layout(tmp_path / "root")
    layout.runtime_units.mkdir(parents=True)
    return layout


@pytest.fixture
async def systemd(private: PrivateBus, records: Records, layout: Layout, nursery: trio.Nursery) -> Systemd1:
    service = Systemd1(records, runtime_units=layout.runtime_units)
    await nursery.start(service.serve, private.address)
    return service


@pytest.fixture
def old(systemd: Systemd1) -> Systemd1:
    """The systemd of Container Linux 1632."""
    systemd.version = 235
    return systemd


@pytest.fixture
def file(layout: Layout) -> Path:
    return layout.runtime_units / UNIT


@pytest.mark.accepts("C20", "I6")
async def test_it_is_scheduled_once_and_after_docker(bus: Bus, systemd: Systemd1, layout: Layout, file: Path) -> None:
    await docker_cleanup.schedule(bus, layout)
    await docker_cleanup.schedule(bus, layout)
    (unit,) = systemd.transient.values()
    assert systemd.units == {UNIT: "active"}
    # Stopped in the reverse order of the start: after Docker, and while /var is mounted.
    assert "docker.service" in unit["Before"][1]
    assert unit["RequiresMountsFor"] == ("as", ["/var/lib/docker"])
    ((_, (*_, command), _),) = unit["ExecStop"][1]
    assert command.index("shutdown[.]target") < command.index("rm -rf --one-file-system /var/lib/docker")
    assert not file.exists()


@pytest.mark.accepts("C20", "I6")
async def test_it_can_be_withdrawn(bus: Bus, systemd: Systemd1, layout: Layout) -> None:
    await docker_cleanup.schedule(bus, layout)
    await docker_cleanup.cancel(bus, layout)
    await docker_cleanup.cancel(bus, layout)
    assert systemd.units == {}


async def test_it_cannot_be_withdrawn_from_a_shutdown(bus: Bus, systemd: Systemd1, layout: Layout) -> None:
    systemd.system_state = "stopping"
    await docker_cleanup.cancel(bus, layout)
    await docker_cleanup.schedule(bus, layout)
    with pytest.raises(TransientError, match="shutting down"):
        await docker_cleanup.cancel(bus, layout)
    assert UNIT in systemd.units


async def test_without_systemd_on_the_bus_it_is_transient(bus: Bus, layout: Layout) -> None:
    with pytest.raises(DBusError) as caught:
        await docker_cleanup.schedule(bus, layout)
    assert (caught.value.absent, caught.value.kind) == (True, Kind.TRANSIENT)


@pytest.mark.accepts("C20", "I6")
async def test_an_old_systemd_gets_a_file(
    bus: Bus, old: Systemd1, layout: Layout, file: Path, records: Records
) -> None:
    await docker_cleanup.schedule(bus, layout)
    assert old.units == {UNIT: "active"}
    assert file.read_text() == docker_cleanup.file_text()
    assert [each["member"] for each in records.entries] == ["StartTransientUnit", "Reload", "StartUnit"]


@pytest.mark.accepts("C20", "I6")
@pytest.mark.parametrize("left_behind", ["an older file", None])
async def test_an_old_systemd_gets_the_file_again(
    bus: Bus, old: Systemd1, layout: Layout, file: Path, left_behind: str | None
) -> None:
    if left_behind is None:
        await docker_cleanup.schedule(bus, layout)
    else:
        # Cut off between the file and its start.
        file.write_text(left_behind)
    await docker_cleanup.schedule(bus, layout)
    assert old.units == {UNIT: "active"}
    assert file.read_text() == docker_cleanup.file_text()


@pytest.mark.accepts("C20", "I6")
async def test_the_file_goes_when_it_is_withdrawn(
    bus: Bus, old: Systemd1, layout: Layout, file: Path, records: Records
) -> None:
    await docker_cleanup.schedule(bus, layout)
    await docker_cleanup.cancel(bus, layout)
    assert (old.units, file.exists()) == ({}, False)
    # Stopped while systemd still knows the command that cleans nothing now; only then forgotten.
    assert [each["member"] for each in records.entries][-2:] == ["StopUnit", "Reload"]


async def test_a_file_that_was_never_started_goes_too(bus: Bus, old: Systemd1, layout: Layout, file: Path) -> None:
    file.write_text("cut off")
    await docker_cleanup.cancel(bus, layout)
    assert not file.exists()


async def test_a_container_without_the_folder_is_told_which_mount_to_add(
    bus: Bus, old: Systemd1, layout: Layout
) -> None:
    layout.runtime_units.rmdir()
    with pytest.raises(PermanentError, match="-v /run/systemd:/run/systemd") as caught:
        await docker_cleanup.schedule(bus, layout)
    assert f"{layout.runtime_units / UNIT}: there is no such directory" in str(caught.value)
    assert not layout.runtime_units.exists()
    await docker_cleanup.cancel(bus, layout)


async def test_so_is_one_whose_folder_is_not_systemds(bus: Bus, old: Systemd1, layout: Layout) -> None:
    old.refuse("StartUnit", ErrorReply(NO_SUCH_UNIT, f"Unit {UNIT} not found."))
    with pytest.raises(PermanentError, match="-v /run/systemd:/run/systemd"):
        await docker_cleanup.schedule(bus, layout)


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("StartTransientUnit", "org.freedesktop.DBus.Error.AccessDenied"),
        ("StartUnit", "org.freedesktop.systemd1.TransactionIsDestructive"),
    ],
)
async def test_another_refusal_is_an_error(bus: Bus, old: Systemd1, layout: Layout, member: str, name: str) -> None:
    old.refuse(member, ErrorReply(name, "not now"))
    with pytest.raises(DBusError, match="not now") as caught:
        await docker_cleanup.schedule(bus, layout)
    assert caught.value.name == name
    assert old.units == {}


def test_both_ways_are_one_unit() -> None:
    """Read back as systemd does: the file's command line is, word for word, the one over the bus."""
    properties = docker_cleanup.transient_properties()
    lines = dict(line.split("=", 1) for line in docker_cleanup.file_text().splitlines() if "=" in line)
    assert {each.replace("USec", "Sec") for each in properties} == {*lines, "CollectMode"}
    ((_, argv, _),) = properties["ExecStop"][1]
    assert lines["ExecStop"] == f'{argv[0]} {argv[1]} "{argv[2]}"'
    # Nothing in it that systemd would replace or take apart, in either way.
    assert not set(argv[2]) & set('%$;\\"')
    subprocess.run([*argv[:1], "-n", *argv[1:]], check=True)
