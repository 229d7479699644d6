"""The way to the API server is made ready once, and anew for each file of it that is rotated."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from torcxd.daemon import cluster
from torcxd.daemon.cluster import open_api
from torcxd.daemon.context import Context
from torcxd.errors import TransientError
from torcxd.host import stamps
from torcxd.http import HttpError, Reason
from torcxd.kube import access
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.service_account import in_cluster_access
from torcxd.paths import Layout
from torcxd.sandbox.apiserver import USER, ApiServer
from torcxd.sandbox.tls import Authority
from torcxd.settings import combine

pytestmark = pytest.mark.accepts("A23")


@dataclass
class Node:
    """A node's files below its root, and how often a way to the API server was made of them."""

    root: Path
    api: ApiServer
    environment: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    _moment: int = 1_500_000_000

    def __post_init__(self) -> None:
        self.ctx = Context(combine(), Layout(self.root), self.environment)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file, at a moment of its own."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name("new")
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        self._moment += 1
        os.utime(new, (self._moment, self._moment))
        new.rename(path)

    def write_kubeconfig(self, url: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        document = yaml.safe_load(self.api.kubeconfig(url))
        change(document["clusters"][0]["cluster"], document["users"][0]["user"])
        self.write("/etc/kubernetes/kubeconfig", yaml.safe_dump(document))

    async def version(self) -> str:
        """The server's version, through a client as everything in the daemon opens one."""
        async with open_api(self.ctx) as client:
            assert client is not None
            return await client.version()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node(tmp_path, ApiServer())
    # However lately the files were written: each one has a time of its own, so the test needs no clock.
    monkeypatch.setattr(stamps, "_TICK", -(1 << 62))

    def loads_kubeconfig(*arguments: Any, **options: Any) -> Any:
        node.made.append("kubeconfig")
        return load_kubeconfig(*arguments, **options)

    def loads_account(*arguments: Any) -> Any:
        node.made.append("account")
        return in_cluster_access(*arguments)

    monkeypatch.setattr(cluster, "load_kubeconfig", loads_kubeconfig)
    monkeypatch.setattr(cluster, "in_cluster_access", loads_account)
    return node


def with_files(cluster: dict[str, Any], user: dict[str, Any]) -> None:
    del cluster["certificate-authority-data"]
    cluster["certificate-authority"] = "/pki/ca.crt"
    user.clear()
    user.update({"client-certificate": "/pki/kubelet.crt", "client-key": "/pki/kubelet.key"})


def write_pki(node: Node, authority: Authority, pair: tuple[bytes, bytes]) -> None:
    node.write("/pki/ca.crt", authority.pem)
    node.write("/pki/kubelet.crt", pair[0])
    node.write("/pki/kubelet.key", pair[1])


async def test_a_client_for_the_same_files_costs_no_work(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = access.ClusterAccess.ssl_context

    def counted(self: access.ClusterAccess) -> Any:
        made.append(self.server)
        return original(self)

    monkeypatch.setattr(access.ClusterAccess, "ssl_context", counted)
    async with node.api.serve() as server:
        node.write_kubeconfig(server.url, with_files)
        write_pki(node, node.api.authority, node.api.client_certificate)
        for _ in range(5):
            assert await node.version() == "v1.8.4+coreos.0"
    assert node.made == ["kubeconfig"]
    # Not once more to try whether they are good.
    assert len(made) == 1


async def test_a_rotated_kubeconfig_is_taken_at_once(node: Node) -> None:
    other = ApiServer()
    async with node.api.serve() as server, other.serve() as moved:
        node.write_kubeconfig(server.url, lambda *_: None)
        await node.version()
        node.api, old = other, node.api
        node.write_kubeconfig(moved.url, lambda *_: None)
        await node.version()
        node.api = old
    assert (len(server.requests), len(moved.requests)) == (1, 1)
    assert node.made == ["kubeconfig"] * 2


async def test_a_rotated_authority_is_taken_at_once(node: Node) -> None:
    async with node.api.serve() as server:
        node.write_kubeconfig(server.url, with_files)
        write_pki(node, Authority(), node.api.client_certificate)
        with pytest.raises(HttpError) as caught:
            await node.version()
        assert caught.value.reason is Reason.TLS
        node.write("/pki/ca.crt", node.api.authority.pem)
        assert await node.version() == "v1.8.4+coreos.0"
    assert node.made == ["kubeconfig"] * 2


async def test_a_rotated_certificate_and_key_are_taken_at_once_and_halves_are_waited_for(node: Node) -> None:
    other = Authority().client_certificate(USER)
    async with node.api.serve() as server:
        node.write_kubeconfig(server.url, with_files)
        write_pki(node, node.api.authority, other)
        with pytest.raises(HttpError):
            await node.version()
        node.write("/pki/kubelet.crt", node.api.client_certificate[0])
        # A wrong configuration would end the daemon, and for good.
        with pytest.raises(TransientError, match=r"user\.client-key: .*/kubelet\.key does not belong to") as caught:
            await node.version()
        assert "PRIVATE" not in str(caught.value)
        node.write("/pki/kubelet.key", node.api.client_certificate[1])
        assert await node.version() == "v1.8.4+coreos.0"


async def test_the_authorities_of_the_system_are_loaded_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(node.path("/etc/ssl/all.pem")))
    monkeypatch.setenv("SSL_CERT_DIR", str(node.path("/etc/ssl/none")))
    async with node.api.serve() as server:
        node.write("/etc/ssl/all.pem", Authority().pem)
        node.write_kubeconfig(server.url, lambda cluster, _: cluster.pop("certificate-authority-data"))
        for _ in range(2):
            with pytest.raises(HttpError) as caught:
                await node.version()
            assert caught.value.reason is Reason.TLS
        assert node.made == ["kubeconfig"]
        node.write("/etc/ssl/all.pem", node.api.authority.pem)
        assert await node.version() == "v1.8.4+coreos.0"
    assert node.made == ["kubeconfig"] * 2


async def test_a_token_file_is_read_anew_and_nothing_else(node: Node) -> None:
    node.api = ApiServer(token="first")
    node.write("/token", "first")
    async with node.api.serve() as server:
        node.write_kubeconfig(server.url, lambda _, user: user.update(token=None, tokenFile="/token"))
        await node.version()
        node.api.token = "second"
        node.write("/token", "second")
        assert await node.version() == "v1.8.4+coreos.0"
    assert node.made == ["kubeconfig"]


@pytest.mark.parametrize("name", ["ca.crt", "namespace"])
async def test_a_pods_files_are_rotated_together(node: Node, name: str) -> None:
    node.api = ApiServer(token="pod")
    account = node.ctx.layout.service_account
    for version in ("..1", "..2"):
        for file, content in {"ca.crt": node.api.authority.pem, "namespace": b"here", "token": b"pod"}.items():
            node.write(f"{account.relative_to(node.root)}/{version}/{file}", content)
    (account / "..data").symlink_to("..1")
    for file in ("ca.crt", "namespace", "token"):
        (account / file).symlink_to(f"..data/{file}")
    async with node.api.serve() as server:
        node.environment.update(KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT=str(server.port))
        for _ in range(2):
            await node.version()
        assert node.made == ["account"]
        (account / "..new").symlink_to("..2")
        (account / "..new").rename(account / "..data")
        await node.version()
        assert node.made == ["account"] * 2
        node.write(
            f"{account.relative_to(node.root)}/..2/{name}", node.api.authority.pem[: 10_000 * (name == "ca.crt")]
        )
        await node.version()
        assert node.made == ["account"] * 3


async def test_a_kubeconfig_that_comes_or_goes_is_seen(node: Node) -> None:
    async def is_there() -> bool:
        async with open_api(node.ctx) as client:
            return client is not None

    assert not await is_there()
    node.write_kubeconfig("https://127.0.0.1:1", lambda *_: None)
    assert await is_there()
    node.path("/etc/kubernetes/kubeconfig").unlink()
    assert not await is_there()


async def test_what_is_kept_shows_no_secret(node: Node) -> None:
    def use(_: dict[str, Any], user: dict[str, Any]) -> None:
        user["token"] = "s3cr3t"

    node.write_kubeconfig("https://127.0.0.1:1", use)
    async with open_api(node.ctx):
        pass
    kept = await node.ctx.access.get("/etc/kubernetes/kubeconfig", lambda: pytest.fail("it is there already"))
    shown = f"{node.ctx!r}{node.ctx.access!r}{node.ctx.access.__dict__!r}{kept!r}"
    assert "https://127.0.0.1:1" in shown
    assert "s3cr3t" not in shown
    assert "PRIVATE" not in shown
