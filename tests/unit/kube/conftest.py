"""Kubeconfigs to break."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from torcxd.sandbox.tls import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def document(authority: Authority) -> dict[str, Any]:
    """A kubeconfig as the installer writes it, as data."""
    certificate, key = authority.client_certificate("system:node:node-1")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "local",
                "cluster": {
                    "server": "https://api.example.com:6443",
                    "certificate-authority-data": base64.b64encode(authority.pem).decode(),
                },
            }
        ],
        "users": [
            {
                "name": "kubelet",
                "user": {
                    "client-certificate-data": base64.b64encode(certificate).decode(),
                    "client-key-data": base64.b64encode(key).decode(),
                },
            }
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "kubelet"}}],
        "current-context": "local",
    }
