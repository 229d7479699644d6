"""A whole node in a folder with all its peers: the real program runs on it, through reboots.

The bus is a real dbus-daemon, gpg is the real one, HTTPS is real. update_engine, login1, systemd and the API server are
stand-ins. Nothing outside the folder is touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

from torcxd.dbus.errors import DBusError
from torcxd.dbus.service import Service
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.bus import PrivateBus, private_bus
from torcxd.sandbox.checker import Answers, Checker
from torcxd.sandbox.child import child, ended
from torcxd.sandbox.http_server import Server
from torcxd.sandbox.images import docker_image
from torcxd.sandbox.keys import Keys, SigningKey
from torcxd.sandbox.login1 import Login1
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.sandbox.plot import BOARD, KUBE_VERSION, MAPPINGS, NEW_OS, OLD_OS, VENDOR_DOCKER, WANTED_DOCKER, Plot
from torcxd.sandbox.records import Records
from torcxd.sandbox.systemd1 import Systemd1
from torcxd.sandbox.update_engine import Installed, UpdateEngine, no_update

# Whoever opens a sandbox knows what is given in it.
__all__ = [
    "BOARD",
    "KUBE_VERSION",
    "NEW_OS",
    "OLD_OS",
    "VENDOR_DOCKER",
    "WANTED_DOCKER",
    "Plot",
    "Sandbox",
    "open_sandbox",
]


@dataclass(slots=True)
class Sandbox:
    """A running sandbox.

    :ivar environment: what the program's environment must hold to reach these peers.
    :ivar flags: the flags that a run on this node needs.
    :ivar records: what login1 and systemd were asked, each with the boot id.
    :ivar key: signs the bucket's manifests; its public half is the node's keyring.
    :ivar bucket_server, api_server: what they were asked; there may be no API server.
    :ivar checker: watches each boot, each request to reboot, and each answer to the update operator.
    :ivar reboot_asked: set by the next request to reboot, and replaced then.
    :ivar answers_reboots: whether a request to reboot, which is obeyed in any case, is also answered.
    """

    plot: Plot
    node: Node
    bus: PrivateBus
    bucket: Bucket
    bucket_server: Server
    api: ApiServer
    api_server: Server | None
    keys: Keys
    key: SigningKey
    records: Records
    update_engine: UpdateEngine
    login1: Login1
    systemd1: Systemd1
    environment: dict[str, str]
    flags: list[str]
    checker: Checker
    nursery: trio.Nursery
    _installed: Installed
    reboot_asked: trio.Event = field(default_factory=trio.Event)
    answers_reboots: bool = True
    _ended: trio.Event = field(default_factory=trio.Event)
    _session: trio.Nursery = field(init=False)

    @property
    def root(self) -> Path:
        return self.node.layout.root

    @property
    def reboots(self) -> int:
        """How many reboots were asked for, through either service."""
        started = [args for args in self.records.of("StartUnit") if args[0] == "reboot.target"]
        return len(self.records.of("Reboot")) + len(started)

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``torcxd`` on this node."""
        return [sys.executable, "-m", "torcxd", arguments[0], f"--root={self.root}", *arguments[1:]]

    async def torcxd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a ``torcxd`` command on this node to its end, and capture what it prints."""
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
            async with child(self.command(*arguments), self.process_environment, printed, said) as process:
                await ended(process)
            texts = []
            for each in (printed, said):
                each.seek(0)
                texts.append(each.read().decode())
        return subprocess.CompletedProcess(process.args, process.returncode, *texts)

    @property
    def process_environment(self) -> dict[str, str]:
        """The present environment without this workplace's own proxies and settings, with what reaches the peers."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and not name.startswith("TORCXD_")
        }
        return {**kept, **self.environment}

    async def bootstrap(self, *flags: str, stderr: int | None = None) -> int | None:
        """Run ``torcxd bootstrap`` once.

        :param stderr: the descriptor that gets its messages, or ``subprocess.STDOUT``; None for this process's own.
        :returns: its exit code, or None if it asked for a reboot: it was ended as systemd does on the way down.
        """
        asked = self.reboot_asked
        rebooted = False

        async def until_reboot() -> None:
            nonlocal rebooted
            await asked.wait()
            rebooted = True
            process.send_signal(signal.SIGTERM)

        command = self.command("bootstrap", *self.flags, *flags)
        async with (
            child(command, self.process_environment, None, stderr) as process,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(until_reboot)
            await ended(process)
            nursery.cancel_scope.cancel()
        return None if rebooted else process.returncode

    async def reboot(self) -> str:
        """Take the node through a reboot.

        :returns: why torcx applied nothing, empty when it did.
        """
        await self.end_peers()
        problem = self.node.boot()
        self.checker.booted()
        if self.node.os_version == self.plot.next_os:
            self.update_engine.scenario = no_update("", 0)
        self._installed.store(False)
        await self.nursery.start(self.serve_peers)
        return problem

    async def serve_peers(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The services of one boot; they end with it."""
        self._ended = trio.Event()
        self.systemd1.system_state = "running"
        async with trio.open_nursery() as self._session:
            for service in (self.update_engine, self.login1, self.systemd1):
                await self._session.start(service.serve, self.bus.address)
            task_status.started()
        self._ended.set()

    async def end_peers(self) -> None:
        """End the services of this boot; :meth:`serve_peers` begins those of the next."""
        self._session.cancel_scope.cancel()
        await self._ended.wait()

    async def restart(self, service: Service) -> None:
        """Start a peer anew, as systemd does with one that crashed; one that left the bus comes back."""
        service.leave()
        while True:
            # The bus hears of its end a little later.
            with suppress(DBusError):
                await self._session.start(service.serve, self.bus.address)
                return

    async def bootstrap_to_the_end(self, *flags: str, most_boots: int = 5) -> int:
        """Run ``torcxd bootstrap`` through as many reboots as it asks for; returns the last exit code.

        :raises RuntimeError: after *most_boots* reboots.
        """
        for _ in range(most_boots):
            exit_code = await self.bootstrap(*flags)
            if exit_code is not None:
                return exit_code
            await self.reboot()
        raise RuntimeError(f"the node asked for {most_boots} reboots")

    async def reboot_requested(self) -> None:
        """Called by the stand-ins when a reboot is asked for."""
        self.checker.reboot_requested()
        asked, self.reboot_asked = self.reboot_asked, trio.Event()
        asked.set()
        if not self.answers_reboots:
            await trio.sleep_forever()


@asynccontextmanager
async def open_sandbox(root: Path, plot: Plot | None = None) -> AsyncIterator[Sandbox]:
    """Set a node up in the new or empty folder *root*, and run its peers for the length of the block.

    :raises OSError: a needed program (dbus-daemon, gpg) is not installed, or the folder cannot be written.
    """
    plot = plot or Plot()
    async with AsyncExitStack() as stack:
        keys = stack.enter_context(Keys())
        key = await trio.to_thread.run_sync(keys.make)
        vendor = docker_image(VENDOR_DOCKER)
        versions = [OLD_OS, *([plot.next_os] if plot.next_os else [])]
        node = Node(
            root,
            os_version=OLD_OS,
            board=BOARD,
            vendor={each: VendorDocker(VENDOR_DOCKER, vendor.data) for each in versions},
        )
        node.install(kube_version=KUBE_VERSION)
        bucket = Bucket(key, rate=plot.rate)
        bucket_server = await stack.enter_async_context(bucket.serve())
        for number, version in enumerate(versions):
            # Another build for each OS version, as in the real bucket.
            image = docker_image(WANTED_DOCKER, plot.image_bytes + 10_000 * number)
            path = f"/usr/share/torcx/store/{vendor.file_name}"
            bucket.publish(BOARD, version, image, vendored={path: vendor})
        api = ApiServer(version=KUBE_VERSION)
        api.put_config_map(*MAPPINGS)
        api_server = None
        if plot.api_server:
            api_server = await stack.enter_async_context(api.serve())
            node.write("/etc/kubernetes/kubeconfig", api.kubeconfig(api_server.url))
        node.write("/etc/torcxd/pubring.gpg", key.public)
        authority = bucket.authority.write(root / "bucket-ca.pem")
        node.boot()

        # A socket's path is short; the folder's may be long.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torcxd-bus-")))
        bus = await stack.enter_async_context(private_bus(sockets))
        records = Records(root / "requests.jsonl", lambda: {"boot_id": node.layout.boot_id.read_text().strip()})

        def installed(version: str) -> None:
            node.pending = version

        box: Sandbox

        async def reboot_requested() -> None:
            await box.reboot_requested()

        checker = Checker(
            root,
            signed=lambda: [(version, data) for by, version, data in bucket.signed if by == key.fingerprint],
            vendored=node.vendored,
            pending=lambda: node.pending,
            requests=lambda: records.entries,
        )
        checker.booted()
        api.store.listeners.append(Answers(checker).changed)
        installation = Installed(node.layout.os_update_marker)
        nursery = await stack.enter_async_context(trio.open_nursery())
        box = Sandbox(
            plot,
            node,
            bus,
            bucket,
            bucket_server,
            api,
            api_server,
            keys,
            key,
            records,
            UpdateEngine(plot.scenario(), installed=installation, on_installed=installed),
            Login1(records, reboot_requested),
            Systemd1(records, reboot_requested, units=node.layout.at("/etc/systemd/system")),
            environment={
                "DBUS_SYSTEM_BUS_ADDRESS": bus.address,
                "SSL_CERT_FILE": str(authority),
                # What a run leaves there when it is killed goes with the sandbox.
                "TMPDIR": str(sockets),
            },
            flags=[f"--torcx-manifest-url={bucket.manifest_template}"],
            checker=checker,
            nursery=nursery,
            _installed=installation,
        )
        await nursery.start(box.serve_peers)
        yield box
        nursery.cancel_scope.cancel()
