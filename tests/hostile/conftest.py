"""Keys good and bad, made once; a scene for each test; and a bus with the attacker on it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from jeepney.io.trio import DBusConnection

from tests.hostile.scene import BOARD, IMAGE, OS, OTHER_IMAGE, OTHER_OS, Answer, Forgery, Scene
from torcxd.dbus.bus import Bus, open_bus
from torcxd.dbus.connection import connect
from torcxd.sandbox import update_engine as stand_in
from torcxd.sandbox.bucket import Bucket
from torcxd.sandbox.bus import PrivateBus, private_bus
from torcxd.sandbox.http_server import Request, Response, serve
from torcxd.sandbox.keys import Keys, SigningKey
from torcxd.sandbox.node import Node, VendorDocker
from torcxd.sandbox.tls import Authority

# The nodes lie in memory where that is possible, since each image that is placed takes some fsyncs.
_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Ring:
    """The trusted key, and others."""

    good: SigningKey
    other: SigningKey
    foreign: SigningKey
    expired: SigningKey
    revoked: SigningKey


@pytest.fixture(scope="session")
def ring() -> Iterator[Ring]:
    with Keys() as keys:
        yield Ring(
            keys.make("Good"),
            keys.make("Other"),
            keys.make("Foreign"),
            keys.make_expired(),
            keys.make_revoked(),
        )


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory if possible."""
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="torcxd-hostile-", dir=parent) as directory:
        yield Path(directory)


@pytest.fixture
async def scene(
    folder: Path, ring: Ring, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A node without images, and a bucket that publishes them for two OS versions."""
    vendor = {each: VendorDocker("1.12", b"the vendor's") for each in (OS, OTHER_OS)}
    node = Node(folder / "node", os_version=OS, board=BOARD, vendor=vendor)
    node.install(kube_version="v1.8.4")
    node.boot()
    node.write("/etc/torcxd/pubring.gpg", ring.good.public)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(folder / "authority.pem")))
    bucket = Bucket(ring.good, authority=authority)
    bucket.publish(BOARD, OS, IMAGE)
    bucket.publish(BOARD, OTHER_OS, OTHER_IMAGE)
    forged: dict[str, Forgery] = {}

    async def answer(request: Request) -> Answer:
        forgery = forged.get(request.path)
        if forgery is None:
            return await bucket.handle(request)
        return forgery if isinstance(forgery, Response) else await forgery(request)

    async with serve(answer, ssl_context=authority.server_context()) as server:
        bucket.url = server.url
        yield Scene(node, bucket, server, ring.good, forged)


@pytest.fixture
async def private() -> AsyncIterator[PrivateBus]:
    with tempfile.TemporaryDirectory(prefix="bus.") as directory:
        async with private_bus(Path(directory)) as bus:
            yield bus


@pytest.fixture
async def server(private: PrivateBus, nursery: trio.Nursery) -> stand_in.UpdateEngine:
    engine = stand_in.UpdateEngine()
    await nursery.start(engine.serve, private.address)
    return engine


@pytest.fixture
async def attacker(private: PrivateBus) -> AsyncIterator[DBusConnection]:
    connection = await connect(private.address)
    yield connection
    await connection.aclose()


@pytest.fixture
async def bus(private: PrivateBus) -> AsyncIterator[Bus]:
    async with open_bus(private.address) as opened:
        yield opened
