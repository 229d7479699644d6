"""What can happen in a world: one method for each kind of event. What makes no sense at the moment does nothing."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

from tests.simulation.world.hands import remove, tamper, write
from tests.simulation.world.peers import CONFIG_MAP, KEYRING, NAMESPACE, TOKEN_FILE, mappings
from tests.simulation.world.story import Event
from tests.simulation.world.troubles import Troubles
from torcxd.sandbox.apiserver_faults import Fault as ApiFault
from torcxd.sandbox.apiserver_objects import ObjectKey
from torcxd.sandbox.apiserver_watch import WatchFault
from torcxd.sandbox.bucket_faults import Fault as BucketFault


class Deeds(Troubles):
    """Carries events out."""

    async def do(self, event: Event) -> None:
        """Let it happen; what lasts goes on by itself."""
        deed: Callable[..., Awaitable[None]] = getattr(self, f"do_{event.what}")
        await deed(**event.how)

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

    async def do_falls_back(self) -> None:
        """The next OS version will not come up: the boot loader goes back to the present one."""
        machine = self._world.machine
        machine.falls_back = True
        self._world.menders.append(lambda: setattr(machine, "falls_back", False))

    async def do_full(self, seconds: float) -> None:
        """The disk is full."""
        disk = self._world.disk
        disk.full = True
        self._later(seconds, lambda: setattr(disk, "full", False))

    async def do_jump(self, seconds: float) -> None:
        """The time of day is corrected."""
        self._world.clock.offset += seconds
        self._fired["clock: forward" if seconds > 0 else "clock: back"] += 1
