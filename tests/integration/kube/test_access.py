"""Every way of proving who one is, and who the server is, over real TLS."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from torcxd.errors import Kind, PermanentError, TorcxdError
from torcxd.http import HttpError, Proxies, Reason
from torcxd.kube.client import open_client
from torcxd.kube.kubeconfig import load_kubeconfig
from torcxd.kube.loaded import LoadedAccess
from torcxd.kube.service_account import in_cluster_access
from torcxd.sandbox.apiserver import ApiServer
from torcxd.sandbox.http_server import Response, serve
from torcxd.sandbox.tls import Authority

pytestmark = pytest.mark.accepts("A23")

# Writes the kubeconfig for a server after a change.
Write = Callable[[ApiServer, str, Callable[[dict[str, Any], dict[str, Any]], None]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the stand-in's own kubeconfig, after *change* had its way with its cluster and its user."""

    def write(api: ApiServer, url: str, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
        document = yaml.safe_load(api.kubeconfig(url))
        change(document["clusters"][0]["cluster"], document["users"][0]["user"])
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    return write


async def version(access: LoadedAccess) -> str:
    async with open_client(access, Proxies.none()) as client:
        return await client.version()


async def test_client_certificate_and_key_as_data(write: Write) -> None:
    api = ApiServer()
    async with api.serve() as server:
        assert await version(load_kubeconfig(write(api, server.url, lambda c, u: None))) == "v1.8.4+coreos.0"


async def test_certificates_and_key_as_files_beside_the_kubeconfig(write: Write, tmp_path: Path) -> None:
    api = ApiServer()
    (tmp_path / "tls").mkdir()
    api.authority.write(tmp_path / "tls" / "ca.crt")
    for name, content in zip(("kubelet.crt", "kubelet.key"), api.client_certificate, strict=True):
        (tmp_path / "tls" / name).write_bytes(content)

    def use_files(cluster: dict[str, Any], user: dict[str, Any]) -> None:
        cluster.clear()
        user.clear()
        cluster.update({"server": server.url, "certificate-authority": "tls/ca.crt"})
        # An absolute one lies below the root.
        user.update({"client-certificate": "/tls/kubelet.crt", "client-key": "tls/kubelet.key"})

    async with api.serve() as server:
        assert await version(load_kubeconfig(write(api, server.url, use_files), root=tmp_path)) == "v1.8.4+coreos.0"


async def test_without_the_client_certificate_there_is_no_answer(write: Write) -> None:
    api = ApiServer()
    async with api.serve() as server:
        access = load_kubeconfig(write(api, server.url, lambda _, user: user.clear()))
        with pytest.raises(HttpError):
            await version(access)
    assert server.requests == []


async def test_a_server_of_another_authority_is_refused(write: Write) -> None:
    api = ApiServer(token="t")
    other = base64.b64encode(Authority().pem).decode()
    async with api.serve() as server:
        path = write(api, server.url, lambda c, _: c.update({"certificate-authority-data": other}))
        with pytest.raises(HttpError) as caught:
            await version(load_kubeconfig(path))
    assert caught.value.reason is Reason.TLS
    assert server.requests == []


async def test_the_check_can_be_turned_off_with_a_warning(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    api = ApiServer(token="t")

    def turn_off(cluster: dict[str, Any], _: dict[str, Any]) -> None:
        del cluster["certificate-authority-data"]
        cluster["insecure-skip-tls-verify"] = True

    async with api.serve() as server:
        path = write(api, server.url, turn_off)
        with caplog.at_level(logging.WARNING):
            assert await version(load_kubeconfig(path)) == "v1.8.4+coreos.0"
    assert f"{path} turns off the check of the API server's certificate" in caplog.text


async def test_tls_server_name_is_the_name_that_the_certificate_must_have(write: Write) -> None:
    api = ApiServer(token="t")
    async with serve(_version, ssl_context=api.authority.server_context("kubernetes.default.svc")) as server:
        path = write(api, server.url, lambda c, _: c.update({"tls-server-name": "kubernetes.default.svc"}))
        assert await version(load_kubeconfig(path)) == "v1.9.0"
        path = write(api, server.url, lambda c, _: None)
        with pytest.raises(HttpError) as caught:
            await version(load_kubeconfig(path))
    assert caught.value.reason is Reason.TLS


async def test_user_and_password(write: Write) -> None:
    api = ApiServer()

    def use_password(_: dict[str, Any], user: dict[str, Any]) -> None:
        user.clear()
        user.update(username="me", password="pä:ss")

    async with serve(_version, ssl_context=api.authority.server_context()) as server:
        path = write(api, server.url + "/k8s/", use_password)
        assert await version(load_kubeconfig(path)) == "v1.9.0"
    assert server.requests[0].headers["authorization"] == "Basic " + base64.b64encode("me:pä:ss".encode()).decode()
    assert server.requests[0].path == "/k8s/version"


async def test_a_token_file_is_read_for_each_request(write: Write, tmp_path: Path) -> None:
    api = ApiServer(token="first")
    token = tmp_path / "token"
    token.write_text("first\n")
    async with api.serve() as server:
        path = write(api, server.url, lambda _, user: user.update(token="old", tokenFile="token"))
        async with open_client(load_kubeconfig(path), Proxies.none()) as client:
            await client.version()
            api.token = "second"
            with pytest.raises(HttpError, match="status 401"):
                await client.version()
            token.write_text("second")
            assert await client.version() == "v1.8.4+coreos.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the token is empty"),
        ("s3cr3t\r\nX: y", "the token has characters that no token has"),
        (None, "token: No such file"),
    ],
)
async def test_a_bad_token_file_is_named_and_sends_nothing(
    write: Write, tmp_path: Path, content: str | None, message: str
) -> None:
    api = ApiServer(token="t")
    if content is not None:
        (tmp_path / "token").write_text(content)
    async with api.serve() as server:
        access = load_kubeconfig(write(api, server.url, lambda _, user: user.update(tokenFile="token")))
        with pytest.raises(PermanentError) as caught:
            await version(access)
    assert message in str(caught.value)
    assert f"{tmp_path}/kubeconfig: users[0].user.tokenFile" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert server.requests == []


async def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    api = ApiServer(token="pod")
    api.authority.write(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("pod")
    (tmp_path / "namespace").write_text("tectonic-system\n")
    async with api.serve() as server:
        environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
        access = in_cluster_access(tmp_path, environ)
        assert await version(access) == "v1.8.4+coreos.0"
    assert access.access.namespace == "tectonic-system"


async def test_errors_never_show_a_secret(write: Write) -> None:
    api = ApiServer(token="s3cr3t")
    async with api.serve() as server:
        access = load_kubeconfig(write(api, server.url, lambda c, u: u.update(token="wr0ng")))
        with pytest.raises(TorcxdError) as caught:
            await version(access)
    assert caught.value.kind is Kind.PERMANENT
    assert "wr0ng" not in f"{caught.value}{caught.value!r}{access!r}"


async def _version(_: object) -> Response:
    return Response.from_json({"gitVersion": "v1.9.0"})
