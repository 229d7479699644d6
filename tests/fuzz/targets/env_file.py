"""Environment files: the installer's kubelet.env, and os-release in its form."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import demand, refusing
from torcxd.errors import PermanentError
from torcxd.host.env_file import (
    IMAGE_TAG,
    installer_kube_version,
    kubelet_env,
    parse_assignments,
    parse_env_file,
    render,
)

WORDS: Final = ("KUBELET_IMAGE_TAG=", "KUBELET_IMAGE_URL=", "v1.8.4_coreos.0", '\\"', "\\\n", "'", "export ", "#", ";")


def check(data: bytes) -> None:
    with refusing(PermanentError):
        variables = parse_env_file(data, "/etc/kubernetes/installer/kubelet.env")
        demand({each.name: each.value for each in parse_assignments(data, "x")} == variables, "two readings")
        demand(list(parse_env_file(render(variables), "x").items()) == list(variables.items()), "it is not read back")
        version = installer_kube_version(variables, "x")
        written = parse_env_file(render(kubelet_env(variables, version)), "x")
        demand({**written, IMAGE_TAG: ""} == {**variables, IMAGE_TAG: ""}, "another key changed")
        demand(installer_kube_version(written, "x") == version, "another version is read than was written")
