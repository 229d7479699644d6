"""What a kubeconfig says, and what is said of a wrong one."""

from __future__ import annotations

import base64
import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from torcxd.errors import EX_CONFIG, EX_NOINPUT, ConfigurationError, TorcxdError
from torcxd.http import Proxies
from torcxd.http.url import Url
from torcxd.kube.access import ClusterAccess
from torcxd.kube.kubeconfig import LARGEST, load_kubeconfig
from torcxd.sandbox.tls import Authority

pytestmark = pytest.mark.accepts("A23")

Document = dict[str, Any]


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., ClusterAccess]:
    """Writes a document as the kubeconfig and loads it."""

    def load(document: Document, **options: Any) -> ClusterAccess:
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return load_kubeconfig(path, **options).access

    return load


def put(document: Document, path: str, value: Any) -> Document:
    """A copy of *document* with *value* at *path*, e.g. ``users.0.user.token``; None removes."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    at: Any = document
    for each in parents:
        at = at[int(each)] if each.isdigit() else at[each]
    if value is None:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return document


def test_the_current_context_decides(load: Callable[..., ClusterAccess], document: Document) -> None:
    document["clusters"].append({"name": "b", "cluster": {"server": "http://[::1]:8080/base/"}})
    document["contexts"].append({"name": "b", "context": {"cluster": "b", "namespace": "there"}})
    access = load(document)
    assert (access.server, access.namespace) == ("https://api.example.com:6443", "default")
    assert access.client_certificate is not None
    for access in (load(document, context="b"), load(put(document, "current-context", "b"))):
        assert (access.server, access.namespace) == ("http://[::1]:8080/base", "there")
        assert access.client_certificate is None
        assert access.headers() == {}
        assert access.ssl_context() is None


def test_without_current_context_the_unnamed_one_counts(load: Callable[..., ClusterAccess], document: Document) -> None:
    del document["current-context"]
    with pytest.raises(ConfigurationError, match="current-context names none of the contexts"):
        load(document)
    del document["contexts"][0]["name"]
    assert load(document).server == "https://api.example.com:6443"


def test_a_token_is_sent_as_it_is(load: Callable[..., ClusterAccess], document: Document) -> None:
    # YAML would make a number of the one and a boolean of the other.
    for token in ("0123456789", "yes"):
        text = yaml.safe_dump(put(document, "users.0.user", {"token": "@"})).replace("'@'", token)
        access = load(yaml.load(text, Loader=yaml.BaseLoader))
        assert access.headers() == {"Authorization": f"Bearer {token}"}


def test_folded_base64_and_json_are_fine(tmp_path: Path, document: Document) -> None:
    data = base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])
    folded = base64.encodebytes(data).decode()
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(put(document, "clusters.0.cluster.certificate-authority-data", folded)))
    assert load_kubeconfig(path).access.ca is not None
    path.write_text(str(document).replace("'", '"'))
    assert load_kubeconfig(path).access.ca is not None


def test_a_bundle_may_have_comments_in_any_language(
    load: Callable[..., ClusterAccess], document: Document, authority: Authority
) -> None:
    bundle = "# Größte\n".encode() + authority.pem + b"# and\n" + Authority().pem
    encoded = base64.b64encode(bundle).decode()
    context = load(put(document, "clusters.0.cluster.certificate-authority-data", encoded)).ssl_context()
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] == 2


def test_its_own_proxy_beats_the_environment(load: Callable[..., ClusterAccess], document: Document) -> None:
    environment = Proxies.from_environment({"HTTPS_PROXY": "http://env:1", "NO_PROXY": "api.example.com"})
    other, api = Url.parse("https://other/"), Url.parse("https://api.example.com/")
    assert load(document).proxies(environment).select(other) == Url.parse("http://env:1")
    assert load(document).proxies(environment).select(api) is None
    access = load(put(document, "clusters.0.cluster.proxy-url", "http://me:s3cr3t@own:2"))
    assert access.proxies(environment).select(api) == Url.parse("http://me:s3cr3t@own:2")
    assert "s3cr3t" not in repr(access)


def test_nothing_secret_is_in_the_repr(load: Callable[..., ClusterAccess], document: Document) -> None:
    access = load(put(document, "users.0.user.token", "s3cr3t"))
    assert "s3cr3t" not in repr(access)
    assert "PRIVATE KEY" not in repr(access)
    access = load(put(document, "users.0.user", {"username": "me", "password": "s3cr3t"}))
    assert "s3cr3t" not in repr(access)


def test_no_key_stays_on_disk_or_open(
    load: Callable[..., ClusterAccess], document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = sorted(each.name for each in Path("/proc/self/fd").iterdir())
    load(document).ssl_context()
    assert [each.name for each in tmp_path.iterdir()] == ["kubeconfig"]
    assert sorted(each.name for each in Path("/proc/self/fd").iterdir()) == before


NOT_PEM = base64.b64encode(b"s3cr3t").decode()
CLUSTER, USER = "clusters.0.cluster", "users.0.user"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "Secret", "kind is not Config"),
        ("clusters", "s3cr3t", "clusters is not a list"),
        ("clusters.0", "s3cr3t", "clusters[0] is not a mapping"),
        ("clusters", [], "contexts[0].context.cluster names none of the clusters"),
        ("users", [], "contexts[0].context.user names none of the users"),
        ("contexts", [], "current-context names none of the contexts"),
        ("current-context", ["s3cr3t"], "current-context is not plain text"),
        (CLUSTER, "s3cr3t", "clusters[0].cluster is not a mapping"),
        (f"{CLUSTER}.server", None, "clusters[0].cluster.server is missing"),
        (f"{CLUSTER}.server", "api:6443", "clusters[0].cluster.server is not an http or https URL"),
        (f"{CLUSTER}.server", "https://me:s3cr3t@api", "clusters[0].cluster.server holds a user name or password"),
        (f"{CLUSTER}.server", "https://api/?a=s3cr3t", "clusters[0].cluster.server has a query"),
        (f"{CLUSTER}.proxy-url", "socks5://me:s3cr3t@proxy", "clusters[0].cluster.proxy-url is not an http or https"),
        (f"{CLUSTER}.tls-server-name", ".s3cr3t", "clusters[0].cluster.tls-server-name is not the name or address"),
        (f"{CLUSTER}.tls-server-name", "a..s3cr3t", "clusters[0].cluster.tls-server-name is not the name or address"),
        (f"{USER}.token", "s3cr3t\r\nX: y", "users[0].user.token: the token has characters that no token has"),
        (f"{CLUSTER}.insecure-skip-tls-verify", "s3cr3t", "insecure-skip-tls-verify is neither true nor false"),
        (f"{CLUSTER}.insecure-skip-tls-verify", True, "is true, yet there is a certificate-authority"),
        (f"{CLUSTER}.certificate-authority-data", "s3cr3t!", "certificate-authority-data is not base64"),
        (f"{CLUSTER}.certificate-authority-data", NOT_PEM, "certificate-authority-data holds no well-formed PEM cert"),
        (f"{CLUSTER}.certificate-authority-data", {"a": "s3cr3t"}, "certificate-authority-data is not plain text"),
        (f"{USER}.client-certificate-data", "s3cr3t!", "users[0].user.client-certificate-data is not base64"),
        (f"{USER}.client-certificate-data", NOT_PEM, "users[0].user.client-certificate-data holds no well-formed PEM"),
        (f"{USER}.client-certificate-data", None, "users[0].user.client-certificate is missing"),
        (f"{USER}.client-key-data", NOT_PEM, "users[0].user.client-key-data holds no well-formed PEM private key"),
        (f"{USER}.client-key-data", None, "users[0].user.client-key is missing"),
        (f"{USER}.exec", {"command": "s3cr3t"}, "users[0].user.exec is not supported: credential plugins"),
        (f"{USER}.auth-provider", {"name": "s3cr3t"}, "users[0].user.auth-provider is not supported"),
        (f"{USER}.as", "s3cr3t", "users[0].user.as is not supported: impersonation"),
        (f"{USER}.password", "s3cr3t", "users[0].user.username is missing beside a password"),
        (USER, {"username": "a:b", "password": "s3cr3t"}, "users[0].user.username has a colon"),
        (USER, {"username": "a", "token": "s3cr3t"}, "users[0].user.username stands beside a token"),
    ],
)
def test_a_wrong_field_is_named_by_file_and_path(
    load: Callable[..., ClusterAccess], tmp_path: Path, document: Document, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(put(document, path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/kubeconfig: ")
    assert caught.value.hint
    assert caught.value.exit_code == EX_CONFIG
    assert "s3cr3t" not in str(caught.value)


def test_plugins_are_refused_with_what_to_use_instead(load: Callable[..., ClusterAccess], document: Document) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(put(document, f"{USER}.exec", {"command": "aws"}))
    assert caught.value.hint == "use client-certificate and client-key, token, or tokenFile"


@pytest.mark.parametrize("plural", ["clusters", "users", "contexts"])
def test_a_name_may_occur_once(load: Callable[..., ClusterAccess], document: Document, plural: str) -> None:
    document[plural].append(copy.deepcopy(document[plural][0]))
    with pytest.raises(ConfigurationError, match=rf"{plural}\[1\]\.name is that of an earlier entry"):
        load(document)


def test_an_unknown_context_is_told_by_its_name(load: Callable[..., ClusterAccess], document: Document) -> None:
    with pytest.raises(ConfigurationError, match="contexts has no context 'other'"):
        load(document, context="other")


def test_a_key_of_another_certificate_is_told(
    load: Callable[..., ClusterAccess], document: Document, authority: Authority
) -> None:
    key = base64.b64encode(authority.client_certificate("other")[1]).decode()
    with pytest.raises(ConfigurationError, match=r"client-key-data does not belong to .*client-certificate-data"):
        load(put(document, f"{USER}.client-key-data", key))


def test_an_encrypted_key_asks_nobody(load: Callable[..., ClusterAccess], document: Document) -> None:
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:s3cr3t"]
    key = base64.b64decode(document["users"][0]["user"]["client-key-data"])
    encrypted = subprocess.run(command, input=key, capture_output=True, check=True).stdout
    with pytest.raises(ConfigurationError, match="client-key-data is encrypted"):
        load(put(document, f"{USER}.client-key-data", base64.b64encode(encrypted).decode()))


@pytest.mark.parametrize(
    ("path", "field"),
    [(CLUSTER, "certificate-authority"), (USER, "client-certificate"), (USER, "client-key")],
)
def test_a_missing_file_is_named_with_its_field(
    load: Callable[..., ClusterAccess], tmp_path: Path, document: Document, path: str, field: str
) -> None:
    document = put(put(document, f"{path}.{field}-data", None), f"{path}.{field}", "pki/x.pem")
    with pytest.raises(ConfigurationError, match=rf"\.{field}: cannot read {tmp_path}/pki/x.pem: No such file"):
        load(document)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a kubeconfig"),
        (b"- s3cr3t\n", "is not a kubeconfig"),
        (b"\xff\xfes3cr3t", "is not UTF-8 text"),
        (b"token: 's3cr3t\n", "is not acceptable YAML: line 2"),
        (b"a: &a [s3cr3t]\nb: *a\n", "is not acceptable YAML: line 1: anchors and aliases"),
        (b"users: []\nusers: []\n", "is not acceptable YAML: line 2: the key 'users' a second time"),
        (b"\x7fELF\x00", "is not acceptable YAML"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_a_configuration_error(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        load_kubeconfig(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_missing_kubeconfig_is_no_configuration_error(tmp_path: Path) -> None:
    # The first node of a cluster has none yet, and goes on with the installer's files.
    with pytest.raises(TorcxdError, match="kubeconfig: No such file") as caught:
        load_kubeconfig(tmp_path / "kubeconfig")
    assert caught.value.kind == "permanent"
    assert caught.value.exit_code == EX_NOINPUT


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(TorcxdError, match="larger than"):
        load_kubeconfig(path)
