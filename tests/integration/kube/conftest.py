"""An API server stand-in and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from torcxd.http import Proxies
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
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
