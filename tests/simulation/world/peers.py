"""Everybody around a simulated node: its bus and services, the bucket, the cluster, the update operator.

They are the stand-ins of the sandbox, over the simulated network. HTTP is plain here, for three reasons. OpenSSL takes
its random numbers from the kernel, so that no two runs of a story would send the same bytes, and a run that cannot be
compared byte by byte is not known to be the same run. A byte that changes on the way would never get past the record's
checksum, so that the parsers behind it, which plain HTTP reaches, would see no corrupt message. And a handshake takes
longer than everything else that a request does here. What TLS adds, what a man in the middle can do to it among it, is
tested with real connections in ``tests/integration`` and ``tests/hostile``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from tests.simulation.world.bus import Bus
from tests.simulation.world.network import Network
from tests.simulation.world.pipe import Link
from tests.simulation.world.story import LAST_OS, OS_VERSIONS
from tests.simulation.world.trust import Key
from torcxd.dbus.errors import DBusError
from torcxd.dbus.service import ErrorReply, Service
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.bucket_faults import Fault
from torcxd.sandbox.http_server import Handler, RawBehaviour, Request, Response, serve
from torcxd.sandbox.images import TorcxImage, docker_image
from torcxd.sandbox.login1 import Login1
from torcxd.sandbox.node import Node
from torcxd.sandbox.operator import UpdateOperator
from torcxd.sandbox.records import Records
from torcxd.sandbox.systemd1 import Systemd1
from torcxd.sandbox.tls import Authority
from torcxd.sandbox.update_engine import Installed, UpdateEngine

BOARD: Final = "amd64-usr"
NODE: Final = "node-1"
BUS_PATH: Final = "/sim/bus"
BUS_ADDRESS: Final = f"unix:path={BUS_PATH}"
BUCKET_PORT: Final = 8001
API_PORT: Final = 8002
HOST: Final = "127.0.0.1"
VENDOR_DOCKER: Final = "1.12"
# By the cluster's minor version, the Docker that it wants most.
WANTED: Final = {"1.8": "17.03", "1.9": "17.09"}
NAMESPACE: Final = "tectonic-system"
CONFIG_MAP: Final = "tectonic-torcx-runtime-mappings"
MAPPINGS_KEY: Final = "runtime-mappings.yaml"
TOKEN_FILE: Final = "/etc/kubernetes/token"
KEYRING: Final = "/etc/torcxd/pubring.gpg"
# A key that no keyring has.
FOREIGN: Final = Key("F" * 40)
# The size of images that it signs.
EVIL_SIZE: Final = 4321


@functools.cache
def authority() -> Authority:
    """One for all worlds: nobody uses it, and making one takes long."""
    return Authority()


def image(os_version: str, docker: str, size: int = 0) -> TorcxImage:
    """The Docker image for an OS version: another build for each."""
    known = (*OS_VERSIONS, LAST_OS)
    return docker_image(docker, size or 5000 + 100 * known.index(os_version))


def mappings(docker: str | None = None) -> str:
    """The runtime mappings; with *docker* everybody is to have that one."""
    lines = [f'    {minor}:\n      docker: [ "{docker or wanted}" ]\n' for minor, wanted in WANTED.items()]
    return "kind: VersionManifestV1\nversions:\n  k8s:\n" + "".join(lines)


@dataclass(slots=True)
class Peers:
    """All of them; see the modules of the sandbox for what each can do."""

    network: Network
    node: Node
    bus: Bus
    bucket: Bucket
    api: ApiServer
    records: Records
    update_engine: UpdateEngine
    login1: Login1
    systemd1: Systemd1
    operator: UpdateOperator
    installed: Installed
    keys: tuple[Key, Key]
    fired: Counter[str]
    session: trio.Nursery | None = None
    # Called whenever update_engine is about to forget which version it has installed: it restarts.
    engine_lost: Callable[[], None] = lambda: None
    tokens: int = 0
    # OS versions whose manifest is not as it should be, and how.
    spoiled: dict[str, str] = field(default_factory=dict)
    operator_scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def link(self, peer: str) -> Link:
        addresses: dict[str, Any] = {"bucket": (HOST, BUCKET_PORT), "api": (HOST, API_PORT), "bus": BUS_PATH}
        return self.network.link(addresses[peer])

    def service(self, name: str) -> Service:
        services: dict[str, Service] = {
            "update_engine": self.update_engine,
            "login1": self.login1,
            "systemd1": self.systemd1,
        }
        return services[name]

    async def serve_outside(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Those who outlive the node's boots."""
        async with trio.open_nursery() as nursery:
            await nursery.start(_serve, self._answer_bucket, BUCKET_PORT)
            await nursery.start(_serve, self.api._handle, API_PORT)
            nursery.start_soon(self._keep_operator)
            task_status.started()

    async def _keep_operator(self) -> None:
        """The update operator, started again a second after it crashed."""
        while True:
            with trio.CancelScope() as self.operator_scope:
                await self.operator.run()
            await trio.sleep(1)

    async def _answer_bucket(self, request: Request) -> Response | RawBehaviour:
        state = next((state for version, state in self.spoiled.items() if f"/{version}/" in request.path), "")
        signature = request.path.endswith(".asc")
        if state:
            self.fired[f"manifest: {state}"] += 1
        match state:
            case "missing":
                return Response(404)
            case "unsigned" if signature:
                return Response(404)
            case "foreign" | "nonsense":
                held = self.bucket.key, self.bucket.edit
                self.bucket.key = FOREIGN if state == "foreign" else self.bucket.key  # type: ignore[assignment]
                self.bucket.edit = _name_evil if state == "foreign" else _make_nonsense
                try:
                    return await self.bucket.handle(request)
                finally:
                    self.bucket.key, self.bucket.edit = held
        return await self.bucket.handle(request)

    async def serve_boot(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Those of one boot."""
        self.systemd1.system_state = "running"
        async with trio.open_nursery() as self.session:
            self.session.start_soon(self._keep_bus)
            for each in (self.update_engine, self.login1, self.systemd1):
                started = trio.Event()
                self.session.start_soon(self._keep, each, started)
                await started.wait()
            task_status.started()

    async def _keep_bus(self) -> None:
        """The bus, started again a second after it crashed."""
        while True:
            await self.bus.serve()
            await trio.sleep(1)

    async def _keep(self, service: Service, started: trio.Event) -> None:
        """A service, started again soon after it left the bus or lost it."""
        while True:
            with suppress(DBusError):
                await service.serve(BUS_ADDRESS, task_status=_Started(started))
            if service is self.update_engine:
                self.engine_lost()
            started.set()
            await trio.sleep(1)

    def rotate_token(self) -> None:
        """From now on only a new token counts, which the node does not have yet."""
        self.tokens += 1
        self.api.token = f"token-{self.tokens}"
        self.api.watches.end_all()

    def renew_token(self) -> None:
        """The node gets the token that counts."""
        self.node.write(TOKEN_FILE, f"token-{self.tokens}\n")

    def publish(self, os_version: str, size: int = 0) -> None:
        """Publish the addons of an OS version, or publish them anew."""
        vendor = docker_image(VENDOR_DOCKER)
        vendored = {f"/usr/share/torcx/store/{vendor.file_name}": vendor}
        dockers = sorted(WANTED.values())
        self.bucket.publish(BOARD, os_version, *(image(os_version, each, size) for each in dockers), vendored=vendored)

    def put_mappings(self, text: str) -> None:
        self.api.put_config_map(NAMESPACE, CONFIG_MAP, {MAPPINGS_KEY: text})


class CountedBucket(Bucket):
    """A bucket that counts what goes wrong with its answers."""

    fired: Counter[str]

    async def _answer(self, request: Request, path: str, fault: Fault | None) -> Response:
        if fault is not None:
            self.fired[f"bucket: {fault}"] += 1
        return await super()._answer(request, path, fault)


class Hangs(dict[str, ErrorReply | None]):
    """What a service does not answer; counts the calls of it."""

    def __init__(self, name: str, fired: Counter[str]) -> None:
        super().__init__()
        self._name = name
        self._fired = fired

    def __getitem__(self, member: str) -> ErrorReply | None:
        self._fired[f"hang: {self._name}"] += 1
        return super().__getitem__(member)


class _Started(trio.TaskStatus[None]):
    """Tells others that a service is on the bus."""

    def __init__(self, event: trio.Event) -> None:
        self._event = event

    def started(self, value: None = None) -> None:
        self._event.set()


def _name_evil(manifest: dict[str, Any]) -> None:
    """Name another image, which the bucket has, too."""
    for each in manifest["value"]["packages"][0]["versions"]:
        if "url" in each["locations"][0]:
            evil = docker_image(each["version"], EVIL_SIZE)
            honest = each["casDigest"]
            each["hash"], each["casDigest"] = str(evil.digest), evil.digest.hex
            url = each["locations"][0]["url"].replace(honest, evil.digest.hex)
            each["locations"][0]["url"] = url.replace(f"/{BOARD}/", "/evil/")


def _make_nonsense(manifest: dict[str, Any]) -> None:
    manifest["kind"] = "nonsense"


async def _serve(handler: Handler, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with serve(handler, port=port):
        task_status.started()
        await trio.sleep_forever()
