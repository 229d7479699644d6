"""A world: one node with torcxd on it, everybody around it, and a story that happens to them, all on a virtual clock.

The seam is the socket. Above it runs the program's own code, below it a network in memory; the disk is a real folder in
memory. When the story is over all troubles end, and the node has to come to the right end within bounded time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import trio

from tests.simulation.world.deeds import Deeds
from tests.simulation.world.disk import Disk
from tests.simulation.world.ending import finish
from tests.simulation.world.hands import note_what_is_known
from tests.simulation.world.machine import Machine
from tests.simulation.world.making import make_peers
from tests.simulation.world.peers import BUCKET_PORT, NODE, Peers
from tests.simulation.world.program import Programs
from tests.simulation.world.story import LENGTH, Story
from torcxd.daemon.context import Context
from torcxd.errors import ConfigurationError
from torcxd.sandbox.apiserver_objects import Change
from torcxd.sandbox.checker import Answers, Checker
from torcxd.sandbox.node import Node
from torcxd.sandbox.scenarios import no_update, update
from torcxd.settings import Settings, combine

# 2018-01-01, so that the times in what is written look like times.
EPOCH: Final = 1_514_764_800.0
_MANIFESTS: Final = (
    f"http://bucket.example:{BUCKET_PORT}/manifests/{{{{.Board}}}}/{{{{.OSVersion}}}}/torcx_manifest.json"
)
# Lines that are said within a second: a chain of states and its messages are some dozens.
_MOST_AT_ONCE: Final = 1000


@dataclass(slots=True)
class WallClock:
    """The node's time of day."""

    offset: float = 0.0

    def now(self) -> float:
        return EPOCH + trio.current_time() + self.offset


@dataclass(slots=True)
class World:
    """See the module. Make one for each story.

    :param root: an empty folder for the node.
    :ivar trace: all that happened, a line each: equal for equal stories.
    :ivar violations: what must not be.
    :ivar fired: the troubles that somebody ran into, by name; see :mod:`tests.simulation.world.faults`.
    """

    story: Story
    root: Path
    trace: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    clock: WallClock = field(default_factory=WallClock)
    menders: list[Callable[[], None]] = field(default_factory=list)
    settings_good: bool = True
    keyring: bytes = b""
    fired: Counter[str] = field(default_factory=Counter)
    recovery: float = 0.0
    # Nobody on the node can know any more which OS version is pending: that takes an administrator.
    excused: bool = False
    _counted_from: float = 0.0
    _at_once: int = 0
    length: float = 0.0
    peers: Peers = field(init=False)
    disk: Disk = field(init=False)
    programs: Programs = field(init=False)
    checker: Checker = field(init=False)
    machine: Machine = field(init=False)
    nursery: trio.Nursery = field(init=False)

    @property
    def node(self) -> Node:
        return self.peers.node

    # The run.

    async def live(self) -> None:
        """Let the story happen, to its end or to the first violation that ends it."""
        story = self.story
        self.peers = make_peers(
            self.root,
            story,
            self.fired,
            now=self.clock.now,
            reboot_asked=self._reboot_asked,
            operator_reboots=self._operator_reboots,
        )
        self.peers.engine_lost = partial(note_what_is_known, self)
        self.keyring = self.peers.keys[0].public
        self.disk = Disk(self.root, self.fired)
        self.programs = Programs(self.peers.network, self.disk, self._context, self._reload)
        self.checker = Checker(
            self.root,
            signed=self._signed,
            vendored=self.node.vendored,
            pending=lambda: self.node.pending,
            requests=lambda: self.peers.records.entries,
            serving=True,
        )
        self.machine = Machine(self, self.peers)
        self.peers.api.store.listeners += Answers(self.checker).changed, self._answer_changed
        trio.socket.set_custom_socket_factory(self.peers.network)
        trio.socket.set_custom_hostname_resolver(self.peers.network)
        with self.disk.mounted():
            async with trio.open_nursery() as self.nursery:
                await self.nursery.start(self.peers.serve_outside)
                self.offer()
                self.node.boot()
                await self.machine.come_up()
                self.nursery.start_soon(self.machine.take_orders)
                await self._play()
                await finish(self)
                self.length = trio.current_time()
                self.nursery.cancel_scope.cancel()

    async def _play(self) -> None:
        deeds = Deeds(self)
        start = trio.current_time()
        for event in self.story.events:
            await trio.sleep_until(start + event.at)
            self.say(f"-- {event.what} {event.how}")
            await deeds.do(event)
            self.look()
        await trio.sleep_until(start + LENGTH)

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        now = trio.current_time()
        if now > self._counted_from + 1:
            self._counted_from, self._at_once = now, 0
        self._at_once += 1
        self.trace.append(f"{now:10.3f}  {text}")
        if self._at_once == _MOST_AT_ONCE:
            self.violations.append(f"LOOP: {_MOST_AT_ONCE} messages in a second")
            self.nursery.cancel_scope.cancel()

    def look(self, *, quiet: bool = False) -> None:
        """Let the checker look at what is on the disk.

        :param quiet: nothing has happened for long: what follows an event within a poll's time must hold, too.
        """
        known = len(self.checker.violations)
        found = self.checker.check()
        if not quiet:
            found[known:] = [each for each in found[known:] if not each.startswith(("I1", "I4"))]

    # Of use to the machine, and to those around it.

    async def _reboot_asked(self) -> None:
        await self.machine.asked()

    async def _operator_reboots(self) -> None:
        await self.machine.operator_reboots()

    def _answer_changed(self, change: Change) -> None:
        if change.key.resource == "nodes":
            self.machine.answer_changed(change.object["metadata"].get("annotations", {}))

    def offer(self) -> None:
        """What update_engine finds when it is asked to look."""
        offered = self.story.offered
        newer = offered and offered != self.node.os_version
        self.peers.update_engine.scenario = update(offered, 60) if newer else no_update("", 5)

    def _signed(self) -> list[tuple[str, bytes]]:
        trusted = {each.fingerprint for each in self.peers.keys}
        return [(version, data) for by, version, data in sorted(self.peers.bucket.signed) if by in trusted]

    # What the program gets.

    def _settings(self) -> Settings:
        return combine({"torcx_manifest_url": _MANIFESTS, **self.story.settings})

    def _context(self) -> Context:
        return Context(self._settings(), self.node.layout, {"NODE": NODE}, clock=self.clock)

    def _reload(self) -> Settings:
        if not self.settings_good:
            raise ConfigurationError("there is no setting upgrade_oss")
        return self._settings()
