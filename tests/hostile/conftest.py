"""Keys good and bad, made once, and a scene for each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile.scene import BOARD, IMAGE, OS, OTHER_IMAGE, OTHER_OS, Answer, Forgery, Scene
from torcxd.sandbox.bucket import Bucket
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
