"""The Kubernetes client against the API server stand-in, well and unwell."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from torcxd.errors import EX_DATAERR, Kind, TorcxdError
from torcxd.http import HttpError, Proxies, Reason, Timeouts
from torcxd.kube.client import KubeClient, open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.mappings import parse_mappings
from torcxd.lifecycle.versions import KubeVersion
from torcxd.sandbox.apiserver import ApiServer, Fault
from torcxd.sandbox.http_server import Server

NAMESPACE, NAME = "tectonic-system", "tectonic-torcx-runtime-mappings"


@pytest.mark.accepts("A11")
async def test_the_cluster_version_is_that_of_version(client: KubeClient, server: Server) -> None:
    assert await client.version() == "v1.8.4+coreos.0"
    assert [each.path for each in server.requests] == ["/version"]


@pytest.mark.accepts("A14")
async def test_the_mappings_come_from_the_config_map(client: KubeClient) -> None:
    data = await client.config_map(NAMESPACE, NAME)
    mappings = parse_mappings(data["runtime-mappings.yaml"], "the ConfigMap")
    assert mappings.docker_for(KubeVersion.parse("v1.8.4")) == ("17.03", "1.12")


@pytest.mark.accepts("A14")
async def test_a_missing_config_map_is_permanent_and_named(client: KubeClient) -> None:
    with pytest.raises(HttpError, match='configmaps "none" not found') as caught:
        await client.config_map(NAMESPACE, "none")
    assert (caught.value.kind, caught.value.status) == (Kind.PERMANENT, 404)
    assert f"/api/v1/namespaces/{NAMESPACE}/configmaps/none" in str(caught.value)


async def test_a_config_map_without_data_is_empty(client: KubeClient, api: ApiServer) -> None:
    api.put_config_map(NAMESPACE, NAME, {})
    assert await client.config_map(NAMESPACE, NAME) == {}


@pytest.mark.accepts("A11")
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault.RESET, Kind.TRANSIENT, "127.0.0.1"),
        (Fault.UNAUTHORIZED, Kind.PERMANENT, "status 401: Unauthorized (renew the credentials in the kubeconfig /"),
        (Fault.FORBIDDEN, Kind.PERMANENT, 'nonResourceURLs ["/version"] and verbs ["get"]'),
        (Fault.NOT_FOUND, Kind.PERMANENT, "could not find the requested resource"),
        (Fault.TOO_MANY, Kind.TRANSIENT, "status 429, and not in the words of one ('text/plain')"),
        (Fault.INTERNAL, Kind.TRANSIENT, "status 500: Internal error occurred"),
        (Fault.UNAVAILABLE, Kind.TRANSIENT, "status 503: the server is currently unable"),
        (Fault.HTML, Kind.TRANSIENT, "not JSON, or half of it ('text/html', "),
        (Fault.HTML_ERROR, Kind.TRANSIENT, "status 502, and not in the words of one ('text/html')"),
        (Fault.HALF_JSON, Kind.TRANSIENT, "not JSON, or half of it ('application/json', "),
        (Fault.CUT_SHORT, Kind.TRANSIENT, "before the end of the answer"),
        (Fault.WRONG_SHAPE, Kind.PERMANENT, "gitVersion: it is missing, or is no text"),
        (Fault.ENDLESS, Kind.PERMANENT, "larger than"),
    ],
)
async def test_each_failure_has_its_kind_and_says_what_happened(
    client: KubeClient, api: ApiServer, fault: Fault, kind: Kind, text: str
) -> None:
    api.faults.append(fault)
    with pytest.raises(TorcxdError) as caught:
        await client.version()
    assert caught.value.kind is kind
    assert text in str(caught.value)
    assert "/version" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert await client.version() == "v1.8.4+coreos.0"


@pytest.mark.accepts("A14")
async def test_a_forbidden_config_map_names_the_rule_that_is_needed(client: KubeClient, api: ApiServer) -> None:
    api.fault = Fault.FORBIDDEN
    with pytest.raises(HttpError, match=r"cannot get resource") as caught:
        await client.config_map(NAMESPACE, NAME)
    assert caught.value.kind is Kind.PERMANENT
    assert 'resources ["configmaps"], resourceNames ["tectonic-torcx-runtime-mappings"]' in caught.value.hint
    assert "a Role in the namespace tectonic-system" in caught.value.hint


@pytest.mark.accepts("A14")
async def test_a_config_map_of_the_wrong_shape_is_permanent(client: KubeClient, api: ApiServer) -> None:
    api.fault = Fault.WRONG_SHAPE
    with pytest.raises(TorcxdError, match="its kind is not ConfigMap") as caught:
        await client.config_map(NAMESPACE, NAME)
    assert (caught.value.kind, caught.value.exit_code) == (Kind.PERMANENT, EX_DATAERR)


@pytest.mark.accepts("A11")
@pytest.mark.parametrize("version", ["", "latest", "v1", "v1.8.4; rm -rf /"])
async def test_a_version_that_is_none_is_refused(client: KubeClient, api: ApiServer, version: str) -> None:
    api.version = version
    with pytest.raises(TorcxdError, match="gitVersion: not a Kubernetes version") as caught:
        await client.version()
    assert caught.value.kind is Kind.PERMANENT


async def test_a_refused_connection_is_transient(api: ApiServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = tmp_path / "kubeconfig"
    path.write_text(api.kubeconfig(f"https://127.0.0.1:{port}"))
    async with open_client(load_kubeconfig(path), Proxies.none()) as client:
        with pytest.raises(HttpError, match=f"127.0.0.1:{port}") as caught:
            await client.version()
    assert (caught.value.kind, caught.value.reason) == (Kind.TRANSIENT, Reason.CONNECT)


async def test_a_server_that_hangs_is_transient(api: ApiServer, server: Server, tmp_path: Path) -> None:
    api.fault = Fault.HANG
    path = tmp_path / "kubeconfig"
    path.write_text(api.kubeconfig(server.url))
    async with open_client(load_kubeconfig(path), Proxies.none(), Timeouts(first_byte=0.1)) as client:
        with pytest.raises(HttpError, match="no answer to GET within") as caught:
            await client.version()
    assert caught.value.kind is Kind.TRANSIENT
