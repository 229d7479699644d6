"""Restarts a node from the disk image of a power cut, judges it as it comes up, and takes it to the end of its way.

There was no shutdown: the boot is a new one, /run is empty, and what was to happen on the way down has not happened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.integration.bootstrap.bench import Bench
from tests.power.alike import Watch
from tests.power.cuts import PARTS, Cut
from tests.power.image import Image, write_image
from tests.power.record import RecordingServer
from torcxd.sandbox.checker import Checker
from torcxd.sandbox.sandbox import NEW_OS, WANTED_DOCKER, Sandbox
from torcxd.sandbox.update_engine import Scenario, no_update

# What a bootstrap that nobody disturbs leaves, and any other has to leave as well: the rest is the way that it took.
_END: Final = re.compile(
    r"etc/kubernetes/kubelet\.env|etc/torcx/(next-profile|profiles/.*)|var/lib/docker/.*|run/torcx/.*"
    r"|var/lib/torcx/store/(?P<os>[^/]+)/.*"
)
# The API server always answers here, and a loaded machine must not look like a cluster without one.
PATIENT: Final = "--api-retry-for=60s"
# Left by nobody: what a killed writer had begun.
_ABANDONED: Final = re.compile(r".*\.tmp|.*\.new|.*\.part|.*\.validator|importing-.*|signature-.*")


@dataclass(slots=True)
class Restarts:
    """A node that is put back to its cuts, one after the other.

    :param node: as it was when the recording began, with the program that is judged; its bench judges it no more.
    :param server: starts its programs.
    :param docker: the Docker that somebody who was told so may expect from the next boot.
    :ivar written: is called with each image that has just been put in place.
    :ivar violations: what was found, each with the cut that repeats it.
    """

    node: Bench
    server: RecordingServer
    label: str
    docker: str = WANTED_DOCKER
    written: Callable[[Path, Image], None] = field(default=lambda root, image: None)
    before: Checker = field(init=False)
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        checker = self.node.box.checker
        self.node.judged = False
        self.before = checker.fork()

    @property
    def box(self) -> Sandbox:
        return self.node.box

    def watched_by(self, watch: Watch) -> None:
        """Have *watch* see what each restart looks into."""
        self.server.preparations = (watch.preparation,)
        self.written = watch.begin

    def boot(self, cut: Cut, os_version: str) -> None:
        """Put the node back, cut its power, bring it up, and judge what there is before anything of the program runs.

        :param os_version: what ran when the power was cut.
        """
        self.counts["disk images"] += 1
        node = self.box.node
        node.os_version, node.pending = os_version, NEW_OS if cut.world.installed else None
        node._install_os()
        write_image(self.box.root, cut.image, PARTS)
        self.written(self.box.root, cut.image)
        self.box.records.entries.clear()
        self.box.checker = self.before.fork()
        problem = node.boot()
        self.box.checker.booted()
        if problem and (cut.world.promised or not cut.world.installed):
            self.violate(cut, f"I3: the boot applied nothing: {problem}")
        sealed = self.box.checker.disk.sealed_docker()
        if cut.world.promised and sealed != self.docker:
            self.violate(cut, f"I3: the boot that was asked for brought Docker {sealed}")
        for each in self.box.checker.check():
            self.violate(cut, f"after the boot: {each}")

    async def begin_boot(self, scenario: Scenario) -> None:
        """The node's peers come up anew, and update_engine plays *scenario*."""
        await self.box.end_peers()
        self.box.update_engine.scenario = scenario
        self.box._installed.store(False)
        await self.box.nursery.start(self.box.serve_peers)

    async def finish(self, cut: Cut, wanted: Mapping[str, bytes]) -> None:
        """Run the program, from where the boot has left the node, until it has done its work; then judge the end."""
        self.counts["restarts to the end"] += 1
        box = self.box
        await self.begin_boot(no_update("", 0) if box.node.os_version == NEW_OS else box.plot.scenario())
        process = await self.node.to_the_end()
        if process.code != 0:
            self.violate(cut, f"the program ends with {process.code}: {process.stderr.splitlines()[-2:]}")
            return
        for each in self.box.checker.check():
            self.violate(cut, f"at the end: {each}")
        found = end_of(self.node)
        # With kubelet.env there, the bootstrap has nothing to do, and leaves its state's litter to the daemon.
        through = "etc/kubernetes/kubelet.env" in cut.image
        for name in sorted({*wanted, *found}):
            if through and Path(name).name.startswith(".state.json."):
                continue
            if wanted.get(name) != found.get(name):
                self.violate(cut, f"the end is another one: {name} is {_compared(wanted, found, name)}")
        self.node.processes.clear()

    def violate(self, cut: Cut, what: str) -> None:
        """Note what is wrong."""
        self.violations.append(f"{self.label}, after {cut.after}, lost: {cut.lost}: {what}")


def end_of(node: Bench) -> dict[str, bytes]:
    """What is to be the same in the end, whatever happened on the way; and what was left about."""
    found: dict[str, bytes] = {}
    for path in sorted(node.root.rglob("*")):
        name = str(path.relative_to(node.root))
        match = _END.fullmatch(name)
        kept = match is not None and match["os"] in (None, node.box.node.os_version)
        if path.is_file() and (kept or _ABANDONED.fullmatch(path.name)):
            found[name] = path.read_bytes()
    return found


def _compared(wanted: Mapping[str, bytes], found: Mapping[str, bytes], name: str) -> str:
    if name not in found:
        return "missing"
    return "another" if name in wanted else "left about"


def node_folder(label: str) -> str:
    """The name of a folder for the node of a run."""
    return re.sub(r"\W+", "-", label)
