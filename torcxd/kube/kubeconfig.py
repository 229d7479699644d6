"""Kubeconfig files: how kubectl, the kubelet and the installer write down a cluster, a user, and which goes with which.

The format is that of k8s.io/client-go/tools/clientcmd/api/v1, ``kind: Config``, of one file; the rules for which field
beats which are client-go's. What would run a program to get credentials is refused.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from torcxd.errors import ConfigurationError, PermanentError
from torcxd.host.files import read_bytes
from torcxd.host.stamps import Stamps
from torcxd.http.url import parse_host
from torcxd.kube import plain_yaml
from torcxd.kube.access import ClusterAccess, Material
from torcxd.kube.fields import Section
from torcxd.kube.loaded import LoadedAccess

log = logging.getLogger(__name__)

# As large as an object in the API may be; a real one holds a few certificates.
LARGEST: Final = 1024 * 1024

_UNSUPPORTED: Final = {
    "exec": "credential plugins that run a program",
    "auth-provider": "auth-provider plugins",
    "as": "impersonation",
    "as-uid": "impersonation",
    "as-groups": "impersonation",
    "as-user-extra": "impersonation",
}
_INSTEAD: Final = "use client-certificate and client-key, token, or tokenFile"


def load_kubeconfig(path: Path, *, context: str | None = None, root: Path = Path("/")) -> LoadedAccess:
    """Read the kubeconfig *path* and everything it refers to, the token file excepted.

    Blocks: it takes about 10 ms, 60 where the system's certificate authorities are needed.

    :param context: which context to use; None means its ``current-context``.
    :param root: the directory that stands for ``/`` in the absolute paths that the file names.
    :raises ConfigurationError: the kubeconfig, or a file that it names, is wrong; the message has file and field,
        e.g. ``users[0].user.client-certificate-data``, and none of the content.
    :raises TorcxdError: the kubeconfig itself cannot be read: typed by the errno, exit code 66 when it is missing.
    """
    stamps = Stamps.of(path)
    data = read_bytes(path, limit=LARGEST)
    try:
        document = plain_yaml.parse(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text", hint="replace the kubeconfig") from None
    except plain_yaml.NotYaml as error:
        raise ConfigurationError(f"{path} is not acceptable YAML: {error}", hint="correct the kubeconfig") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a kubeconfig: not a mapping", hint="replace the kubeconfig")
    top = Section(path, root, "", document)
    if top.text("kind") not in {"", "Config"}:
        raise top.wrong("kind", "is not Config")
    access = _access(path, top, _context(top, context))
    try:
        loaded = LoadedAccess.of(access, stamps)
        # A token file may be put there later, and is renewed; what stands in the kubeconfig stays as it is.
        if access.token is None or access.token.path is None:
            access.headers()
    except PermanentError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    if not access.verify:
        log.warning("%s turns off the check of the API server's certificate: anybody can answer in its place.", path)
    return loaded


def _context(top: Section, wanted: str | None) -> Section:
    # Without current-context it is the unnamed context, if there is one, as for kubectl.
    name = top.text("current-context") if wanted is None else wanted
    contexts = top.named("contexts")
    if name not in contexts:
        if wanted is not None:
            raise top.wrong("contexts", f"has no context {wanted!a}", "name one of those under contexts")
        raise top.wrong("current-context", "names none of the contexts", "name one of those under contexts")
    return contexts[name].section("context")


def _access(path: Path, top: Section, context: Section) -> ClusterAccess:
    cluster = _find(top, "clusters", context, "cluster")
    # A context without a user is that of an anonymous one.
    user = _find(top, "users", context, "user") if context.has("user") else top.section("(no user)")
    for key, what in _UNSUPPORTED.items():
        if user.has(key):
            raise user.wrong(key, f"is not supported: {what}", _INSTEAD)
    ca = cluster.material("certificate-authority")
    insecure = cluster.flag("insecure-skip-tls-verify")
    if insecure and ca is not None:
        raise cluster.wrong("insecure-skip-tls-verify", "is true, yet there is a certificate-authority: remove one")
    certificate, key_material = user.material("client-certificate"), user.material("client-key")
    if (certificate is None) != (key_material is None):
        missing = "client-key" if key_material is None else "client-certificate"
        raise user.wrong(missing, "is missing: a certificate and its key go together")
    token = _token(user)
    basic = _basic(user)
    if token is not None and basic:
        raise user.wrong("username", "stands beside a token: remove one")
    return ClusterAccess(
        where=f"the kubeconfig {path}",
        server=_server(cluster),
        namespace=context.text("namespace") or "default",
        ca=ca,
        client_certificate=certificate,
        client_key=key_material,
        token=token,
        basic=basic,
        server_hostname=_server_name(cluster),
        verify=not insecure,
        proxy=cluster.url("proxy-url") if cluster.has("proxy-url") else None,
    )


def _find(top: Section, plural: str, context: Section, singular: str) -> Section:
    """The section of *plural* that the *context* names in its field *singular*."""
    sections = top.named(plural)
    name = context.text(singular)
    if name not in sections:
        raise context.wrong(singular, f"names none of the {plural}", f"name one of those under {plural}")
    return sections[name].section(singular)


def _server(cluster: Section) -> str:
    if not cluster.has("server"):
        raise cluster.wrong("server", "is missing")
    url = cluster.url("server")
    if url.userinfo:
        raise cluster.wrong("server", "holds a user name or password, which belong into users")
    if "?" in url.target:
        raise cluster.wrong("server", "has a query")
    return str(url).rstrip("/")


def _server_name(cluster: Section) -> str | None:
    name = cluster.text("tls-server-name")
    try:
        # The ssl module has exceptions of several kinds for anything else.
        return parse_host(name.lower()) if name else None
    except ValueError:
        raise cluster.wrong("tls-server-name", "is not the name or address of a host") from None


def _token(user: Section) -> Material | None:
    if (file := user.file("tokenFile")) is not None:
        return file  # As in client-go: it is renewed, while the token beside it was written once.
    token = user.text("token")
    return Material(user.where("token"), content=token.encode()) if token else None


def _basic(user: Section) -> str:
    name, password = user.text("username"), user.text("password")
    if password and not name:
        raise user.wrong("username", "is missing beside a password")
    if ":" in name:
        raise user.wrong("username", "has a colon, which basic authentication cannot carry")
    return f"{name}:{password}" if name else ""
