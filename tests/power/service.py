"""A node in service whose power is cut: the daemon, or the hook, prepares an OS update and answers the operator."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import trio

from tests.integration.bootstrap.program import ForkServer
from tests.integration.daemon.bench import MAPPINGS, PLOT, Service, open_service
from tests.power.cuts import PARTS, PROMISED, Cut, World, find_cuts, listening
from tests.power.disk import Disk
from tests.power.image import read_image
from tests.power.record import Recording, RecordingServer
from tests.power.restart import PATIENT, Restarts, node_folder
from torcxd.daemon.statefile import read_recorded
from torcxd.sandbox.sandbox import OLD_OS
from torcxd.sandbox.update_engine import Scenario

# A fail-safe only, for a recording and all of its restarts; and for one node that never comes to rest.
_TOO_LONG: Final = 7200.0
_STUCK: Final = 120.0
_LOOK: Final = 0.005
# Two boots bring everything; a third is one to spare.
_MOST_BOOTS: Final = 3


@dataclass(slots=True)
class Attendance:
    """A recorded run of the daemon or of the hook, and the node to restart from its cuts."""

    node: Service
    restarts: Restarts
    cuts: list[Cut]
    moments: int

    async def restart(self, cut: Cut, *, to_the_end: bool) -> None:
        """Judge one cut."""
        self.restarts.boot(cut, OLD_OS)
        if to_the_end:
            await self._finish(cut)

    async def _finish(self, cut: Cut) -> None:
        """The daemon runs, and the operator reboots the node whenever it is prepared, until nothing is left to do."""
        self.restarts.counts["restarts to the end"] += 1
        await self.restarts.begin_boot(Scenario())
        for _ in range(_MOST_BOOTS):
            with trio.move_on_after(_STUCK) as waiting:
                async with self.node.daemon() as daemon:
                    state = await self._settled()
            if waiting.cancelled_caught:
                self.restarts.violate(cut, f"the daemon does not come to rest: {daemon.stderr.splitlines()[-3:]}")
                return
            for each in self.node.box.checker.check():
                self.restarts.violate(cut, f"in state {state}: {each}")
            if state == "done":
                break
            await self.node.box.reboot()
        sealed = self.node.box.checker.disk.sealed_docker()
        if (state, sealed) != ("done", self.restarts.docker):
            self.restarts.violate(cut, f"the end is {state} with Docker {sealed}")
        self.node.processes.clear()

    async def _settled(self) -> str:
        """Wait until the daemon has nothing left to do in this boot but to wait for a reboot, if that."""
        layout = self.node.box.node.layout
        boot_id = layout.boot_id.read_text().strip()
        while True:
            recorded = read_recorded(layout)
            if recorded and recorded.boot_id == boot_id and recorded.state in ("done", "reboot-pending"):
                return recorded.state
            await trio.sleep(_LOOK)


@asynccontextmanager
async def update(
    parent: Path, server: ForkServer, label: str, *, docker: str = "17.03", hook: bool = False, build: str = ""
) -> AsyncIterator[Attendance]:
    """An OS update from its announcement to the answer to the operator.

    :param docker: what the cluster wants; 17.03 is what runs.
    :param hook: the hook prepares the node, not the daemon.
    :param build: a function of :mod:`tests.power.broken`, to break the recorded program on purpose.
    """
    recorder = RecordingServer(server)
    recorder.builds = (f"tests.power.broken:{build}",) if build else ()
    async with open_service(parent / node_folder(label), recorder, PLOT, seconds=_TOO_LONG) as node:
        node.box.flags.append(PATIENT)
        node.set_mappings(MAPPINGS.format(f'["{docker}"]'))
        disk = Disk(node.root, PARTS)
        restarts = Restarts(node, recorder, label, docker)
        with tempfile.TemporaryDirectory(prefix="torcxd-trace-") as folder:
            recording = recorder.recording = Recording(Path(folder))
            with listening(node.box, recording), _listening_to_answers(node, recording):
                if hook:
                    await node.install()
                    node.ask()
                    async with node.hook():
                        pass
                else:
                    async with node.daemon() as daemon:
                        await node.announce()
                        await daemon.says("→ staged")
                        await node.install()
                        await daemon.says("→ reboot-pending")
                        node.ask()
                        await node.until_answered()
            recorder.recording, recorder.builds = None, ()
            cuts, moments = find_cuts(disk, recording, World())
        assert node.answered
        assert disk.image() == read_image(node.root, PARTS), "the recording is not what has happened"
        node.withdraw()
        yield Attendance(node, restarts, cuts, moments)


@contextmanager
def _listening_to_answers(node: Service, recording: Recording) -> Iterator[None]:
    """Note for the length of the block when the operator is told that the node may reboot."""
    put = node.box.api.store.put

    def note(*arguments: Any) -> Any:
        result = put(*arguments)
        if node.answered:
            recording.note(PROMISED)
        return result

    with mock.patch.object(node.box.api.store, "put", note):
        yield
