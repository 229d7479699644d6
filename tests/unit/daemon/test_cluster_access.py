"""By which credentials the API server is asked: the kubeconfig's, or those of the pod's service account (A23)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from torcxd.daemon.cluster import open_api
from torcxd.daemon.context import Context
from torcxd.errors import ConfigurationError
from torcxd.paths import Layout
from torcxd.settings import combine

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.3.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def context(root: Path, *, kubeconfig: str | None = None, in_a_pod: bool = True) -> Context:
    """A node whose own kubeconfig is of no use, as a pod may see it."""
    layout = Layout(root)
    for path, content in (
        (layout.at("/etc/kubernetes/kubeconfig"), b"of no use"),
        (layout.service_account / "token", b"pod-token"),
        (layout.service_account / "ca.crt", trustme.CA().cert_pem.bytes()),
        (layout.service_account / "namespace", b"tectonic-system"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    settings = combine({} if kubeconfig is None else {"kubeconfig": kubeconfig})
    return Context(settings, layout, IN_A_POD if in_a_pod else {})


@pytest.mark.accepts("A23")
async def test_without_a_setting_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    async with open_api(context(tmp_path, kubeconfig="")) as client:
        assert client is not None


@pytest.mark.accepts("A23")
async def test_a_kubeconfig_that_is_set_and_there_counts_in_a_pod_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="/etc/kubernetes/kubeconfig"):
        async with open_api(context(tmp_path)):
            pass


@pytest.mark.accepts("A23")
async def test_without_either_no_api_server_is_asked(tmp_path: Path) -> None:
    async with open_api(context(tmp_path, kubeconfig="", in_a_pod=False)) as client:
        assert client is None


async def test_that_there_is_no_kubeconfig_is_left_to_who_asks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Each source opens a client again and again, and tells by itself that it is not heard.
    caplog.set_level("INFO")
    async with open_api(context(tmp_path, kubeconfig="/nowhere", in_a_pod=False)):
        pass
    assert caplog.messages == []
