"""Access to the API server from inside a pod, as its service account.

Kubernetes mounts a folder with ``token``, ``ca.crt`` and ``namespace`` into each pod and names the server in two
environment variables; see "Accessing the Kubernetes API from a Pod" in its documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torcxd.errors import ConfigurationError
from torcxd.host.files import read_bytes
from torcxd.host.stamps import Stamps
from torcxd.http.errors import HttpError
from torcxd.http.url import Url
from torcxd.kube.access import ClusterAccess, Material
from torcxd.kube.loaded import LoadedAccess

HOST: Final = "KUBERNETES_SERVICE_HOST"
PORT: Final = "KUBERNETES_SERVICE_PORT"
# A namespace is a DNS label of at most 63 characters.
_LARGEST_NAMESPACE: Final = 1024


def in_cluster_access(directory: Path, environ: Mapping[str, str]) -> LoadedAccess:
    """The pod's own API server and service account. The token is read at each use, since Kubernetes renews it.

    Blocks: a few milliseconds.

    :param directory: where the service account is mounted.
    :param environ: the process's environment.
    :raises ConfigurationError: this is no pod: the variables are missing or wrong.
    :raises TorcxdError: the service account's files cannot be read or used.
    """
    host, port = environ.get(HOST, ""), environ.get(PORT, "")
    if not host or not port:
        missing = HOST if not host else PORT
        raise ConfigurationError(
            f"the environment variable {missing} is not set: this is no pod of a cluster", hint="give --kubeconfig"
        )
    try:
        server = str(Url.parse(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"))
    except HttpError:
        raise ConfigurationError(
            f"the environment variables {HOST} and {PORT} are no address of a server: {host!a}, {port!a}",
            hint="Kubernetes sets them in a pod; do not set them elsewhere, or give --kubeconfig",
        ) from None
    namespace_file = directory / "namespace"
    stamps = Stamps.of(namespace_file)
    namespace = read_bytes(namespace_file, limit=_LARGEST_NAMESPACE).decode("ascii", "replace").strip()
    where = f"the service account {directory}"
    access = ClusterAccess(
        where=where,
        server=server.rstrip("/"),
        namespace=namespace or "default",
        ca=Material(where, path=directory / "ca.crt"),
        token=Material(where, path=directory / "token"),
    )
    return LoadedAccess.of(access, stamps)
