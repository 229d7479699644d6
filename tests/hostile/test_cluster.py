"""An API server, or somebody who can write the ConfigMap, that says more than versions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hostile.attack import attack, removed
from torcxd.errors import PermanentError, TorcxdError
from torcxd.host import env_file
from torcxd.host.env_file import kubelet_env, render
from torcxd.http import HttpClient
from torcxd.kube import mappings, plain_yaml
from torcxd.kube.access import ClusterAccess
from torcxd.kube.client import KubeClient
from torcxd.kube.mappings import parse_mappings
from torcxd.lifecycle.versions import KubeVersion
from torcxd.sandbox.http_server import Request, Response, serve

ANYTHING = re.compile(r".*", re.DOTALL)


@pytest.mark.accepts("A11")
@pytest.mark.parametrize(
    "version", ['v1.8.4"\nKUBELET_IMAGE_URL="evil', "v1.8.4\n", "v1.8.4/../..", "v1.8.4 evil", "v\u0661.8.4", "9" * 500]
)
@attack(removed(KubeVersion, "parse", lambda text: text))
async def test_a_kubernetes_version_that_is_none(version: str) -> str:
    async def answer(_request: Request) -> Response:
        return Response.from_json({"gitVersion": version})

    async with serve(answer) as server:
        http = HttpClient()
        try:
            return await KubeClient(ClusterAccess("a test", server.url), http).version()
        except PermanentError:
            return ""
        finally:
            await http.aclose()


@pytest.mark.accepts("A25")
@pytest.mark.parametrize("version", ['v1.8.4"\nEVIL="1', 'v1.8.4" EVIL=1 "', "v1$(evil)", "v1`evil`", "v1\\"])
@attack(removed(env_file, "_ESCAPED", ""))
def test_a_quote_for_kubelet_env(version: str, tmp_path: Path) -> str:
    """Were a version ever anything else than one: for systemd and for a shell it is one value all the same."""
    data = render(kubelet_env({}, version))
    (tmp_path / "env").write_bytes(data)
    script = 'evil() { echo ran; }; . "$0/env"; printf "%s\\0%s" "$KUBELET_IMAGE_TAG" "$EVIL"'
    read = subprocess.run(["sh", "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    return "" if read.stdout == f"{version}\0" else repr(read.stdout + read.stderr)


@pytest.mark.accepts("A14")
@pytest.mark.parametrize("version", ["../../etc", "17.03/x", "-rf", ".hidden", "17.03\n", "\x1b[2J", "x" * 200])
@attack(removed(mappings, "_REFERENCE", ANYTHING))
def test_a_docker_version_that_is_a_path(version: str) -> str:
    text = yaml.dump({"kind": "VersionManifestV1", "versions": {"k8s": {"1.8": {"docker": [version]}}}})
    try:
        return str(parse_mappings(text.replace("'1.8'", "1.8"), "a ConfigMap").kubernetes)
    except TorcxdError:
        return ""


def _everything(text: str) -> Any:
    return yaml.unsafe_load(text)


@pytest.mark.accepts("A14")
@pytest.mark.parametrize(
    "more",
    [
        "x: !!python/object/apply:os.getpid []",
        "x: &a [1]\ny: [*a, *a]",
        "x: !!binary aGVsbG8=",
        "kind: VersionManifestV1",
    ],
    ids=["code", "aliases", "tag", "a key twice"],
)
@attack(removed(plain_yaml, "parse", _everything))
def test_yaml_that_is_more_than_text(more: str) -> str:
    text = f'kind: VersionManifestV1\nversions:\n  k8s:\n    "1.8":\n      docker: ["17.03"]\n{more}\n'
    try:
        return str(parse_mappings(text, "a ConfigMap").kubernetes)
    except TorcxdError:
        return ""
