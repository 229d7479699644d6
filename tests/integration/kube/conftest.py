"""An API server stand-in and a client for it; and a cluster that is a real one where there is one."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.integration.kube.envtest import VARIABLE, real_cluster
from torcxd.http import Proxies
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.nodes import Node
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.http_server import Server


@pytest.fixture
def api() -> ApiServer:
    """A cluster that takes one token, and has one ConfigMap."""
    api = ApiServer(token="s3cr3t")
    data = {
        "runtime-mappings.yaml": "kind: VersionManifestV1\nversions:\n  k8s:\n    1.8:\n      docker: "
        '[ "17.03", "1.12" ]\n    1.9:\n      docker: [ "17.03", "1.12" ]\n'
    }
    api.put_config_map("tectonic-system", "tectonic-torcx-runtime-mappings", data)
    return api


@pytest.fixture
async def server(api: ApiServer) -> AsyncIterator[Server]:
    async with api.serve() as server:
        yield server


@pytest.fixture
async def client(api: ApiServer, server: Server, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """A client with a kubeconfig for the cluster."""
    path = tmp_path / "kubeconfig"
    path.write_text(api.kubeconfig(server.url))
    async with open_client(load_kubeconfig(path), Proxies.none()) as client:
        yield client


@pytest.fixture(scope="session")
def real_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """The kubeconfig of a real cluster, where KUBEBUILDER_ASSETS says where its programs are; else None."""
    assets = os.environ.get(VARIABLE)
    if not assets:
        yield None
        return
    directory = tmp_path_factory.mktemp("envtest")
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(3)]
        first, second, third = (each.getsockname()[1] for each in sockets)
    with real_cluster(Path(assets), directory, (first, second, third)) as kubeconfig:
        path = directory / "kubeconfig"
        path.write_text(kubeconfig)
        yield path


@pytest.fixture
async def cluster(real_kubeconfig: Path | None, tmp_path: Path) -> AsyncIterator[KubeClient]:
    """An administrator's client for a cluster: a real one where KUBEBUILDER_ASSETS is set, else the stand-in."""
    if real_kubeconfig is not None:
        async with open_client(load_kubeconfig(real_kubeconfig), Proxies.none()) as client:
            yield client
        return
    api = ApiServer(token="s3cr3t")
    path = tmp_path / "cluster-kubeconfig"
    async with api.serve() as server:
        path.write_text(api.kubeconfig(server.url))
        async with open_client(load_kubeconfig(path), Proxies.none()) as client:
            yield client


@pytest.fixture
def create_node(cluster: KubeClient) -> Callable[..., Awaitable[Node]]:
    """``await create_node(labels={}, annotations={}, name=None)``, by default under a name of its own."""

    async def create(
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Node:
        # A real cluster outlives the test.
        metadata = {"name": name or f"node-{uuid.uuid4()}", "labels": labels or {}, "annotations": annotations or {}}
        document = {"kind": "Node", "apiVersion": "v1", "metadata": metadata}
        return Node.parse(cluster.read(await cluster.send("POST", "/api/v1/nodes", document), "an administrator"))

    return create
