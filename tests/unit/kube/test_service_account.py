"""A pod's own access, and what is said where there is no pod."""

from __future__ import annotations

from pathlib import Path

import pytest

from torcxd.errors import ConfigurationError, PermanentError, TorcxdError
from torcxd.kube.service_account import in_cluster_access
from torcxd.sandbox.tls import Authority

pytestmark = pytest.mark.accepts("A23")

POD = {"KUBERNETES_SERVICE_HOST": "10.3.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path, authority: Authority) -> Path:
    """A mounted service account."""
    authority.write(tmp_path / "ca.crt")
    (tmp_path / "namespace").write_text("tectonic-system")
    (tmp_path / "token").write_text("s3cr3t")
    return tmp_path


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [
        ("10.3.0.1", "443", "https://10.3.0.1"),
        ("fd00::1", "6443", "https://[fd00::1]:6443"),
        ("api.local", "6443", "https://api.local:6443"),
    ],
)
def test_the_environment_names_the_server(account: Path, host: str, port: str, server: str) -> None:
    access = in_cluster_access(account, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}).access
    assert access.server == server
    assert access.namespace == "tectonic-system"
    assert access.headers() == {"Authorization": "Bearer s3cr3t"}
    assert "s3cr3t" not in repr(access)


@pytest.mark.parametrize("missing", POD)
def test_outside_of_a_pod_the_missing_variable_is_named(account: Path, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{missing} is not set") as caught:
        in_cluster_access(account, {key: value for key, value in POD.items() if key != missing})
    assert "--kubeconfig" in caught.value.hint


@pytest.mark.parametrize("change", [{"KUBERNETES_SERVICE_HOST": "a b"}, {"KUBERNETES_SERVICE_PORT": "tcp://1:2"}])
def test_variables_that_are_no_address_are_refused(account: Path, change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="no address of a server"):
        in_cluster_access(account, POD | change)


@pytest.mark.parametrize("name", ["ca.crt", "namespace"])
def test_a_missing_file_is_named(account: Path, name: str) -> None:
    (account / name).unlink()
    with pytest.raises(TorcxdError, match=f"{name}: No such file"):
        in_cluster_access(account, POD)


def test_a_damaged_authority_is_named(account: Path) -> None:
    (account / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(PermanentError, match=r"ca\.crt holds no well-formed PEM certificate"):
        in_cluster_access(account, POD)
