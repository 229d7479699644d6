"""What can happen between a node and its peers: services that restart or hang, messages that do not arrive as sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from tests.simulation.world.pipe import USUAL_LATENCY
from torcxd.dbus.update_engine import Operation
from torcxd.sandbox.scenarios import Scenario, Step, failure, update
from torcxd.sandbox.service import StandIn

if TYPE_CHECKING:
    from tests.simulation.world.world import World

# Seconds that a server is away while it restarts.
_RESTART: Final = 3.0


class Troubles:
    """Carries out what happens to services and connections; the other events are those of ``Deeds``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._peers = world.peers
        self._fired = world.fired

    def _later(self, seconds: float, mend: Callable[[], None]) -> None:
        """Mend something after so many seconds; at the end of all troubles at the latest."""
        self._world.menders.append(mend)

        async def wait() -> None:
            await trio.sleep(seconds)
            if mend in self._world.menders:
                self._world.menders.remove(mend)
                mend()

        self._world.nursery.start_soon(wait)

    # update_engine.

    async def do_update(self, version: str, seconds: float, silent: bool = False) -> None:
        """update_engine finds and installs an update."""
        if version == self._world.node.os_version:
            return
        steps = update(version, seconds).steps
        if silent:
            steps = tuple(
                Step(each.operation, each.seconds, each.progress, each.version, each.size, True) for each in steps
            )
        self._play(Scenario(steps))

    async def do_failed_update(self, version: str, seconds: float) -> None:
        """An update fails half-way."""
        self._play(failure(version, seconds))

    def _play(self, scenario: Scenario) -> None:
        engine = self._peers.update_engine
        if engine._playing or engine._state.operation != Operation.IDLE or engine._nursery is None:
            return
        engine._playing = True
        engine.start_soon(engine._play, scenario)

    async def do_reset(self) -> None:
        """Somebody withdraws a finished update, which is not signalled."""
        if self._peers.update_engine._state.operation == Operation.UPDATED_NEED_REBOOT:
            await self._peers.update_engine._reset_status()
            self._world.node.pending = None

    async def do_restart(self, peer: str) -> None:
        """A peer crashes and comes back."""
        match peer:
            case "bus":
                self._peers.bus.stop()
            case "bucket" | "api":
                await self.do_down(peer, _RESTART)
            case "operator":
                self._peers.operator_scope.cancel()
            case "docker":
                self._world.machine.dockerd.restart()
            case _:
                self._peers.service(peer).leave()
        self._fired[f"restart: {peer}"] += 1

    async def do_hang(self, peer: str, member: str, seconds: float) -> None:
        """A service does not answer one of its methods."""
        service = self._peers.service(peer)
        assert isinstance(service, StandIn)
        service.hang(member)
        self._later(seconds, lambda: service.heal(member))

    async def do_signals(self, faults: list[str]) -> None:
        """Something happens to the next signals of services."""
        self._peers.bus.faults.extend(faults)

    async def do_replies(self, faults: list[str]) -> None:
        """Something happens to the next answers of services."""
        self._peers.bus.reply_faults.extend(faults)

    # The network.

    async def do_down(self, peer: str, seconds: float) -> None:
        """Nobody listens there, and every connection breaks."""
        link = self._peers.link(peer)
        link.down = True
        self._cut(peer)
        self._later(seconds, lambda: setattr(link, "down", False))

    async def do_blackhole(self, peer: str, seconds: float) -> None:
        """Nothing arrives, and nobody says so."""
        link = self._peers.link(peer)

        def mend() -> None:
            link.blackhole = False
            self._peers.network.wake()

        link.blackhole = True
        self._later(seconds, mend)

    async def do_unresolved(self, peer: str, seconds: float) -> None:
        """The name service does not know it."""
        link = self._peers.link(peer)
        link.unresolved = True
        self._later(seconds, lambda: setattr(link, "unresolved", False))

    async def do_slow(self, peer: str, latency: float, seconds: float) -> None:
        """Everything takes longer."""
        link = self._peers.link(peer)
        link.latency = latency
        self._later(seconds, lambda: setattr(link, "latency", USUAL_LATENCY))

    async def do_cut(self, peer: str) -> None:
        """All present connections break."""
        self._cut(peer)

    async def do_cuts(self, peer: str, after: list[int]) -> None:
        """The next connections break after so many bytes."""
        self._peers.link(peer).cuts.extend(after)

    async def do_flips(self, at: list[int]) -> None:
        """One byte of each of the next connections to the bucket is another one."""
        self._peers.link("bucket").flips.extend(at)

    def _cut(self, peer: str) -> None:
        link = self._peers.link(peer)
        self._peers.network.cut(lambda each: each.link is link)
