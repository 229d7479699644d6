"""What can happen in a world: one method for each kind of event. What makes no sense at the moment does nothing."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio

from tests.simulation.world.hands import note_what_is_known, remove, tamper, write
from tests.simulation.world.peers import CONFIG_MAP, KEYRING, NAMESPACE, TOKEN_FILE, mappings
from tests.simulation.world.pipe import USUAL_LATENCY
from tests.simulation.world.story import Event
from torcxd.dbus.update_engine import Operation
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.apiserver_objects import ObjectKey
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.bucket_faults import Fault as BucketFault
from torcxd.sandbox.service import StandIn
from torcxd.sandbox.scenarios import Scenario, Step, failure, update

if TYPE_CHECKING:
    from tests.simulation.world.world import World

# Seconds that a server is away while it restarts.
_RESTART: Final = 3.0


class Deeds:
    """Carries events out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._peers = world.peers
        self._fired = world.fired

    async def do(self, event: Event) -> None:
        """Let it happen; what lasts goes on by itself."""
        deed: Callable[..., Awaitable[None]] = getattr(self, f"do_{event.what}")
        await deed(**event.how)

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
        if peer in ("bus", "update_engine"):
            note_what_is_known(self._world)
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

    # The bucket.

    async def do_bucket_fault(self, fault: str, part: str, times: int) -> None:
        """The next answers of the bucket are wrong."""
        self._peers.bucket.fail(part, BucketFault(fault), times=times)

    async def do_endless(self, part: str) -> None:
        """The next answer of the bucket does not end."""
        self._peers.bucket.fail(part, BucketFault.ENDLESS, times=1)

    async def do_manifest(self, version: str, state: str, seconds: float) -> None:
        """The manifest of an OS version is not as it should be."""
        self._peers.spoiled[version] = state

        def mend() -> None:
            self._peers.spoiled.pop(version, None)

        self._later(seconds, mend)

    async def do_new_image(self, version: str, size: int) -> None:
        """An OS version gets another build of its addons."""
        self._peers.publish(version, size)

    async def do_rotate_key(self, late: float) -> None:
        """The bucket signs with the next key, of which the node hears a little later."""
        new = self._peers.keys[1]
        self._peers.bucket.key = new  # type: ignore[assignment]

        def hear() -> None:
            self._world.keyring = b"".join(each.public for each in self._peers.keys)
            write(self._world, KEYRING, self._world.keyring)

        self._fired["keyring: rotated"] += 1
        self._later(late, hear)

    async def do_keyring(self, state: str, seconds: float) -> None:
        """Somebody breaks the keyring."""
        contents = {"empty": b"", "damaged": b"KEY"}
        self._fired[f"keyring: {state}"] += 1
        if state == "missing":
            remove(self._world, KEYRING)
        else:
            write(self._world, KEYRING, contents[state] + (b"\nnonsense\n" if state == "damaged" else b""))
        self._later(seconds, lambda: write(self._world, KEYRING, self._world.keyring))

    # The cluster.

    async def do_api_fault(self, faults: list[str]) -> None:
        """The next answers of the API server are wrong."""
        self._peers.api.faults.extend(ApiFault(each) for each in faults)

    async def do_watch_fault(self, faults: list[str]) -> None:
        """The next watches go wrong."""
        self._peers.api.watches.faults.extend(WatchFault(each) for each in faults)

    async def do_compact(self) -> None:
        """The API server forgets what changed, and ends all watches."""
        self._peers.api.store.compact()
        self._peers.api.watches.end_all()

    async def do_upgrade(self, version: str) -> None:
        """The cluster moves to another version."""
        self._peers.api.version = version

    async def do_mappings(self, state: str, seconds: float) -> None:
        """The runtime mappings change for a while."""
        self._fired[f"mappings: {state}"] += 1
        match state:
            case "absent":
                key = ObjectKey("configmaps", NAMESPACE, CONFIG_MAP)
                if key in self._peers.api.store.objects:
                    self._peers.api.store.delete(key)
            case "nonsense":
                self._peers.put_mappings("kind: [")
            case "uncovered":
                self._peers.put_mappings(
                    "kind: VersionManifestV1\nversions:\n  k8s:\n    1.4:\n      docker: ['1.11']\n"
                )
            case docker:
                self._peers.put_mappings(mappings(docker))
        self._later(seconds, lambda: self._peers.put_mappings(mappings()))

    async def do_rotate_token(self, late: float) -> None:
        """The node's token ends, and it gets another one a little later."""
        self._peers.rotate_token()

        def renew() -> None:
            self._peers.renew_token()
            self._world.disk.settle(self._world.node.layout.at(TOKEN_FILE))

        self._fired["token: rotated"] += 1
        self._later(late, renew)

    # Docker.

    async def do_docker(self, faults: list[str]) -> None:
        """The next answers of Docker are wrong."""
        self._world.machine.dockerd.faults.extend(faults)

    async def do_no_docker(self, seconds: float) -> None:
        """Docker does not start."""
        dockerd = self._world.machine.dockerd
        dockerd.absent = True
        dockerd.restart()
        self._later(seconds, lambda: setattr(dockerd, "absent", False))

    # People and the update operator.

    async def do_pause(self, seconds: float) -> None:
        """An administrator holds reboots up."""
        self._peers.operator.pause()
        self._later(seconds, self._peers.operator.resume)

    async def do_ask(self) -> None:
        """Somebody wants a reboot without an OS update."""
        self._peers.operator.need_reboot("0.0.0")

    async def do_hands(self, where: str) -> None:
        """Somebody clears up where nothing is theirs."""
        tamper(self._world, where)

    # The process and the machine.

    async def do_crash(self, steps: int) -> None:
        """The program dies, so many of its steps from now."""
        self._world.programs.kill_after(steps)

    async def do_crash_at_call(self, calls: int) -> None:
        """The program dies right before it changes the disk, so many changes from now."""
        self._at_call(calls, self._world.machine.crash_at_call)

    async def do_power_at_call(self, calls: int) -> None:
        """The power fails right before the program changes the disk, so many changes from now."""
        self._at_call(calls, self._world.machine.fail_power)

    def _at_call(self, calls: int, act: Callable[[], None]) -> None:
        disk = self._world.disk
        disk.after(calls, act)
        self._world.menders.append(lambda: disk.after(0, None))

    async def do_stop(self) -> None:
        """Somebody restarts the service."""
        await self._world.programs.stop(patience=90)

    async def do_reload(self, good: bool) -> None:
        """Somebody reloads the service, with settings that are right or wrong."""
        self._world.settings_good = good
        self._fired[f"reload: {'good' if good else 'bad'}"] += 1
        process = self._world.programs.current
        if process is not None and process.command == "run":
            process.signal(signal.SIGHUP)

    async def do_reboot(self, how: str) -> None:
        """The machine goes down without anybody asking torcxd."""
        await self._world.machine.reboot(how)

    async def do_full(self, seconds: float) -> None:
        """The disk is full."""
        disk = self._world.disk
        disk.full = True
        self._later(seconds, lambda: setattr(disk, "full", False))

    async def do_jump(self, seconds: float) -> None:
        """The time of day is corrected."""
        self._world.clock.offset += seconds
        self._fired["clock: forward" if seconds > 0 else "clock: back"] += 1
