"""The removal of Docker's data on the way into a boot with another Docker version.

The data of one Docker version is no good to another, and can be removed only while no Docker runs. So it is removed
early in the boot, before Docker starts, by a unit of systemd's. A shutdown would be too early to know, and not every
node comes to one: after a power cut, a reset or a crash the next boot has the other Docker as well.

Which boot that is, nobody knows beforehand: it may come at any time once the profile pins another Docker, and when it
comes the profile may pin the former one again. So what is kept on the disk is not a date but a condition: a list of the
Docker references to which the data is of no use. The unit compares it with what torcx has applied in this boot.

1. Before the profile pins another Docker, the unit is enabled, and then the reference is put on the list: durably, in
   this order, so that what is on the list is looked after in each boot that follows.
2. In the boot that applies it, the data is removed, and that is made durable; then the list is removed, and that is
   made durable; then Docker starts. A power cut in between repeats it, and a list that is gone harms no new data.

The unit's file lies where torcxd may write also in a container, and where systemd, which has to read it early in the
boot, always finds it. That systemd links to it from its own folders is asked of it over the bus. It is a script of the
node's own tools, since torcxd may be in a container, which needs a Docker that runs.
"""

from __future__ import annotations

import json
import logging
from typing import Final

import trio

from torcxd.dbus.bus import Bus
from torcxd.dbus.errors import NO_SUCH_UNIT, DBusError
from torcxd.dbus.systemd1 import Systemd1
from torcxd.errors import PermanentError
from torcxd.host import files
from torcxd.paths import Layout

log = logging.getLogger(__name__)

# The node as its systemd sees it, which runs the unit there wherever torcxd sees the node's files.
_NODE: Final = Layout()
UNIT: Final = _NODE.docker_cleanup_unit.name
DOCKER_DATA: Final = str(_NODE.docker_data)

# A line for each Docker version that was pinned and not booted into: one, as a rule. Far more than anybody ever pins.
_LARGEST: Final = 64 << 10


def unit_text(layout: Layout = _NODE) -> str:
    """The unit's file, which speaks of paths as *layout* has them.

    torcx writes the applied profile as one line or indented, so blanks do not count. Whatever cannot be removed, such
    as what is mounted below the directory, stays, and is told in the journal: there is one attempt for each change of
    Docker, since the next boot's data is the new Docker's own. The directory itself may be a mount, or a link, and
    stays.

    Docker's socket comes before it, as all of ``basic.target`` does: a client waits there until Docker has started.
    """
    data, due = layout.docker_data, layout.docker_cleanup_due
    return f"""\
# Written by torcxd, which enables it before Docker changes.
[Unit]
Description=Remove the data of another Docker version
ConditionPathExists={due}
RequiresMountsFor={data} {due}
Before=docker.service containerd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "\\
    tr -d '[:space:]' <{layout.sealed_profile} | grep -qFf {due} || exit 0; \\
    test ! -d {data} || find {data}/ -xdev -mindepth 1 -delete; \\
    sync; rm {due}; sync"

[Install]
WantedBy=multi-user.target docker.service containerd.service
"""


async def schedule(bus: Bus, layout: Layout, reference: str) -> None:
    """Have Docker's data removed in the first boot that applies ``docker:<reference>``. Again is fine.

    When this returns, the profile may pin that Docker: whatever boot comes next, and however, is covered.

    :raises PermanentError: systemd does not see the unit's file: its folder is not mounted into the container.
    :raises TorcxdError: a file cannot be read or written, or systemd refuses or is absent (transient).

    Cancelled half-way it is as if it had not begun.
    """
    path = layout.docker_cleanup_unit
    text = unit_text().encode()
    due = _due(layout)
    wanted = f'"name":"docker","reference":{json.dumps(reference)}'
    if wanted in due and path.exists() and files.read_bytes(path, limit=_LARGEST) == text:
        return
    await trio.to_thread.run_sync(files.write_atomic, path, text)
    try:
        await Systemd1(bus).enable_unit_file(path)
    except DBusError as error:
        if error.name == NO_SUCH_UNIT:
            raise PermanentError(
                f"systemd does not see {path}, so {DOCKER_DATA} could not be cleaned for Docker {reference}",
                hint=f"in a container, add the mount -v {path.parent}:{path.parent}",
            ) from error
        raise
    # systemd does not make its links durable, and they may lie where a container does not see them.
    await trio.to_thread.run_sync(files.sync_everything)
    lines = [*(each for each in due if each != wanted), wanted]
    await trio.to_thread.run_sync(files.write_atomic, layout.docker_cleanup_due, "\n".join([*lines, ""]).encode())
    log.info("Docker changes to %s: %s is cleaned in the boot that brings it.", reference, DOCKER_DATA)


def _due(layout: Layout) -> list[str]:
    """The lines of the list. An empty one would stand for every Docker, and is none."""
    path = layout.docker_cleanup_due
    if not path.exists():
        return []
    return [each for each in files.read_bytes(path, limit=_LARGEST).decode(errors="replace").splitlines() if each]
