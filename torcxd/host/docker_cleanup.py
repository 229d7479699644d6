"""The clean-up of Docker's data directory across a reboot, when the Docker version changes.

The data of one Docker version is no good to another, and can be removed only while no Docker runs: that is after
docker.service has stopped in the shutdown, and before /var is unmounted. A unit does it that does nothing when it is
started and cleans when it is stopped. systemd stops units in the reverse of their starting order, so a unit that is
ordered *before* docker.service is stopped after it; ordered after the mount of the directory, it is stopped while that
is still there.

The unit is a transient one: the container that torcxd may run in shares the host's bus but not its /run/systemd, where
a unit file would have to be put. systemd keeps it over its own reload. Stopping it by hand cleans nothing: the command
asks first whether the system is going down.
"""

from __future__ import annotations

from typing import Final

import trio

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import NO_SUCH_UNIT, UNIT_EXISTS, DBusError
from torcxd.dbus.systemd1 import Systemd1, Variant
from torcxd.errors import TransientError

UNIT: Final = "torcx-docker-cleanup.service"
DOCKER_DATA: Final = "/var/lib/docker"

# systemctl says "stopping" from the moment a shutdown is queued; its exit status is not 0 then, so its output decides.
# Mounts inside the directory, which a container that outlives its Docker may leave, are not descended into.
# No semicolon: systemd 252 writes it escaped into the unit's file and does not read it back so after a reload.
_CLEAN: Final = (
    "! /usr/bin/systemctl is-system-running | /usr/bin/grep -qx stopping"
    f" || exec /usr/bin/rm -rf --one-file-system {DOCKER_DATA}"
)

# Microseconds for the removal. A hundred gigabytes of small files take minutes on a slow disk; reboot.target itself
# forces the reboot after thirty.
_STOP_TIMEOUT: Final = 20 * 60 * 1_000_000

# Seconds between looks at the unit's state, and how often to look. Its start runs /usr/bin/true once, in
# milliseconds; a systemd that is busy with a whole boot gets five seconds.
_LOOK_INTERVAL: Final = 0.1
_LOOKS: Final = 50


def properties() -> dict[str, Variant]:
    """The unit, as StartTransientUnit takes it. Needs systemd 236 or later, for CollectMode=."""
    return {
        "Description": ("s", f"Clean {DOCKER_DATA} for another Docker version"),
        "Type": ("s", "oneshot"),
        "RemainAfterExit": ("b", True),
        "ExecStart": ("a(sasb)", [("/usr/bin/true", ["/usr/bin/true"], False)]),
        "ExecStop": ("a(sasb)", [("/bin/sh", ["/bin/sh", "-c", _CLEAN], False)]),
        "TimeoutStopUSec": ("t", _STOP_TIMEOUT),
        # The addon brings containerd.service in some versions; it writes below the same directory.
        "Before": ("as", ["docker.service", "docker.socket", "containerd.service"]),
        "RequiresMountsFor": ("as", [DOCKER_DATA]),
        # A failed one must not be in the way of the next attempt.
        "CollectMode": ("s", "inactive-or-failed"),
    }


async def schedule(bus: Bus) -> None:
    """Have Docker's data removed in the next shutdown. Again is fine.

    Active when this returns: a reboot that is asked for before that would drop the queued start, and the clean-up.

    :raises TorcxdError: systemd refused, is absent, or did not start the unit in time (transient).

    Cancelled half-way the unit may exist already; schedule or cancel it again.
    """
    systemd = Systemd1(bus)
    try:
        await systemd.start_transient_unit(UNIT, "fail", properties())
    except DBusError as error:
        if error.name != UNIT_EXISTS:
            raise
    await _await_state(systemd, "active")


async def cancel(bus: Bus) -> None:
    """Withdraw the clean-up without cleaning. None scheduled is fine.

    :raises TorcxdError: systemd is absent or did not stop the unit in time, or the system is going down already
        (transient): then the clean-up can no longer be held up.
    """
    systemd = Systemd1(bus)
    if await systemd.unit_active_state(UNIT) == "inactive":
        return
    if await systemd.system_state() == "stopping":
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
