"""The runs that are recorded and cut: a bootstrap up to its reboot, and the one after it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.bootstrap.bench import UPDATING, open_bench
from tests.integration.bootstrap.program import ForkServer
from tests.power.cuts import PARTS, Cut, World, find_cuts, listening
from tests.power.disk import Disk
from tests.power.image import read_image
from tests.power.record import Recording, RecordingServer
from tests.power.restart import PATIENT, Restarts, end_of, node_folder
from torcxd.sandbox.sandbox import Plot

# A fail-safe only, for a recording and all of its restarts.
_TOO_LONG = 7200.0


@dataclass(slots=True)
class Journey:
    """A recorded bootstrap, and the node to restart from its cuts.

    :param os_version: what ran when it was recorded.
    :param end: what the node is to be like in the end.
    """

    restarts: Restarts
    cuts: list[Cut]
    moments: int
    os_version: str
    end: dict[str, bytes]

    async def restart(self, cut: Cut, *, to_the_end: bool) -> None:
        """Judge one cut."""
        self.restarts.boot(cut, self.os_version)
        if to_the_end:
            await self.restarts.finish(cut, self.end)


@asynccontextmanager
async def bootstrap(
    parent: Path,
    server: ForkServer,
    label: str,
    *,
    plot: Plot = UPDATING,
    after_reboot: bool = False,
    build: str = "",
    killed: str = "",
) -> AsyncIterator[Journey]:
    """A bootstrap through its reboot.

    :param after_reboot: cut the run after the reboot, not that before.
    :param build: a function of :mod:`tests.power.broken`, to break the recorded program on purpose: such a recording is
        good for judging boots, since nobody knows its end.
    :param killed: one of those that die: the program is killed there, and started again; both runs are recorded.
    """
    recorder = RecordingServer(server)
    recorder.builds = (f"tests.power.broken:{build}",) if build else ()
    async with open_bench(parent, recorder, plot, folder=node_folder(label), seconds=_TOO_LONG) as node:
        box = node.box
        box.flags.append(PATIENT)
        if after_reboot:
            await node.bootstrap()
            await box.reboot()
        disk, os_version = Disk(node.root, PARTS), box.node.os_version
        restarts = Restarts(node, recorder, label)
        with tempfile.TemporaryDirectory(prefix="torcxd-trace-") as folder:
            recording = recorder.recording = Recording(Path(folder))
            with listening(box, recording):
                if killed:
                    recorder.builds = (f"tests.power.broken:{killed}",)
                    assert (await node.bootstrap()).code == -signal.SIGKILL
                    recorder.builds = ()
                await node.bootstrap()
            recorder.recording, recorder.builds = None, ()
            cuts, moments = find_cuts(disk, recording, World())
        assert disk.image() == read_image(node.root, PARTS), "the recording is not what has happened"
        if not build:
            if not after_reboot:
                await box.reboot()
            await node.to_the_end()
        yield Journey(restarts, cuts, moments, os_version, end_of(node))
