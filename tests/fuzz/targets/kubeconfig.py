"""Kubeconfigs, service accounts' tokens among them: typed errors, and nothing of a secret in any of them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import patch

from tests.fuzz.oracle import fit_for_a_log, put, refusing, scratch
from torcxd.errors import ConfigurationError, PermanentError
from torcxd.kube import plain_yaml
from torcxd.kube.kubeconfig import load_kubeconfig

IMPORTANT: Final = True
_SECRET: Final = frozenset({"token", "password", "client-key-data", "username"})
WORDS: Final = (
    "apiVersion: v1", "kind: Config", "current-context: c", "contexts:", "clusters:", "users:", "- name: ", "cluster:",
    "context:", "user:", "server: https://", "http://a", "token: ", "tokenFile: ", "username: ", "password: ",
    "namespace: ",
    "client-certificate-data: ", "client-key-data: ", "certificate-authority-data: ", "certificate-authority: ",
    "insecure-skip-tls-verify: true", "tls-server-name: ", "proxy-url: ", "exec:", "auth-provider:", '"\\ud800"',
    '"\\U00110000"', '"\\0"',
)  # fmt: skip


def check(data: bytes) -> None:
    path = put(scratch("kubeconfig") / "kubeconfig", data)
    secrets = tuple(_secrets(data))
    # To read the authorities of the system takes longer than all the rest.
    none = {"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent"}
    with patch.dict("os.environ", none), refusing(ConfigurationError, secrets=secrets):
        access = load_kubeconfig(path, root=path.parent)
        fit_for_a_log(repr(access), secrets)
        with refusing(PermanentError, secrets=secrets):
            access.access.headers()


def _secrets(data: bytes) -> Iterator[str]:
    # Also where the rest is no YAML: a line such as "token: …".
    for line in data.decode("ascii", "replace").splitlines():
        if match := re.fullmatch(r"\s*(?:- )?(?:token|password|client-key-data): ([A-Za-z0-9_-]{8,})", line):
            yield match[1]
    with contextlib.suppress(ValueError):
        yield from _values(plain_yaml.parse(data.decode()))


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            if name in _SECRET and isinstance(each, str) and each not in _harmless(data=value):
                yield each
            yield from _values(each)
    elif isinstance(value, list):
        for each in value:
            yield from _values(each)


def _harmless(data: dict[str, Any]) -> set[str]:
    """What stands elsewhere in the same section in plain view."""
    return {each for name, each in data.items() if name not in _SECRET and isinstance(each, str)}
