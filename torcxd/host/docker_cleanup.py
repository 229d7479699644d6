"""The clean-up of Docker's data directory across a reboot, when the Docker version changes.

The data of one Docker version is no good to another, and can be removed only while no Docker runs: that is after
docker.service has stopped in the shutdown, and before /var is unmounted. A unit does it that does nothing when it is
started and cleans when it is stopped. systemd stops units in the reverse of their starting order, so a unit that is
ordered *before* docker.service is stopped after it; ordered after the mount of the directory, it is stopped while that
is still there. Stopping it by hand cleans nothing: the command asks first whether the system is going down.

The unit is a transient one where systemd can do that: the container that torcxd may run in shares the host's bus but
not its /run/systemd. Before 236, systemd took no ExecStop= for a transient unit; Container Linux had such a one up to
1632. There the same unit is written as a file into /run/systemd/system, which has to be mounted into a container.
Either way it survives systemd's reload, and is gone after the reboot.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import trio

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import INVALID_ARGS, NO_SUCH_UNIT, PROPERTY_READ_ONLY, UNIT_EXISTS, DBusError
from torcxd.dbus.systemd1 import Systemd1, Variant
from torcxd.errors import PermanentError, TransientError
from torcxd.host import files, unit
from torcxd.host.unit import Command, Directive, Flag, Microseconds, Text, Words
from torcxd.paths import Layout

log = logging.getLogger(__name__)

UNIT: Final = "torcx-docker-cleanup.service"
DOCKER_DATA: Final = "/var/lib/docker"

# The system goes down from the moment the start of shutdown.target is queued, and that start is queued until the last
# service has stopped. `is-system-running` does not tell it: before systemd 246 it says "starting" in a shutdown that
# was asked for before the boot was complete, which is when a node is bootstrapped.
# Mounts inside the directory, which a container that outlives its Docker may leave, are not descended into.
_CLEAN: Final = (
    "! /usr/bin/systemctl list-jobs --full --no-legend --no-pager | /usr/bin/grep -Eq ' shutdown[.]target +start '"
    f" || exec /usr/bin/rm -rf --one-file-system {DOCKER_DATA}"
)

# Microseconds for the removal. A hundred gigabytes of small files take minutes on a slow disk; reboot.target itself
# forces the reboot after thirty.
_STOP_TIMEOUT: Final = 20 * 60 * 1_000_000

_DIRECTIVES: Final = (
    Directive("Unit", "Description", Text(f"Clean {DOCKER_DATA} for another Docker version")),
    # The addon brings containerd.service in some versions; it writes below the same directory.
    Directive("Unit", "Before", Words(("docker.service", "docker.socket", "containerd.service"))),
    Directive("Unit", "RequiresMountsFor", Words((DOCKER_DATA,))),
    Directive("Service", "Type", Text("oneshot")),
    Directive("Service", "RemainAfterExit", Flag(True)),
    Directive("Service", "ExecStart", Command(("/usr/bin/true",))),
    Directive("Service", "ExecStop", Command(("/bin/sh", "-c", _CLEAN))),
    Directive("Service", "TimeoutStopSec", Microseconds(_STOP_TIMEOUT)),
)

# systemd's answers to a property that its version does not let a transient unit have.
_CANNOT_SET: Final = frozenset({PROPERTY_READ_ONLY, INVALID_ARGS})

# Seconds between looks at the unit's state, and how often to look. Its start runs /usr/bin/true once, in
# milliseconds; a systemd that is busy with a whole boot gets five seconds.
_LOOK_INTERVAL: Final = 0.1
_LOOKS: Final = 50


def transient_properties() -> dict[str, Variant]:
    """The unit as StartTransientUnit takes it, from systemd 236 on."""
    # A failed transient unit that stays loaded would be in the way of the next; one with a file is just started again.
    return {**unit.properties(_DIRECTIVES), "CollectMode": ("s", "inactive-or-failed")}


def file_text() -> str:
    """The unit as a file, for any systemd."""
    return unit.file_text(_DIRECTIVES)


async def schedule(bus: Bus, layout: Layout) -> None:
    """Have Docker's data removed in the next shutdown. Again is fine.

    Active when this returns: a reboot that is asked for before that would drop the queued start, and the clean-up.

    :raises PermanentError: systemd needs a file, and its directory is not there: it is not mounted into the container.
    :raises TorcxdError: the file cannot be written; or systemd refused, is absent, or did not start the unit in time
        (transient).

    Cancelled half-way the unit may exist already; schedule or cancel it again.
    """
    systemd = Systemd1(bus)
    try:
        await systemd.start_transient_unit(UNIT, "fail", transient_properties())
    except DBusError as error:
        if error.name in _CANNOT_SET:
            log.info("systemd cannot have %s as a transient unit; it gets a file. (%s)", UNIT, error.message)
            await _start_from_file(systemd, layout)
        elif error.name != UNIT_EXISTS:
            raise
        elif _path(layout).exists():
            # Perhaps cut off before its start, or by a torcxd that wrote it otherwise.
            await _start_from_file(systemd, layout)
    await _await_state(systemd, "active")


async def cancel(bus: Bus, layout: Layout) -> None:
    """Withdraw the clean-up without cleaning. None scheduled is fine.

    :raises TorcxdError: systemd is absent or did not stop the unit in time, or the system is going down already
        (transient): then the clean-up can no longer be held up. Or the unit's file cannot be removed.
    """
    systemd = Systemd1(bus)
    if await systemd.unit_active_state(UNIT) != "inactive":
        await _stop(systemd)
    if _path(layout).exists():
        await trio.to_thread.run_sync(files.remove, _path(layout))
        await systemd.reload()


def _path(layout: Layout) -> Path:
    return layout.runtime_units / UNIT


async def _start_from_file(systemd: Systemd1, layout: Layout) -> None:
    path = _path(layout)
    # Where systemd runs the directory exists. One made here would be the container's own, and nobody would read it.
    if not path.parent.is_dir():
        raise _not_mounted(f"cannot write {path}: there is no such directory")
    await trio.to_thread.run_sync(files.write_atomic, path, file_text().encode())
    await systemd.reload()
    try:
        await systemd.start_unit(UNIT, "fail")
    except DBusError as error:
        if error.name == NO_SUCH_UNIT:
            raise _not_mounted(f"systemd does not see {path}") from error
        raise


def _not_mounted(what: str) -> PermanentError:
    return PermanentError(
        f"{what}, and this systemd, older than 236, takes the clean-up of {DOCKER_DATA} as a unit file only",
        hint="in a container, add the mount -v /run/systemd:/run/systemd",
    )


async def _stop(systemd: Systemd1) -> None:
    if await systemd.going_down():
        raise TransientError(
            f"cannot withdraw {UNIT}: the system is shutting down", hint="Docker's data is removed in this shutdown"
        )
    try:
        # "fail": never in place of the stop that a shutdown has queued meanwhile.
        await systemd.stop_unit(UNIT, "fail")
    except DBusError as error:
        if error.name != NO_SUCH_UNIT:
            raise
    await _await_state(systemd, "inactive")


async def _await_state(systemd: Systemd1, wanted: str) -> None:
    state = ""
    for _ in range(_LOOKS):
        state = await systemd.unit_active_state(UNIT)
        if state == wanted:
            return
        await trio.sleep(_LOOK_INTERVAL)
    raise TransientError(
        f"{UNIT} is {state} instead of {wanted} after {_LOOKS * _LOOK_INTERVAL:g} s",
        hint=f"see `systemctl status {UNIT}`",
    )
