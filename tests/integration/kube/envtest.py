"""A real kube-apiserver with its etcd, from the folder that KUBEBUILDER_ASSETS names (the convention of envtest).

``setup-envtest use -p env`` prints such a folder. Where the variable is not set the stand-in takes its place; the
project's own checks run with the stand-in only, which is compared with recorded answers of a real one.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import trustme
import yaml

VARIABLE: Final = "KUBEBUILDER_ASSETS"
# An API server on a busy machine is ready after some ten seconds.
_PATIENCE: Final = 300
_BETWEEN: Final = 0.2
_TOKEN: Final = "envtest-token"


@contextmanager
def real_cluster(assets: Path, directory: Path, ports: tuple[int, int, int]) -> Iterator[str]:
    """A cluster without nodes, while the block runs.

    :param directory: for its data, certificates and logs.
    :param ports: free ones, for etcd's clients and peers and for the API server.
    :returns: a kubeconfig for its administrator.
    """
    client_port, peer_port, port = ports
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    for index, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(directory / "server.crt", append=index > 0)
    ca.issue_cert("service-accounts").private_key_pem.write_to_path(directory / "accounts.key")
    (directory / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
    etcd = f"http://127.0.0.1:{client_port}"
    with ExitStack() as stack:
        stack.enter_context(
            _running(
                directory / "etcd.log",
                assets / "etcd",
                f"--data-dir={directory / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            )
        )
        server = stack.enter_context(
            _running(
                directory / "kube-apiserver.log",
                assets / "kube-apiserver",
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={directory}",
                f"--tls-cert-file={directory / 'server.crt'}",
                f"--tls-private-key-file={directory / 'server.key'}",
                f"--token-auth-file={directory / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://127.0.0.1/",
                f"--service-account-key-file={directory / 'accounts.key'}",
                f"--service-account-signing-key-file={directory / 'accounts.key'}",
                "--disable-admission-plugins=ServiceAccount",
            )
        )
        authority = directory / "ca.crt"
        ca.cert_pem.write_to_path(authority)
        _wait_until_ready(server, f"https://127.0.0.1:{port}/readyz", authority)
        yield yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "real",
                        "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority)},
                    }
                ],
                "users": [{"name": "admin", "user": {"token": _TOKEN}}],
                "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
                "current-context": "real",
            }
        )


@contextmanager
def _running(log: Path, *command: str | os.PathLike[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, authority: Path) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {_TOKEN}"})
    context = ssl.create_default_context(cafile=str(authority))
    for _ in range(int(_PATIENCE / _BETWEEN)):
        try:
            with urllib.request.urlopen(request, context=context, timeout=_PATIENCE):
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        try:
            server.wait(_BETWEEN)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"kube-apiserver ended with status {server.returncode}; see its log")
    raise RuntimeError(f"kube-apiserver was not ready after {_PATIENCE} seconds; see its log")
